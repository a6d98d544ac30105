//! The engine predicts published one-way latencies of RDMA messages that were held out from the fit.
//!
//! Every other size is fitted and the rest is simulated, a ping over one link, and then the other way
//! round. The errors by size are printed by `cargo test --test public_nics -- --nocapture`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "errors are looked at")]

use std::path::Path;

use calibrate::gpu::held_out::Errors;
use calibrate::nic::{CX6, LatencyPoint, NicLaw, cx6};
use schema::profile::{Profile, parameter};
use schema::scenario::Scenario;
use sim::{Arrivals, Keep, Options};

/// What a message of so many bytes takes from one host to the other, in seconds: half of a ping.
fn one_way(profile: &Profile, bytes: u64) -> f64 {
    let text = format!(
        r#"
format = 1
name = "ping"
run = {{ measure = {{ requests = 1 }} }}
[hosts]
a = {{ part = "host", cores = 2, nic = {{ part = "nic" }} }}
b = {{ part = "host", cores = 2, nic = {{ part = "nic" }} }}
[[links]]
between = ["a", "b"]
part = "switch"
rate = "200 Gbit/s"
[stages.echo]
on = "b"
serve = {{ synthetic = {{ time = "0 s", input = "{bytes} B", output = "{bytes} B" }} }}
[[clients]]
on = "a"
arrivals = {{ closed-loop = {{}} }}
path = [{{ to = "echo", over = "rdma", completion = "poll" }}]
"#
    );
    let scenario = Scenario::parse(Path::new("ping.toml"), text, &[]).unwrap();
    let options = Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Statistics,
    };
    let served = sim::completions(&scenario, profile, &options).unwrap();
    let ping = served[0].completions[0];
    ping.end.since(ping.ready).as_secs_f64() / 2.0
}

/// Errors of the engine on the points of `test` with the law of `train`.
fn errors(train: &[LatencyPoint], test: &[LatencyPoint]) -> Vec<(f64, f64)> {
    let fitted = NicLaw::fit(train, &CX6).unwrap();
    let profile = fitted.law.profile(&CX6, "fitted");
    let pairs = test.iter().map(|point| {
        let predicted = one_way(&profile, point.bytes);
        let closed_form = fitted.law.expected(&CX6, point.bytes);
        // Rounded to picoseconds step by step.
        let is_it = (predicted / closed_form - 1.0).abs() < 1e-4;
        assert!(is_it, "{}: {predicted} {closed_form}", point.bytes);
        println!(
            "{:>8} B  {:6.2} us measured  {:6.2} us  {:+5.1}%",
            point.bytes,
            point.time * 1e6,
            predicted * 1e6,
            100.0 * (predicted / point.time - 1.0)
        );
        (predicted, point.time)
    });
    pairs.collect()
}

#[test]
fn sizes_that_were_held_out_are_predicted_within_five_percent() {
    let points = cx6().unwrap();
    for held in 0..2 {
        let is_held = |index: usize| index % 2 == held;
        let pick = |wanted: bool| -> Vec<LatencyPoint> {
            let all = points.iter().enumerate();
            let picked = all.filter(|(index, _)| is_held(*index) == wanted);
            picked.map(|(_, point)| *point).collect()
        };
        let pairs = errors(&pick(false), &pick(true));
        let errors = Errors::of(&pairs);
        println!("{errors}");
        assert!(errors.mean < 0.05, "{errors}");
        assert!(errors.max < 0.10, "{errors}");
        // The sizes on either side of the inline limit.
        for (point, (predicted, measured)) in pick(true).iter().zip(&pairs) {
            if [128, 256].contains(&point.bytes) {
                let error = predicted / measured - 1.0;
                assert!(error.abs() < 0.08, "{} B: {error}", point.bytes);
            }
        }
    }
}

#[test]
fn the_profile_of_adapters_has_the_figures_of_the_fit() {
    let fitted = NicLaw::fit(&cx6().unwrap(), &CX6).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/profiles/nics.toml");
    let profile = Profile::load(&path).unwrap();
    let part = &profile.parts["cx6-200g"];
    let law = fitted.law;
    let figures = [
        (
            parameter::NIC_LATENCY,
            law.latency_of_each(&CX6),
            fitted.errors[0] / 2.0,
        ),
        (parameter::DMA_READ_LATENCY, law.fetch, fitted.errors[1]),
        (parameter::PCIE_BANDWIDTH, law.pcie, fitted.errors[2]),
        (parameter::BURST, law.burst as f64, 4096.0),
        (parameter::INLINE_LIMIT, CX6.inline_limit as f64, 20.0),
    ];
    for (name, value, error) in figures {
        let figure = &part.parameters[name];
        let near = |a: f64, b: f64, slack: f64| (a / b - 1.0).abs() < slack;
        assert!(near(figure.value, value, 1e-3), "{name}: {value}");
        assert!(near(figure.standard_error, error, 0.05), "{name}: {error}");
    }
}
