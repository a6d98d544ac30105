//! Stages that serve on a GPU: what a request takes in closed form, and what is refused.
//!
//! Host costs are zero unless a test sets them; copies are set up in 10 us and move 10 GB/s pinned, 4
//! GB/s pageable.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insta::assert_snapshot;
use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{CostLaw, Driver, Parameter, Profile, Residual, WorkingSet, WorkingSetLaw};
use schema::run::{Leg, Run, SpanName};
use schema::scenario::Scenario;
use sim::{Arrivals, Keep, Options, SimError, simulate};

/// One phase: 100 us of overhead; 1 ms of computing for each request.
fn net() -> GpuNet {
    GpuNet {
        per: Driver::Requests,
        range: [1.0, 8.0],
        samples: 0,
        held_out_error: 0.0,
        source: "by definition".to_owned(),
        residual: Residual::None,
        memory: 0.0,
        launches: 10,
        floor: DriverLaw::default(),
        phases: vec![Phase {
            overhead: DriverLaw::constant(100e-6),
            compute: DriverLaw::affine(0.0, 1e-3),
            parallelism: DriverLaw::constant(1.0),
            bytes: DriverLaw::default(),
            intensity: DriverLaw::default(),
        }],
        kernels: Vec::new(),
    }
}

fn profile(net: GpuNet) -> Profile {
    let text = include_str!("../../scenarios/profiles/ideal.toml").to_owned();
    let mut profile = Profile::parse(Path::new("ideal.toml"), text).unwrap();
    let gpu = profile.parts.get_mut("two-sms").unwrap();
    gpu.nets.insert("net".to_owned(), net);
    profile
}

fn set_parameter(profile: &mut Profile, name: &str, value: f64) {
    let parameter = Parameter {
        value,
        standard_error: 0.0,
        unit: "1".to_owned(),
        range: None,
        source: "by definition".to_owned(),
    };
    let gpu = profile.parts.get_mut("two-sms").unwrap();
    gpu.parameters.insert(name.to_owned(), parameter);
}

fn set_host_cost(profile: &mut Profile, name: &str, law: CostLaw) {
    let host = profile.parts.get_mut("no-time").unwrap();
    host.costs.insert(name.to_owned(), law);
}

/// `gpu` is the stage's, `more` other keys of the stage, and `count` clients send `requests` each.
fn scenario(gpu: &str, more: &str, count: u32, requests: u32) -> Scenario {
    let text = format!(
        r#"format = 1
name = "a"
run = {{ measure = {{ requests = {requests} }} }}

[hosts]
box = {{ part = "no-time", cores = 4, gpus = [{{ part = "two-sms" }}, {{ part = "two-sms" }}] }}

[stages.a]
on = "box"
serve.profiled = {{ name = "net", input = "1 MB", output = "100 kB" }}
gpu = {gpu}
{more}

[[clients]]
on = "box"
count = {count}
arrivals = {{ closed-loop = {{}} }}
path = [{{ to = "a", over = "local" }}]
"#
    );
    Scenario::parse(Path::new("a.toml"), text, &[]).unwrap()
}

fn try_run(scenario: &Scenario, profile: &Profile) -> Result<Run, Box<SimError>> {
    let options = Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Trace,
    };
    simulate(scenario, Some(profile), &options).map_err(Box::new)
}

/// End-to-end times, in microseconds, in order of completion.
fn times(scenario: &Scenario, profile: &Profile) -> Vec<f64> {
    let run = try_run(scenario, profile).unwrap();
    let whole = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Request);
    let mut ends: Vec<_> = whole
        .map(|span| (span.end_ns, span.end_ns - span.ready_ns))
        .collect();
    ends.sort_unstable();
    ends.iter().map(|(_, ns)| *ns as f64 / 1e3).collect()
}

/// 10 + 100 us to the GPU, 100 + 1000 us there, 10 + 10 us back.
const ALONE_US: f64 = 1230.0;

fn assert_times(actual: &[f64], expected: &[f64]) {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() < 2e-3;
    let is_equal = actual.len() == expected.len() && actual.iter().zip(expected).all(near);
    assert!(is_equal, "{actual:?} is not {expected:?}");
}

