//! Nets side by side on a GPU, in runs by hand.

use calibrate::validate::pairs::{Side, pairs, table};
use schema::ids::RequestId;
use schema::run::{Run, Span, SpanName};

use crate::synthetic::{id, run_of, scenario, span};

const PROBE: &str = include_str!("../../../scenarios/probes/gpu-pairs.toml");
const ALONE: &str = r#"clients=[{ on = "box", arrivals = { closed-loop = {} }, path = [{ to = "NET", over = "local" }] }]"#;

/// A run of the probe with these settings, in which the passes of each client follow each other.
fn run(settings: &[&str], passes_ms: &[&[u64]]) -> Run {
    let mut all = vec!["run.warmup.requests=1", "run.measure.requests=20"];
    all.extend(settings);
    let scenario = scenario(PROBE, &all);
    let mut trace = Vec::new();
    for (client, passes) in passes_ms.iter().enumerate() {
        let mut now_ns = 0;
        for (seq, ms) in (0..).zip(*passes) {
            let end_ns = now_ns + ms * 1_000_000;
            trace.push(Span {
                request: RequestId::new(id(client), seq),
                ready_ns: now_ns,
                start_ns: now_ns,
                end_ns,
                ..span(SpanName::Request)
            });
            now_ns = end_ns;
        }
    }
    run_of(&scenario, trace, &[])
}

fn side<'a>(name: &'a str, measured: &'a Run, simulated: Option<&'a Run>) -> Side<'a> {
    Side {
        name,
        measured,
        simulated,
        held_out: true,
    }
}

#[test]
fn passes_count_while_the_other_net_is_at_work() {
    let [small, memory] = ["small-blocks", "memory"].map(|net| ALONE.replace("NET", net));
    let [small, memory] = [
        run(&[&small], &[&[9, 2, 2]]),
        run(&[&memory], &[&[9, 3, 5]]),
    ];
    // The second's last pass ends 12 ms after the start, when the first is in its fourth.
    let both = run(&[], &[&[1, 4, 4, 9, 1], &[2, 4, 6]]);
    let alone = [side("small", &small, None), side("memory", &memory, None)];
    let rows = pairs(&[alone[0], alone[1], side("both", &both, None)]);
    insta::assert_snapshot!(table(&rows), @r"
    nets side by side              net          alone [ms] beside [ms]         95% interval    times
    processes in turn              memory            4.000       5.000     -7.706 to 17.706     1.25
    processes in turn              small-blocks      2.000       4.000       4.000 to 4.000     2.00
    ");
    // As the engine has it, streams go on longer.
    let simulated = run(&[], &[&[1, 5, 5, 9], &[2, 4, 6]]);
    let sides = [
        side("small", &small, Some(&small)),
        side("memory", &memory, Some(&memory)),
        side("both", &both, Some(&simulated)),
    ];
    let rows = pairs(&sides);
    insta::assert_snapshot!(table(&rows), @r"
    nets side by side              net          alone [ms] beside [ms]         95% interval    times predicted [ms] error [%]
    processes in turn              memory            4.000       5.000     -7.706 to 17.706     1.25          5.000      +0.0
    processes in turn              small-blocks      2.000       4.000       4.000 to 4.000     2.00          5.000     +25.0
    ");
    let error = rows[1].error().unwrap();
    assert!((error - 0.25).abs() < 1e-12, "{error}");
    // Without a run of each net alone there is nothing to compare with, nor where its work is another.
    assert_eq!(pairs(&[alone[0], side("both", &both, None)]), []);
    let other = run(
        &["stages.memory.serve.kernels.work.0.kernel.blocks=7"],
        &[&[1, 4], &[2, 4]],
    );
    assert_eq!(
        pairs(&[alone[0], alone[1], side("other", &other, None)]),
        []
    );
}

#[test]
fn ways_to_share_are_told_apart() {
    let [small, memory] = ["small-blocks", "memory"].map(|net| ALONE.replace("NET", net));
    let [small, memory] = [run(&[&small], &[&[1, 2]]), run(&[&memory], &[&[1, 3]])];
    let sharing = |of: [&str; 2]| {
        let [a, b] = of;
        let settings = [
            format!("stages.small-blocks.gpu={a}"),
            format!("stages.memory.gpu={b}"),
        ];
        let both = run(
            &settings.each_ref().map(String::as_str),
            &[&[1, 4], &[1, 4]],
        );
        let sides = [
            side("small", &small, None),
            side("memory", &memory, None),
            side("both", &both, None),
        ];
        pairs(&sides)[0].sharing.clone()
    };
    let named = "{ process = \"pair\" }";
    assert_eq!(sharing(["{}"; 2]), "processes in turn");
    assert_eq!(
        sharing([named, "{ process = \"other\" }"]),
        "processes in turn"
    );
    assert_eq!(sharing([named; 2]), "streams");
    let ahead = "{ process = \"pair\", priority = -1 }";
    assert_eq!(sharing([named, ahead]), "streams, `memory` ahead");
    assert_eq!(sharing(["{ mps = {} }"; 2]), "MPS");
    assert_eq!(
        sharing(["{ mps = { percentage = 50 } }"; 2]),
        "MPS, 50% each"
    );
}
