//! Stages that call others and paths on which several serve: what is made of them, and the message of
//! each mistake.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insta::assert_snapshot;
use schema::scenario::{Branch, Scenario, to_toml};
use schema::units::Bytes;

const TEXT: &str = r#"format = 1
name = "calls"
fabric = { star = { rate = "1 GB/s" } }

[run]
measure = { requests = 10 }

[hosts]
edge = { part = "cpu", cores = 1, nic = { part = "cx6" } }
gateway = { part = "cpu", cores = 1 }
detector = { part = "cpu", cores = 2, gpus = [{ part = "a100" }], nic = { part = "cx6" } }
classifier = { part = "cpu", cores = 2, count = 2 }

[stages.ingress]
on = "gateway"
proxy = {}

[stages.detect]
on = "detector"
serve = { synthetic = { time = "1 ms", input = "600 kB", output = "1 kB" } }

[[stages.detect.steps]]
calls = [
    { path = [{ to = "ingress", over = "tcp" }, { to = "classify", over = "tcp" }], count = { uniform = { from = 0, to = 3 } }, payload = "602112 B" },
    { path = [{ to = "embed", over = "tcp" }], probability = 0.5 },
]

[stages.classify]
on = "classifier"
serve = { net = { name = "resnet50" } }
steps = [{ calls = [{ path = [{ to = "embed", over = "tcp" }], reply = "7 B" }] }]

[stages.embed]
on = "classifier"
serve = { synthetic = { time = "1 ms", input = "1 kB", output = "2 kB" } }

[[clients]]
on = "edge"
arrivals = { closed-loop = {} }
path = [{ to = "ingress", over = "tcp" }, { to = "detect", over = "tcp" }]
"#;

fn parse(overrides: &[&str]) -> Result<Scenario, String> {
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    let path = Path::new("calls.toml");
    Scenario::parse(path, TEXT.to_owned(), &overrides).map_err(|error| error.to_string())
}

fn problem(overrides: &[&str]) -> String {
    parse(overrides).unwrap_err()
}

#[test]
fn a_request_has_a_branch_for_each_that_a_call_may_send() {
    let scenario = parse(&[]).unwrap();
    let branches = &scenario.groups.rows()[0].branches;
    let expected = [(0, 0), (1, 0), (0, 1), (3, 0), (0, 2), (5, 0), (0, 0)];
    let found: Vec<(u32, u32)> = branches.iter().map(|b| (b.parent, b.index)).collect();
    assert_eq!(found, expected);
    let path = |branch: &Branch| {
        let hops = scenario.call(branch).path.iter();
        let hops = hops.map(|hop| (scenario.stages[hop.to].name.clone(), hop.payload, hop.reply));
        hops.collect::<Vec<_>>()
    };
    let bytes = |n| Some(Bytes(n));
    let of = |name: &str, payload, reply| (name.to_owned(), bytes(payload), bytes(reply));
    let to_classify = [of("ingress", 602_112, 4000), of("classify", 602_112, 4000)];
    assert_eq!(path(&branches[0]), to_classify);
    assert_eq!(path(&branches[1]), [of("embed", 4000, 7)]);
    assert_eq!(path(&branches[6]), [of("embed", 1000, 2000)]);
    let step = &scenario.stages.rows()[1].steps[0];
    assert_eq!(step.calls[0].count, [0.25; 4]);
    assert_eq!(step.calls[1].count, [0.0, 1.0]);
    let again = Scenario::from_file(scenario.file()).unwrap();
    assert_eq!(to_toml(again.file()), to_toml(scenario.file()));
}