#[test]
fn an_unloaded_request_takes_the_sum_of_its_parts() {
    let times = times(&scenario("{}", "", 1, 3), &profile(net()));
    assert_times(&times, &[ALONE_US; 3]);
}

#[test]
fn pageable_memory_is_slower_and_ends_when_the_core_has_copied() {
    let mut profile = profile(net());
    let scenario = scenario("{ host-memory = \"pageable\" }", "", 1, 1);
    // 10 + 250 us and 10 + 25 us by the engine.
    assert_times(&times(&scenario, &profile), &[260.0 + 1100.0 + 35.0]);
    // A core that copies 2.5 GB/s holds the copies up: 400 us and 40 us.
    let law = CostLaw::exact(Driver::Bytes, 0.0, 1.0 / 2.5e9, "by definition");
    set_host_cost(&mut profile, "staging", law);
    assert_times(&times(&scenario, &profile), &[400.0 + 1100.0 + 40.0]);
}

#[test]
fn launches_of_the_host_hide_the_gpu_and_a_graph_is_one() {
    let mut profile = profile(net());
    let law = CostLaw::exact(Driver::Kernels, 0.0, 200e-6, "by definition");
    set_host_cost(&mut profile, "launch", law);
    // Ten launches take 2000 us, longer than the pass; that of a graph 200 us.
    assert_times(
        &times(&scenario("{}", "", 1, 1), &profile),
        &[110.0 + 2000.0 + 20.0],
    );
    let graph = scenario("{ launch = \"graph\" }", "", 1, 1);
    assert_times(&times(&graph, &profile), &[ALONE_US]);
}

#[test]
fn kernels_of_a_scenario_are_launched_one_by_one_or_as_a_graph() {
    let mut profile = profile(net());
    let law = CostLaw::exact(Driver::Kernels, 0.0, 200e-6, "by definition");
    set_host_cost(&mut profile, "launch", law);
    let kernel = r#"{ kernel = { blocks = 4, threads = 1024, time = "10 us" } }"#;
    let time = |launch: &str| {
        let work = format!("work = [{kernel}, {kernel}, {kernel}]");
        let set = [
            format!(
                r#"stages.a.serve={{ kernels = {{ input = "0 B", output = "0 B", {work} }} }}"#
            ),
            format!("stages.a.gpu.launch={launch}"),
        ];
        let text = scenario("{}", "", 1, 1).source().text().to_owned();
        let scenario = Scenario::parse(Path::new("a.toml"), text, &set).unwrap();
        times(&scenario, &profile)
    };
    assert_times(&time("kernels"), &[600.0]);
    assert_times(&time("graph"), &[200.0]);
}

/// Each of a batch of requests of no bytes goes on at once.
#[test]
fn large_batches_without_bytes_are_not_copied() {
    let set = [
        r#"stages.a.serve.profiled.input="0 B""#.to_owned(),
        r#"stages.a.serve.profiled.output="0 B""#.to_owned(),
    ];
    let more = "batch = { max = 50000, delay = \"1 s\" }";
    let text = scenario("{}", more, 50_000, 1).source().text().to_owned();
    let scenario = Scenario::parse(Path::new("a.toml"), text, &set).unwrap();
    let times = times(&scenario, &profile(net()));
    assert_times(&times[..1], &[100.0 + 50_000.0 * 1000.0]);
}

#[test]
fn a_pass_takes_no_less_than_its_floor() {
    let floor = DriverLaw::affine(1000e-6, 300e-6);
    let times = times(
        &scenario("{}", "", 1, 1),
        &profile(GpuNet { floor, ..net() }),
    );
    assert_times(&times, &[110.0 + 1300.0 + 20.0]);
}

#[test]
fn a_batch_is_copied_request_by_request_or_at_once() {
    let more = "batch = { max = 2, delay = \"1 s\" }";
    let each = times(&scenario("{}", more, 2, 1), &profile(net()));
    assert_times(&each, &[2.0 * 110.0 + 2100.0 + 2.0 * 20.0; 2]);
    let gathered = times(
        &scenario("{ copies = \"batch\" }", more, 2, 1),
        &profile(net()),
    );
    assert_times(&gathered, &[210.0 + 2100.0 + 30.0; 2]);
}

