//! The engine as a test bench: nets in closed loop on one GPU of a host that takes no time.

use std::collections::BTreeMap;
use std::path::Path;

use schema::gpu::GpuNet;
use schema::ids::Id;
use schema::profile::{
    CostLaw, Driver, PROFILE_FORMAT, Parameter, Part, PartKind, Profile, cost, parameter,
};
use schema::run::{Run, Span, SpanName};
use schema::scenario::{Scenario, Transport};
use sim::{Arrivals, Keep, Options};

/// A net that is served without a pause.
pub(crate) struct Load<'a> {
    /// Its name in the profile.
    pub(crate) net: &'a str,
    /// Requests of each batch.
    pub(crate) batch: f64,
    /// Share of the multiprocessors, from above 0 to 1.
    pub(crate) share: f64,
}

/// Time of a forward pass of a net alone on the GPU, in seconds; every pass takes the same.
pub(crate) fn pass(profile: &Profile, load: Load<'_>) -> f64 {
    let run = simulate(profile, &[load], "requests = 1");
    let mut spans = run.trace.iter().filter(|span| is_pass(span));
    spans.next().expect("the net is served").service_s()
}

/// Mean times of a forward pass of two nets side by side, in seconds: of the passes that end within
/// the last nine tenths of `time`, in seconds, both nets being served from its start to its end.
pub(crate) fn passes(profile: &Profile, loads: [Load<'_>; 2], time: f64) -> [f64; 2] {
    let run = simulate(profile, &loads, &format!("time = \"{:.0} ns\"", time * 1e9));
    let window = 0.1 * time..=time;
    [0, 1].map(|net| {
        let spans = run.trace.iter().filter(|span| {
            is_pass(span)
                && span.stage.index() == net
                && window.contains(&(span.end_ns as f64 / 1e9))
        });
        let times: Vec<f64> = spans.map(Span::service_s).collect();
        times.iter().sum::<f64>() / times.len() as f64
    })
}

fn is_pass(span: &Span) -> bool {
    span.name == SpanName::Inference
}

/// Serves the nets in closed loop, each by as many clients as make its batches.
fn simulate(profile: &Profile, loads: &[Load<'_>], measure: &str) -> Run {
    let mut text = format!(
        r#"
format = 1
name = "nets"
run = {{ measure = {{ {measure} }} }}

[hosts]
server = {{ part = "no-time", cores = 2, gpus = [{{ part = "gpu" }}] }}
"#
    );
    for (index, load) in loads.iter().enumerate() {
        let Load { net, batch, share } = load;
        let percentage = 100.0 * share;
        text += &format!(
            r#"
[stages.net-{index}]
on = "server"
serve = {{ profiled = {{ name = "{net}", input = "1 B", output = "1 B" }} }}
batch = {{ max = {batch}, delay = "100 s" }}
gpu = {{ mps = {{ percentage = {percentage:?} }} }}

[[clients]]
on = "server"
count = {batch}
arrivals = {{ closed-loop = {{}} }}
path = [{{ to = "net-{index}", over = "local" }}]
"#
        );
    }
    let scenario = Scenario::parse(Path::new("nets.toml"), text, &[]);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    let options = Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Trace,
    };
    let run = sim::simulate(&scenario, Some(profile), &options);
    run.unwrap_or_else(|error| panic!("{error}"))
}

/// A profile of a host that takes no time and of a GPU with these nets and `parameters`.
pub(crate) fn profile<'a>(
    nets: impl IntoIterator<Item = (&'a str, GpuNet)>,
    parameters: &[(&str, f64)],
) -> Profile {
    let free = |per| CostLaw::exact(per, 0.0, 0.0, "by definition");
    let part = |kind, costs: Vec<(String, CostLaw)>| Part {
        kind,
        parameters: BTreeMap::new(),
        costs: costs.into_iter().collect(),
        nets: BTreeMap::new(),
    };
    let host = [
        cost::PREPARE.to_owned(),
        cost::POSTPROCESS.to_owned(),
        cost::send(Transport::Local),
        cost::receive(Transport::Local),
    ];
    let mut costs: Vec<_> = host.map(|key| (key, free(Driver::Bytes))).into();
    costs
        .extend([cost::DISPATCH, cost::NOTIFY].map(|key| (key.to_owned(), free(Driver::Requests))));
    let host = part(PartKind::Host, costs);
    let copies = [cost::H2D, cost::D2H].map(|key| (format!("{key}/pinned"), free(Driver::Bytes)));
    let mut gpu = part(PartKind::Gpu, copies.into());
    let whole = [(parameter::SMS, 80.0), (parameter::THREADS_PER_SM, 2048.0)];
    for (name, value) in whole.iter().chain(parameters) {
        let figure = Parameter {
            value: *value,
            standard_error: 0.0,
            unit: "1".to_owned(),
            range: None,
            source: "for tests".to_owned(),
        };
        gpu.parameters.insert((*name).to_owned(), figure);
    }
    let nets = nets.into_iter().map(|(name, net)| (name.to_owned(), net));
    gpu.nets = nets.collect();
    Profile {
        format: PROFILE_FORMAT,
        name: "public".to_owned(),
        fitted_to: BTreeMap::new(),
        spread: BTreeMap::new(),
        parts: [("no-time".to_owned(), host), ("gpu".to_owned(), gpu)].into(),
    }
}
