//! The findings of the studies in `scenarios/beyond`, as directions with intervals: their own points, with
//! shorter runs and fewer replications. `docs/beyond.md` says what the whole studies found.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use schema::comparison::Metric;
use schema::profile::Profile;
use schema::scenario::Scenario;
use schema::stats::{Estimate, mean_interval};
use schema::study::{Intervals, Replication, Study};

use crate::common::base;

/// Of each interval: with some 30 of them, all hold at better than 97%.
const CONFIDENCE: f64 = 0.999;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// A study, of which points are simulated with other lengths.
struct Short {
    study: Study,
    profile: Profile,
    replications: u32,
    changes: Vec<String>,
}

impl Short {
    fn of(name: &str, replications: u32, changes: &[&str]) -> Short {
        let path = scenarios().join("beyond").join(name).with_extension("toml");
        let study = Study::load(&path).unwrap();
        let profile = Profile::load_all(&study.profiles).unwrap().unwrap();
        Short {
            study,
            profile,
            replications,
            changes: changes.iter().map(|change| (*change).to_owned()).collect(),
        }
    }

    /// What each replication finds at the point with these levels: with a profile of its own where the
    /// study draws profiles.
    fn at(&self, levels: &[&str]) -> Vec<Replication> {
        let points = self.study.points();
        let mut point = (points.into_iter().find(|point| point.labels == levels))
            .unwrap_or_else(|| panic!("{} has no point {levels:?}", self.study.name));
        point.overrides.extend(self.changes.iter().cloned());
        let scenario = Scenario::load(&self.study.scenario, &point.overrides).unwrap();
        let all = (0..self.replications).map(|index| {
            let seed = scenario.seed.replication(index);
            let one = scenario.clone().with_seed(seed);
            let drawn = match self.study.intervals {
                Intervals::Profile => self.profile.drawn(seed),
                Intervals::Replications | Intervals::Prediction { .. } => self.profile.clone(),
            };
            let runs = sim::runs(&one, Some(&drawn), &base()).unwrap();
            Replication::of_run(&runs[0])
        });
        all.collect()
    }

    fn values(&self, levels: &[&str], metric: Metric) -> Vec<f64> {
        let all = self.at(levels);
        all.iter().map(|one| one.metrics[&metric]).collect()
    }

    /// Mean end-to-end times, in seconds.
    fn means(&self, levels: &[&str]) -> Vec<f64> {
        self.values(levels, Metric::Mean)
    }
}

/// What part of `base` each `value` is less.
fn saved(base: &[f64], value: &[f64]) -> Vec<f64> {
    let pairs = base.iter().zip(value);
    pairs.map(|(base, value)| 1.0 - value / base).collect()
}

/// How much more the first of each pair is.
fn more(first: &[f64], second: &[f64]) -> Vec<f64> {
    first.iter().zip(second).map(|(a, b)| a - b).collect()
}

/// Says what was found, and that its mean is above `least`.
#[track_caller]
fn above(what: &str, values: &[f64], least: f64) {
    let found = said(what, values);
    assert!(found.low > least, "{what}: {found:?} is not above {least}");
}

/// Says what was found, and that its mean is below `most`.
#[track_caller]
fn below(what: &str, values: &[f64], most: f64) {
    let found = said(what, values);
    assert!(found.high < most, "{what}: {found:?} is not below {most}");
}

#[expect(
    clippy::print_stdout,
    reason = "shows what was found, with --nocapture"
)]
fn said(what: &str, values: &[f64]) -> Estimate {
    let found = mean_interval(values, CONFIDENCE);
    println!(
        "{what}: {:.4} ({:.4} to {:.4})",
        found.value, found.low, found.high
    );
    found
}

#[test]
fn faster_gpus_and_links_raise_what_gpudirect_saves_of_one_request() {
    let study = Short::of("10-hardware", 12, &[]);
    let gain = |clients: &str, net: &str, link: &str, gpu: &str| {
        let means = |over: &str| study.means(&[net, clients, link, gpu, over]);
        saved(&means("TCP"), &means("GDR"))
    };
    for net in ["ResNet-50", "DeepLabV3"] {
        let slow = gain("1", net, "25 Gbit/s", "A2");
        let (link, both) = (
            gain("1", net, "400 Gbit/s", "A2"),
            gain("1", net, "400 Gbit/s", "H100"),
        );
        above(&format!("{net}, slow"), &slow, 0.0);
        above(&format!("{net}, faster link"), &more(&link, &slow), 0.0);
        above(&format!("{net}, faster GPU too"), &more(&both, &link), 0.0);
    }
    // With sixteen clients GPU or wire bind, and either transport waits for them.
    let under_load = gain("16", "ResNet-50", "400 Gbit/s", "A100");
    below("sixteen clients", &under_load, 0.05);
}