#[test]
fn streams_share_the_multiprocessors_and_devices_do_not() {
    // Two streams: the second copy waits for the first, the phases share from 320 us on.
    let shared = times(&scenario("{ streams = 2 }", "", 2, 1), &profile(net()));
    // The first computes alone from 210 us until the second does at 320 us, then at half the speed.
    assert_times(
        &shared,
        &[320.0 + 2.0 * 890.0 + 20.0, 2100.0 + 110.0 + 20.0],
    );
    let apart = times(
        &scenario("{ devices = [\"0\", \"1\"] }", "", 2, 1),
        &profile(net()),
    );
    assert_times(&apart, &[ALONE_US; 2]);
}

/// A copy of 10 MB between kernels of 10 us, the GPUs with these keys.
fn peers(first: &str, second: &str) -> Scenario {
    let kernel = r#"{ kernel = { blocks = 4, threads = 1024, time = "10 us" } }"#;
    let copy = r#"{ peer-copy = { to = "1", size = "10 MB" } }"#;
    let work = format!("work = [{kernel}, {copy}, {kernel}]");
    let gpu = |keys: &str| format!("{{ part = \"two-sms\"{keys} }}");
    let set = [
        format!(r#"stages.a.serve={{ kernels = {{ input = "0 B", output = "0 B", {work} }} }}"#),
        format!("hosts.box.gpus=[{}, {}]", gpu(first), gpu(second)),
    ];
    let text = scenario("{}", "", 1, 1).source().text().to_owned();
    Scenario::parse(Path::new("a.toml"), text, &set).unwrap()
}

#[test]
fn gpus_copy_over_nvlink_where_both_have_it() {
    let (pcie, nvlink) = (", peers = \"pcie\"", ", peers = \"nvlink\"");
    let (over_pcie, over_nvlink) = (10.0 + 1010.0 + 10.0, 10.0 + 210.0 + 10.0);
    let time = |first, second, profile: &Profile| times(&peers(first, second), profile)[0];
    let both = profile(net());
    assert_times(&[time(nvlink, nvlink, &both)], &[over_nvlink]);
    assert_times(&[time(nvlink, pcie, &both)], &[over_pcie]);
    assert_times(&[time(pcie, nvlink, &both)], &[over_pcie]);
    // What the scenario leaves open the part decides.
    assert_times(&[time("", "", &both)], &[over_pcie]);
    assert_times(&[time("", nvlink, &both)], &[over_pcie]);
    let mut only = profile(net());
    let gpu = only.parts.get_mut("two-sms").unwrap();
    gpu.costs.remove("peer/pcie");
    assert_times(&[time("", "", &only)], &[over_nvlink]);
    let refused = try_run(&peers("", pcie), &only).unwrap_err();
    assert_snapshot!(refused, @r#"a.toml with --set hosts.box.gpus=[{ part = "two-sms" }, { part = "two-sms", peers = "pcie" }]: `hosts.box.gpus.0.part`: part `two-sms` of profile `ideal` has no cost `peer/pcie`, did you mean `peer/nvlink`? (allowed: d2h/pageable, d2h/pinned, h2d/pageable, h2d/pinned, peer/nvlink)"#);
}

#[test]
fn a_peer_copy_over_pcie_is_no_faster_than_the_link() {
    let mut profile = profile(net());
    set_parameter(&mut profile, "pcie-bandwidth", 5e9);
    let time = times(&peers("", ""), &profile);
    assert_times(&time, &[10.0 + 10.0 + 2000.0 + 10.0]);
}

#[test]
fn a_thread_that_polls_keeps_a_core_busy() {
    let cpu = |wait: &str| {
        let gpu = format!("{{ wait = \"{wait}\" }}");
        let run = try_run(&scenario(&gpu, "", 1, 1), &profile(net())).unwrap();
        run.trace.iter().map(|span| span.cpu_ns).sum::<u64>()
    };
    assert_eq!((cpu("block"), cpu("spin")), (0, 1_230_000));
}

#[test]
fn classes_may_have_streams_of_their_own_priority() {
    let more = "[[clients]]\non = \"box\"\narrivals = { times = { at = [\"50 us\"] } }\n\
                classes = [{ name = \"urgent\", share = 1, stream-priority = -1 }]\n\
                path = [{ to = \"a\", over = \"local\" }]";
    let times = times(&scenario("{ streams = 2 }", more, 1, 1), &profile(net()));
    // The other computes from 210 us on, is interrupted at 320 us, and goes on after 1000 us.
    assert_times(&times, &[1340.0 - 50.0, 1320.0 + 890.0 + 20.0]);
}

#[test]
fn a_slower_clock_slows_computing_alone() {
    let set = ["hosts.box.gpus.0.clock=0.5".to_owned()];
    let source = scenario("{}", "", 1, 1);
    let text = source.source().text().to_owned();
    let slow = Scenario::parse(Path::new("a.toml"), text, &set).unwrap();
    assert_times(&times(&slow, &profile(net())), &[ALONE_US + 1000.0]);
}

#[test]
fn instances_have_as_many_multiprocessors_as_the_part_says() {
    // Two fill a multiprocessor.
    let kernel = r#"{ kernel = { blocks = 4, threads = 1024, time = "10 us" } }"#;
    let set = [
        format!(
            r#"stages.a.serve={{ kernels = {{ input = "0 B", output = "0 B", work = [{kernel}] }} }}"#
        ),
        r#"stages.a.gpu={ devices = ["0.0"] }"#.to_owned(),
        "hosts.box.gpus.0.mig=[{ compute = 2, memory = 2 }]".to_owned(),
    ];
    let text = scenario("{}", "", 1, 1).source().text().to_owned();
    let scenario = Scenario::parse(Path::new("a.toml"), text, &set).unwrap();
    let mut profile = profile(net());
    assert_times(&times(&scenario, &profile), &[10.0]);
    set_parameter(&mut profile, "mig-sms/2", 1.0);
    assert_times(&times(&scenario, &profile), &[20.0]);
    set_parameter(&mut profile, "mig-sms/2", 3.0);
    let refused = |profile: &Profile| try_run(&scenario, profile).unwrap_err().to_string();
    assert_snapshot!(refused(&profile), @"a.toml:6: `hosts.box.gpus.0.part`: parameter `mig-sms/2` of part `two-sms` must be from 1 to 2, found 3");
    let gpu = profile.parts.get_mut("two-sms").unwrap();
    gpu.parameters.remove("mig-sms/2");
    set_parameter(&mut profile, "mig-sms-per-slice", 2.0);
    assert_snapshot!(refused(&profile), @"a.toml:6: `hosts.box.gpus.0.part`: parameter `mig-sms-per-slice` of part `two-sms` must be from 1 to 1, found 2");
    let gpu = profile.parts.get_mut("two-sms").unwrap();
    gpu.parameters.remove("mig-sms-per-slice");
    assert_snapshot!(refused(&profile), @"a.toml:6: `hosts.box.gpus.0.part`: part `two-sms` has no parameter `mig-sms-per-slice`, which is needed");
}

#[test]
fn an_instance_computes_phases_as_much_longer_as_it_is_smaller() {
    let half = |parallelism: f64| {
        let mut net = net();
        net.phases[0].parallelism = DriverLaw::constant(parallelism);
        let set = [
            r#"stages.a.gpu={ devices = ["0.0"] }"#.to_owned(),
            "hosts.box.gpus.0.mig=[{ compute = 1, memory = 1 }]".to_owned(),
        ];
        let text = scenario("{}", "", 1, 1).source().text().to_owned();
        let scenario = Scenario::parse(Path::new("a.toml"), text, &set).unwrap();
        times(&scenario, &profile(net))
    };
    assert_times(&half(1.0), &[ALONE_US + 1000.0]);
    // What can use no more than half of the GPU's multiprocessors takes as long there; a quarter,
    // half of the instance's.
    assert_times(&half(0.5), &[ALONE_US + 1000.0]);
    assert_times(&half(0.25), &[ALONE_US + 3000.0]);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |gpu: &str, profile: &Profile| {
        let more = "batch = { max = 2 }";
        try_run(&scenario(gpu, more, 3, 1), profile)
            .unwrap_err()
            .to_string()
    };
    let mut small = profile(GpuNet {
        memory: 3e9,
        ..net()
    });
    set_parameter(&mut small, "memory", 8e9);
    set_parameter(&mut small, "context-memory", 0.5e9);
    assert_snapshot!(refused("{ streams = 3 }", &small), @"a.toml:6: `hosts.box.gpus.0.part`: a device of part `two-sms` has 8.00 GB of memory, and is asked for 1 x 0.50 GB for contexts of processes, 3 x 3.00 GB for nets of streams");
    assert_snapshot!(refused("{ connection-buffer = \"2 GB\" }", &small), @"a.toml:6: `hosts.box.gpus.0.part`: a device of part `two-sms` has 8.00 GB of memory, and is asked for 1 x 0.50 GB for contexts of processes, 1 x 3.00 GB for nets of streams, 3 x 2.00 GB for buffers of connections; 2 connections would fit");
    let mut odd = profile(net());
    set_parameter(&mut odd, "duplex-penalty", 1.0);
    assert_snapshot!(refused("{}", &odd), @"a.toml:6: `hosts.box.gpus.0.part`: parameter `duplex-penalty` of part `two-sms` must be from 0 to below 1, found 1");
    let mut launches = profile(net());
    let law = CostLaw::exact(Driver::Kernels, 1e-6, 0.0, "by definition");
    set_host_cost(&mut launches, "dispatch", law);
    assert_snapshot!(refused("{}", &launches), @"a.toml:6: `hosts.box.part`: cost `dispatch` of part `no-time` is per kernel, which only `launch` has (allowed: bytes, requests)");
    let mut lacks = profile(net());
    lacks
        .parts
        .get_mut("two-sms")
        .unwrap()
        .parameters
        .remove("sms");
    assert_snapshot!(refused("{}", &lacks), @"a.toml:6: `hosts.box.gpus.0.part`: part `two-sms` has no parameter `sms`, which is needed");
    let mut without = profile(net());
    without.parts.get_mut("two-sms").unwrap().nets.clear();
    assert_snapshot!(refused("{}", &without), @"a.toml:6: `hosts.box.gpus.0.part`: part `two-sms` of profile `ideal` has no net `net` (allowed: (none))");
    let mut host = profile(net());
    host.parts
        .insert("two-sms".to_owned(), host.parts["no-time"].clone());
    assert_snapshot!(refused("{}", &host), @"a.toml:6: `hosts.box.gpus.0.part`: part `two-sms` is no GPU (its `kind` must be gpu)");
    let mut costs = profile(net());
    costs.parts.get_mut("two-sms").unwrap().costs.clear();
    assert_snapshot!(refused("{}", &costs), @"a.toml:6: `hosts.box.gpus.0.part`: part `two-sms` of profile `ideal` has no cost `h2d/pinned` (allowed: (none))");
}

#[test]
fn use_outside_the_range_of_a_net_is_a_warning() {
    let more = "batch = { max = 16, delay = \"1 ms\" }";
    let run = try_run(&scenario("{}", more, 16, 1), &profile(net())).unwrap();
    assert_snapshot!(run.manifest.warnings.join("\n"), @"extrapolates: net `net` of part `two-sms` was fitted on 1 to 8 requests and is used for 16; measure it there");
}

#[test]
fn few_threads_receive_one_message_after_the_other() {
    let mut profile = profile(net());
    let law = CostLaw::exact(Driver::Bytes, 100e-6, 0.0, "by definition");
    set_host_cost(&mut profile, "receive/local", law);
    // Each has an inference context, and inputs are copied within what it takes to receive another;
    // replies are received by the clients, 100 us each on the four cores of the host.
    let wide = "{ streams = 4, host-memory = \"pinned\", mps = {} }";
    let alone = 100.0 + 110.0 + 1100.0 + 20.0 + 100.0;
    let one = times(&scenario(wide, "receive-threads = 1", 1, 1), &profile);
    assert_times(&one, &[alone]);
    let received = |more: &str| {
        let run = try_run(&scenario(wide, more, 3, 1), &profile).unwrap();
        let mut spans: Vec<_> = (run.trace.iter())
            .filter(|span| span.name == SpanName::Receive && span.leg == Leg::Request)
            .map(|span| [span.ready_ns, span.start_ns, span.end_ns].map(|ns| ns / 1000))
            .collect();
        spans.sort_unstable();
        spans
    };
    assert_eq!(received(""), [[0, 0, 100]; 3]);
    assert_eq!(
        received("receive-threads = 1"),
        [[0, 0, 100], [0, 100, 200], [0, 200, 300]]
    );
    assert_eq!(
        received("receive-threads = 2"),
        [[0, 0, 100], [0, 0, 100], [0, 100, 200]]
    );
}

#[test]
fn outputs_handed_back_in_turn_keep_the_context() {
    let mut profile = profile(net());
    let law = CostLaw::exact(Driver::Requests, 50e-6, 0.0, "by definition");
    set_host_cost(&mut profile, "notify", law);
    let batch = "batch = { max = 2, delay = \"1 s\" }";
    // A batch of two: inputs 220 us, 2100 us on the GPU, outputs 40 us.
    let first = 220.0 + 2100.0 + 40.0;
    let run = |more: &str| times(&scenario("{}", more, 4, 1), &profile);
    // At once: both are told within 50 us while the context goes on.
    assert_times(
        &run(batch),
        &[
            first + 50.0,
            first + 50.0,
            2.0 * first + 50.0,
            2.0 * first + 50.0,
        ],
    );
    // In turn: 50 us each, and only then the next batch.
    assert_times(
        &run(&format!("{batch}\nhand-back = \"in-turn\"")),
        &[
            first + 50.0,
            first + 100.0,
            2.0 * first + 150.0,
            2.0 * first + 200.0,
        ],
    );
}

#[test]
fn cores_copy_slower_once_requests_fill_the_caches() {
    let mut profile = profile(net());
    let staging = |of, cache: f64| CostLaw {
        working_set: Some(WorkingSetLaw {
            of,
            slowdown: 1.0,
            slowdown_error: 0.0,
            cache,
        }),
        ..CostLaw::exact(Driver::Bytes, 0.0, 1.0 / 1e9, "by definition")
    };
    // A request of 1 MB is under way: its input is copied in 1 ms and its output of 100 kB in 0.1 ms
    // if the caches hold it, in half as much again if they hold two thirds, in twice that at a half
    // and less.
    let one = scenario("{ host-memory = \"pageable\" }", "", 1, 1);
    for (cache, factor) in [(1e6, 1.0), (1e6 / 1.5, 1.5), (5e5, 2.0), (1e5, 2.0)] {
        set_host_cost(&mut profile, "staging", staging(WorkingSet::Machine, cache));
        assert_times(&times(&one, &profile), &[factor * 1100.0 + 1100.0]);
    }
    // Two are under way when either input is copied, the second just as the first reply leaves; one is
    // left when its output is copied.
    set_host_cost(&mut profile, "staging", staging(WorkingSet::Machine, 1e6));
    let two = scenario("{ host-memory = \"pageable\" }", "", 2, 1);
    let first = 2.0 * 1100.0 + 1100.0;
    assert_times(
        &times(&two, &profile),
        &[first, first + 2000.0 + 1100.0 + 100.0],
    );
    // A copy alone fits, however many requests there are; and one of 1 MB does not fit 0.5 MB.
    set_host_cost(&mut profile, "staging", staging(WorkingSet::Message, 1e6));
    assert_times(&times(&two, &profile), &[2200.0, 2.0 * 2200.0]);
    set_host_cost(&mut profile, "staging", staging(WorkingSet::Message, 5e5));
    assert_times(&times(&one, &profile), &[2000.0 + 1100.0 + 100.0]);
}