#[test]
fn mistakes_of_calls_are_named() {
    assert_snapshot!(problem(&["stages.detect.steps.0.calls=[]"]), @"calls.toml with --set stages.detect.steps.0.calls=[]: `stages.detect.steps.0.calls`: must have at least one call, found none");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.probability=1.5"]), @"calls.toml with --set stages.detect.steps.0.calls.1.probability=1.5: `stages.detect.steps.0.calls.1.probability`: must be from 0 to 1, found 1.5");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.path=[]"]), @"calls.toml with --set stages.detect.steps.0.calls.1.path=[]: `stages.detect.steps.0.calls.1.path`: must have at least one hop, found none");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.path.0.to=embedd"]), @"calls.toml with --set stages.detect.steps.0.calls.1.path.0.to=embedd: `stages.detect.steps.0.calls.1.path.0.to`: there is no stage `embedd`, did you mean `embed`? (allowed: classify, detect, embed, ingress)");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.path.0.to=ingress"]), @"calls.toml with --set stages.detect.steps.0.calls.1.path.0.to=ingress: `stages.detect.steps.0.calls.1.path.0.to`: a path must end at a stage that serves, or calls others in `steps`; `ingress` is a proxy");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.count=4"]), @"calls.toml with --set stages.detect.steps.0.calls.1.count=4: `stages.detect.steps.0.calls.1.count`: must be a word in quotes, or a table with one as its key");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.count={ constant = 2000 }"]), @"calls.toml with --set stages.detect.steps.0.calls.1.count={ constant = 2000 }: `stages.detect.steps.0.calls.1.count.constant`: must be at most 1024, found 2000");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.count={ uniform = { from = 3, to = 2 } }"]), @"calls.toml with --set stages.detect.steps.0.calls.1.count={ uniform = { from = 3, to = 2 } }: `stages.detect.steps.0.calls.1.count.uniform.to`: must be at least `from`, 3; found 2");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.count={ poisson = { mean = 0.0, max = 2 } }"]), @"calls.toml with --set stages.detect.steps.0.calls.1.count={ poisson = { mean = 0.0, max = 2 } }: `stages.detect.steps.0.calls.1.count.poisson.mean`: must be more than zero, found 0");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.count={ shares = [0, 0] }"]), @"calls.toml with --set stages.detect.steps.0.calls.1.count={ shares = [0, 0] }: `stages.detect.steps.0.calls.1.count.shares`: must have a share above zero, found none");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.1.count={ shares = [1, -1] }"]), @"calls.toml with --set stages.detect.steps.0.calls.1.count={ shares = [1, -1] }: `stages.detect.steps.0.calls.1.count.shares.1`: must be from 0, found -1");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.0.count={ constant = 1000 }", "stages.classify.steps.0.calls.0.count={ constant = 1000 }"]), @"calls.toml:40: `clients.0.path`: leads to stages whose calls may send more than 16384 requests for one; lower their `count`");
    assert_snapshot!(problem(&["stages.embed.steps=[{ calls = [{ path = [{ to = \"detect\", over = \"tcp\" }] }] }]"]), @"calls.toml:31: `stages.classify.steps`: calls go in a circle: classify -> embed -> detect -> classify");
    assert_snapshot!(problem(&["stages.ingress.steps=[{ calls = [{ path = [{ to = \"embed\", over = \"tcp\" }] }] }]"]), @"calls.toml with --set stages.ingress.steps=[{ calls = [{ path = [{ to = \"embed\", over = \"tcp\" }] }] }]: `stages.ingress.steps.0.calls.0.payload`: must be given, since `ingress` is a proxy and has no output of its own");
    assert_snapshot!(problem(&["stages.detect.steps.0.calls.0.payload=\"3 B\""]), @"calls.toml:24: `stages.detect.steps.0.calls.0.path.1.payload`: must be the input of `classify`, 602.112 kB; found 3 B");
}