#[test]
fn large_replies_that_are_ready_at_once_lose_by_gpudirect() {
    let gain = |streams: &str| {
        let streams = format!("stages.serve.gpu.streams={streams}");
        let study = Short::of("10-hardware", 8, &[&streams]);
        let means = |over: &str| study.means(&["DeepLabV3", "16", "100 Gbit/s", "A100", over]);
        saved(&means("RDMA"), &means("GDR"))
    };
    // Copies of RDMA take turns, and put requests out of step; fewer streams do so as well.
    let (all, quarter) = (gain("16"), gain("4"));
    below("as many streams as clients", &all, 0.0);
    above("a quarter loses less", &more(&quarter, &all), 0.0);
}

#[test]
fn cores_bind_a_gateway_over_tcp_and_its_adapter_over_rdma() {
    let study = Short::of(
        "11-one-gateway",
        5,
        &["run.warmup.time=15 ms", "run.measure.time=25 ms"],
    );
    let grows = |gateway: &str| {
        let rate = |gpus: &str| study.values(&[gpus, gateway], Metric::Throughput);
        let pairs = rate("8").into_iter().zip(rate("2"));
        pairs.map(|(eight, two)| eight / two).collect::<Vec<f64>>()
    };
    below("TCP, 4 cores", &grows("TCP, 4 cores, 100 Gbit/s"), 2.0);
    below("RDMA, 100 Gbit/s", &grows("RDMA, 4 cores, 100 Gbit/s"), 2.0);
    above("RDMA, 400 Gbit/s", &grows("RDMA, 4 cores, 400 Gbit/s"), 2.5);
}

#[test]
fn oversubscription_takes_what_gpudirect_saves() {
    let study = Short::of(
        "12-racks",
        16,
        &["run.warmup.time=2 ms", "run.measure.time=10 ms"],
    );
    let at = |part: &str| ["TCP", "GDR"].map(|over| study.means(&[part, over]));
    let ([tcp, gdr], [slow_tcp, slow_gdr]) = (at("1"), at("8"));
    let gain = saved(&tcp, &gdr);
    above("GDR saves of TCP", &gain, 0.0);
    above(
        "… more than with 8 to 1",
        &more(&gain, &saved(&slow_tcp, &slow_gdr)),
        0.0,
    );
    above("8 to 1 loses", &saved(&slow_gdr, &gdr), 0.4);
}

#[test]
fn what_calls_save_grows_with_their_number() {
    let study = Short::of("13-fan-out", 12, &["run.measure.time=500 ms"]);
    let gain = |objects: &str| {
        let means = |over: &str| study.means(&[objects, over]);
        saved(&means("TCP"), &means("GDR"))
    };
    let (few, many) = (gain("1"), gain("8"));
    above("one object", &few, 0.0);
    above("eight more than one", &more(&many, &few), 0.0);
    below("eight", &many, 0.1);
}

#[test]
fn swings_of_the_rate_make_the_tail_and_what_is_saved_of_it() {
    let study = Short::of("14-bursts", 8, &["run.measure.time=11 s"]);
    let of = |all: &[Replication], metric| {
        let values = all.iter().map(|one| one.metrics[&metric]);
        values.collect::<Vec<f64>>()
    };
    let [poisson, swing, trace] = ["Poisson, 1000 /s", "swing, 1000 /s", "trace, 1000 /s"]
        .map(|load| study.at(&[load, "TCP"]));
    let p99 = [&poisson, &swing, &trace].map(|all| of(all, Metric::P99));
    above("swing over Poisson", &saved(&p99[1], &p99[0]), 0.0);
    above("trace over Poisson", &saved(&p99[2], &p99[0]), 0.0);
    let less = |load: &str, tcp: &[Replication]| {
        more(&of(tcp, Metric::Mean), &study.means(&[load, "GDR"]))
    };
    let by_poisson = less("Poisson, 1000 /s", &poisson);
    let by_trace = less("trace, 1000 /s", &trace);
    above("GDR saves more seconds", &more(&by_trace, &by_poisson), 0.0);
}

