//! What a part that is faster brings, where that is known.

use schema::comparison::Metric;
use sim::{Explanation, Lever, Options, explain};

use crate::fixture::*;

fn explained(over: &str, count: u32, metric: Metric) -> Explanation {
    let scenario = scenario_of(&direct(over, ""), 100_000, count, "");
    let options = Options {
        replications: 2,
        ..OPTIONS
    };
    explain(&scenario, &profile(), metric, &options).unwrap()
}

fn cost(part: &str, cost: &str) -> Lever {
    let (part, cost) = (part.to_owned(), cost.to_owned());
    Lever::Cost { part, cost }
}

/// By what part the metric is better with the lever at each speed.
fn better(explained: &Explanation, lever: &Lever) -> [f64; 2] {
    let gain = explained.gains.iter().find(|gain| gain.lever == *lever);
    gain.unwrap().better.map(|estimate| estimate.value)
}

/// Without a load a request takes the sum of its parts, so what is twice as fast saves half of its
/// part of that.
#[test]
fn alone_each_part_saves_its_share() {
    let found = explained("rdma", 1, Metric::Mean);
    let whole =
        (rdma(100_000, EVENT) + copy(100_000) + PASS + copy(REPLY) + rdma(REPLY, EVENT)) as f64;
    assert!((found.base.value - whole * 1e-12).abs() < 1e-9);
    let shares = [
        (cost("no-time", "post/rdma"), 2 * POST),
        (cost("no-time", "completion/event"), 2 * EVENT),
        (
            Lever::Net {
                part: "two-sms".to_owned(),
                net: "net".to_owned(),
            },
            PASS,
        ),
    ];
    for (lever, time) in shares {
        let share = time as f64 / whole;
        let [tenth, twice] = better(&found, &lever);
        // Times in traces are whole nanoseconds.
        assert!(
            (tenth - share * (1.0 - 1.0 / 1.1)).abs() < 2e-6,
            "{lever} {tenth}"
        );
        assert!((twice - share / 2.0).abs() < 2e-6, "{lever} {twice}");
    }
    let unused = cost("no-time", "send/tcp");
    assert!(found.without_effect.contains(&unused));
    let order: Vec<f64> = found
        .gains
        .iter()
        .map(|gain| gain.better[1].value)
        .collect();
    assert!(order.is_sorted_by(|a, b| a >= b));
}

/// With more clients than the one context can serve, it alone makes throughput better.
#[test]
fn at_saturation_only_the_bottleneck_helps() {
    let found = explained("rdma", 8, Metric::Throughput);
    assert_eq!(found.gains[0].lever.to_string(), "two-sms: net net");
    assert!(found.gains[0].better[1].value > 0.8);
    let post = found
        .gains
        .iter()
        .find(|gain| gain.lever == cost("no-time", "post/rdma"));
    assert!(post.is_none_or(|gain| gain.better[1].value.abs() < 0.01));
}