#[test]
fn mistakes_of_paths_are_named() {
    let path = |hops: &str| problem(&[&format!("clients.0.path=[{hops}]")]);
    assert_snapshot!(path("{ to = \"ingress\", over = \"tcp\" }"), @"calls.toml with --set clients.0.path=[{ to = \"ingress\", over = \"tcp\" }]: `clients.0.path.0.to`: a path must end at a stage that serves, or calls others in `steps`; `ingress` is a proxy");
    assert_snapshot!(path("{ to = \"detect\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }"), @"calls.toml with --set clients.0.path=[{ to = \"detect\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]: `clients.0.path.1.payload`: must be the input of `classify`, 602.112 kB; found 1 kB");
    let calls = "stages.ingress.steps=[{ calls = [{ path = [{ to = \"embed\", over = \"tcp\" }], payload = \"1 kB\" }] }]";
    let ends = "clients.0.path=[{ to = \"ingress\", over = \"tcp\" }]";
    assert_snapshot!(problem(&["stages.detect.steps=[]", calls, ends]), @"calls.toml with --set clients.0.path=[{ to = \"ingress\", over = \"tcp\" }]: `clients.0.path.0.reply`: must be given, since `ingress` is a proxy and has no output of its own");
    assert_snapshot!(problem(&["clients.0.reply-over=gdr"]), @"calls.toml with --set clients.0.reply-over=gdr: `clients.0.reply-over`: must be `tcp`, `local` or `rdma`, found `gdr`");
    assert_snapshot!(problem(&["clients.0.reply-over=local"]), @"calls.toml with --set clients.0.reply-over=local: `clients.0.reply-over`: `local` stays inside a machine, `edge` and `detector` are two");
    let polled = "clients.0.path=[{ to = \"detect\", over = \"rdma\", completion = \"poll\" }]";
    assert_snapshot!(problem(&["clients.0.reply-over=tcp", polled]), @"calls.toml with --set clients.0.reply-over=tcp: `clients.0.reply-over`: does not go with `completion = \"poll\"` of `path.0`, where threads poll for replies");
    let gpu = "stages.detect.serve={ profiled = { name = \"yolo\", input = \"1 kB\", output = \"1 kB\" } }";
    let gdr = "clients.0.path=[{ to = \"detect\", over = \"gdr\" }]";
    assert_snapshot!(problem(&[gpu, "stages.detect.gpu={}", gdr]), @"calls.toml with --set clients.0.path=[{ to = \"detect\", over = \"gdr\" }]: `clients.0.path.0.over`: `gdr` is for the last hop of a path, to a stage without `steps` (allowed here: tcp, local, rdma)");
    let sized = "clients.0.path.0.payload=\"5 kB\"";
    let class = "clients.0.classes=[{ name = \"a\", share = 1, payload = \"6 kB\" }]";
    assert_snapshot!(problem(&[sized, class]), @"calls.toml with --set clients.0.classes=[{ name = \"a\", share = 1, payload = \"6 kB\" }]: `clients.0.classes.0.payload`: must not be given, since the first hop has a payload, 5 kB; found 6 kB");
}

#[test]
fn plain_stages_have_no_calls_and_no_messages() {
    let plain = |stage: &str, clients: &str| {
        let text = format!(
            "format = 1\nname = \"a\"\nrun = {{ measure = {{ requests = 1 }} }}\n[stages.a]\nstation = {{ service = {{ constant = \"1 ms\" }} }}\n{stage}\n[[clients]]\narrivals = {{ closed-loop = {{}} }}\n{clients}"
        );
        let error = Scenario::parse(Path::new("a.toml"), text, &[]).unwrap_err();
        error.to_string()
    };
    let path = "path = [{ to = \"a\" }]";
    assert_snapshot!(plain("steps = [{ calls = [{ path = [{ to = \"a\" }] }] }]", path), @"a.toml:6: `stages.a.steps`: belongs to `serve` and `proxy`; plain stages have `fork` and `join`");
    assert_snapshot!(plain("", "path = [{ to = \"a\", payload = \"1 B\" }]"), @"a.toml:9: `clients.0.path.0.payload`: no messages go to a plain stage, found 1 B");
    assert_snapshot!(plain("", "path = [{ to = \"a\", balance = \"random\" }]"), @"a.toml:9: `clients.0.path.0.balance`: is for stages on several hosts, found `random`; among plain stages a stage with `balance` chooses");
    assert_snapshot!(plain("", &format!("reply-over = \"tcp\"\n{path}")), @"a.toml:9: `clients.0.reply-over`: no transport leads from a plain stage, found `tcp`; leave it out");
}