#[test]
fn behind_a_mobile_network_next_to_nothing_of_the_saving_is_left() {
    let study = Short::of("15-access", 8, &["run.measure.time=1 s"]);
    let gain = |access: &str| {
        let means = |over: &str| study.means(&["tensor of 602 kB", access, over]);
        saved(&means("TCP"), &means("GDR"))
    };
    above("wire", &gain("wire"), 0.02);
    for access in ["cell, near site", "cell, far site"] {
        let left = gain(access);
        above(access, &left, 0.0);
        below(access, &left, 0.01);
    }
}

#[test]
fn caps_and_partitions_isolate_a_small_net_and_cost_the_heavy_one() {
    let study = Short::of("16-mixed", 12, &["run.measure.time=300 ms"]);
    let of = |sharing: &str, group: &str, metric| {
        let all = study.at(&["batches of 8", sharing]);
        let values = all.iter().map(|one| one.groups[group][&metric]);
        values.collect::<Vec<f64>>()
    };
    let small = |sharing| of(sharing, "small", Metric::P99);
    let heavy = |sharing| of(sharing, "heavy", Metric::Mean);
    let streams = small("streams");
    let priority = small("streams, priority");
    let [turns, caps, mig] = ["processes", "MPS, 30 and 70%", "MIG, 3 and 4 slices"].map(small);
    above("priority saves", &saved(&streams, &priority), 0.0);
    above("turns save", &saved(&streams, &turns), 0.3);
    above("caps save", &saved(&streams, &caps), 0.7);
    above("caps save of priority", &saved(&priority, &caps), 0.5);
    above("partitions save of turns", &saved(&turns, &mig), 0.3);
    let free = heavy("streams");
    let [caps, mig] = ["MPS, 30 and 70%", "MIG, 3 and 4 slices"].map(heavy);
    above("what caps cost", &saved(&caps, &free), 0.2);
    above("what partitions cost", &saved(&mig, &caps), 0.1);
    // Uncapped clients of MPS are as streams of one process.
    let difference = saved(&streams, &small("MPS"));
    above("MPS without caps", &difference, -0.05);
    below("MPS without caps", &difference, 0.05);
}

#[test]
fn more_gateways_know_less_each() {
    let study = Short::of("17-balancing", 6, &["run.measure.time=150 ms"]);
    let mean = |gateways: &str, rule: &str| study.means(&[gateways, rule]);
    let own = |gateways| mean(gateways, "least-outstanding");
    let all = |gateways| mean(gateways, "join-shortest-queue");
    let random = |gateways| mean(gateways, "random");
    above(
        "one gateway that knows all",
        &saved(&random("1"), &own("1")),
        0.3,
    );
    above(
        "eight that know their own",
        &saved(&random("8"), &own("8")),
        0.2,
    );
    above(
        "one knows more than eight",
        &saved(&own("8"), &own("1")),
        0.05,
    );
    above(
        "so do eight that know all",
        &saved(&own("8"), &all("8")),
        0.0,
    );
}

#[test]
fn another_gateway_sooner_is_what_a_failure_wants() {
    let study = Short::of("18-failure", 8, &["run.measure.time=1200 ms"]);
    let mean = |reaction: &str| study.means(&["4", reaction]);
    let [none, again, elsewhere, sooner, told] = [
        "no failure",
        "again, 100 ms",
        "elsewhere, 100 ms",
        "elsewhere, 20 ms",
        "elsewhere, detected in 50 ms",
    ]
    .map(mean);
    above("a failure costs", &saved(&again, &none), 0.5);
    above("elsewhere saves", &saved(&again, &elsewhere), 0.0);
    above("a shorter timeout saves", &saved(&elsewhere, &sooner), 0.4);
    above("detection saves", &saved(&elsewhere, &told), 0.4);
}

#[test]
fn the_h100_alone_is_that_of_its_own_profile() {
    let load = |name: &str| Profile::load(&scenarios().join("profiles").join(name)).unwrap();
    let (alone, whole) = (load("h100-alone.toml"), load("h100.toml"));
    let (ours, theirs) = (&alone.parts["h100"], &whole.parts["h100"]);
    assert_eq!(alone.parts.len(), 1);
    assert_eq!(ours.parameters, theirs.parameters);
    assert_eq!(ours.costs, theirs.costs);
    for (name, net) in &ours.nets {
        assert_eq!(Some(net), theirs.nets.get(name), "{name}");
    }
}
