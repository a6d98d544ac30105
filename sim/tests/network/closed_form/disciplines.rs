//! Who is served next, and how.

use schema::scenario::{Discipline, Lot, Order, Station};

use crate::support::*;

const FIFO: Discipline = line(Order::Fifo);

#[test]
fn an_unloaded_pipeline_takes_the_sum_of_its_services() {
    let mut network = sim::queueing::Network::new();
    let path: Vec<_> = [7, 11, 0, 13]
        .iter()
        .enumerate()
        .map(|(index, work)| network.station(&format!("s{index}"), fifo(1, *work)))
        .collect();
    network.clients(arriving("one", &[3, 100], &path));
    let report = run(&network);
    assert_requests(
        &report,
        &[("a", (3, 34, End::Served)), ("a1", (100, 131, End::Served))],
    );
    assert_eq!(picoseconds(report.whole.sojourn.mean.value), 31_000);
    assert_eq!(picoseconds(report.whole.waiting.mean.value), 0);
}

#[test]
fn fifo_serves_in_the_order_of_arrival() {
    let jobs = [
        Job::new(0, 10),
        Job::new(5, 8),
        Job::new(12, 3),
        Job::new(40, 1),
    ];
    assert_jobs(
        1,
        FIFO,
        &jobs,
        &[
            ("a", (0, 0, 10)),
            ("b", (5, 10, 18)),
            ("c", (12, 18, 21)),
            ("d", (40, 40, 41)),
        ],
    );
}

#[test]
fn each_of_several_servers_takes_the_next() {
    let jobs = [
        Job::new(0, 10),
        Job::new(1, 4),
        Job::new(2, 9),
        Job::new(3, 1),
    ];
    assert_jobs(
        2,
        FIFO,
        &jobs,
        &[
            ("b", (1, 1, 5)),
            ("a", (0, 0, 10)),
            ("d", (3, 10, 11)),
            ("c", (2, 5, 14)),
        ],
    );
}

#[test]
fn lifo_serves_who_came_last() {
    let jobs = [
        Job::new(0, 10),
        Job::new(1, 2),
        Job::new(2, 3),
        Job::new(14, 9),
    ];
    // At 13 the line is b, and d comes only then.
    assert_jobs(
        1,
        line(Order::Lifo),
        &jobs,
        &[
            ("a", (0, 0, 10)),
            ("c", (2, 10, 13)),
            ("b", (1, 13, 15)),
            ("d", (14, 15, 24)),
        ],
    );
}

#[test]
fn the_lowest_priority_number_is_served_first_without_interruption() {
    let jobs = [
        Job::new(0, 10).priority(1),
        Job::new(1, 10).priority(2),
        Job::new(2, 10).priority(1),
        Job::new(3, 10).priority(0),
        Job::new(4, 10).priority(1),
    ];
    assert_jobs(
        1,
        line(Order::Priority),
        &jobs,
        &[
            ("a", (0, 0, 10)),
            ("d", (3, 10, 20)),
            ("c", (2, 20, 30)),
            ("e", (4, 30, 40)),
            ("b", (1, 40, 50)),
        ],
    );
}

#[test]
fn preemptive_lifo_resumes_what_it_interrupted() {
    let jobs = [Job::new(0, 10), Job::new(4, 10), Job::new(6, 2)];
    assert_jobs(
        1,
        Discipline::Preemptive(Order::Lifo),
        &jobs,
        &[("c", (6, 6, 8)), ("b", (4, 4, 16)), ("a", (0, 0, 22))],
    );
}

#[test]
fn of_two_servers_preemptive_lifo_interrupts_who_came_first() {
    let jobs = [Job::new(0, 10), Job::new(2, 10), Job::new(4, 10)];
    // a has 6 left when c takes its server, and gets that of b.
    assert_jobs(
        2,
        Discipline::Preemptive(Order::Lifo),
        &jobs,
        &[("b", (2, 2, 12)), ("c", (4, 4, 14)), ("a", (0, 0, 18))],
    );
}

#[test]
fn preemptive_priority_interrupts_only_a_higher_number() {
    let jobs = [
        Job::new(0, 10).priority(1),
        Job::new(4, 3).priority(0),
        Job::new(5, 3).priority(0),
        Job::new(6, 1).priority(1),
    ];
    // What was interrupted keeps its place before the later one of its number.
    assert_jobs(
        1,
        Discipline::Preemptive(Order::Priority),
        &jobs,
        &[
            ("b", (4, 4, 7)),
            ("c", (5, 7, 10)),
            ("a", (0, 0, 16)),
            ("d", (6, 16, 17)),
        ],
    );
}

#[test]
fn preemptive_priority_interrupts_the_highest_number_in_service() {
    let jobs = [
        Job::new(0, 10).priority(2),
        Job::new(1, 10).priority(3),
        Job::new(5, 2).priority(1),
        Job::new(6, 1).priority(0),
    ];
    // At 5 b has 6 left and a keeps its server; at 6 a has 4 left and is the highest in service.
    assert_jobs(
        2,
        Discipline::Preemptive(Order::Priority),
        &jobs,
        &[
            ("c", (5, 5, 7)),
            ("d", (6, 6, 7)),
            ("a", (0, 0, 11)),
            ("b", (1, 1, 13)),
        ],
    );
}

fn ps(cap: f64, limit: Option<u32>) -> Discipline {
    Discipline::Sharing { cap, limit }
}

#[test]
fn two_jobs_share_a_server() {
    let jobs = [Job::new(0, 10), Job::new(4, 10)];
    assert_jobs(
        1,
        ps(1.0, None),
        &jobs,
        &[("a", (0, 0, 16)), ("b", (4, 4, 20))],
    );
}

#[test]
fn a_job_gets_at_most_the_cap() {
    assert_jobs(1, ps(0.5, None), &[Job::new(0, 10)], &[("a", (0, 0, 20))]);
    // One job gets both servers; two get one each.
    let jobs = [Job::new(0, 10), Job::new(2, 10)];
    assert_jobs(
        2,
        ps(2.0, None),
        &jobs,
        &[("a", (0, 0, 8)), ("b", (2, 2, 10))],
    );
    // With a cap of one server each has its own.
    assert_jobs(
        2,
        ps(1.0, None),
        &jobs,
        &[("a", (0, 0, 10)), ("b", (2, 2, 12))],
    );
}

#[test]
fn beyond_the_limit_jobs_wait_in_line() {
    let jobs = [Job::new(0, 10), Job::new(0, 14), Job::new(1, 4)];
    // a and b share until 20, b has 4 left then, and c takes the place of a.
    assert_jobs(
        1,
        ps(1.0, Some(2)),
        &jobs,
        &[("a", (0, 0, 20)), ("b", (0, 0, 28)), ("c", (1, 20, 28))],
    );
    assert_jobs(
        1,
        ps(1.0, Some(1)),
        &jobs,
        &[("a", (0, 0, 10)), ("b", (0, 10, 24)), ("c", (1, 24, 28))],
    );
}

#[test]
fn servers_are_shared_by_weight() {
    let jobs = [Job::new(0, 9).weight(3.0), Job::new(0, 10).weight(1.0)];
    assert_jobs(
        1,
        ps(1.0, None),
        &jobs,
        &[("a", (0, 0, 12)), ("b", (0, 0, 19))],
    );
    // By its weight a would get 1.5 servers: it is held to one, and the others share the other.
    let jobs = [
        Job::new(0, 10).weight(6.0),
        Job::new(0, 10).weight(1.0),
        Job::new(0, 11).weight(1.0),
    ];
    assert_jobs(
        2,
        ps(1.0, None),
        &jobs,
        &[("a", (0, 0, 10)), ("b", (0, 0, 15)), ("c", (0, 0, 16))],
    );
}

const fn sliced(slice: u64, switch: u64) -> Discipline {
    let (slice, switch) = (ns(slice), ns(switch));
    Discipline::TimeSliced { slice, switch }
}

#[test]
fn a_server_turns_to_the_next_after_a_slice() {
    let jobs = [Job::new(0, 10), Job::new(1, 6), Job::new(2, 3)];
    // a 0-4, b 5-9, c 10-13, a 14-18, b 19-21, a 22-24; from one to the other the switch. A service
    // starts when the server turns to it.
    assert_jobs(
        1,
        sliced(4, 1),
        &jobs,
        &[("c", (2, 9, 13)), ("b", (1, 4, 21)), ("a", (0, 0, 24))],
    );
}

#[test]
fn an_arrival_ends_the_slice_that_runs_and_no_earlier_one() {
    // a is in its second slice, until 8.
    let jobs = [Job::new(0, 10), Job::new(6, 3)];
    assert_jobs(
        1,
        sliced(4, 1),
        &jobs,
        &[("b", (6, 8, 12)), ("a", (0, 0, 15))],
    );
    // At 8 exactly a slice has ended.
    let jobs = [Job::new(0, 10), Job::new(8, 3)];
    assert_jobs(
        1,
        sliced(4, 1),
        &jobs,
        &[("b", (8, 8, 12)), ("a", (0, 0, 15))],
    );
}

#[test]
fn servers_that_take_turns_share_one_line() {
    let jobs = [Job::new(0, 10), Job::new(0, 10), Job::new(1, 3)];
    // At 4 both turns end: the first server takes c, and a joins the line, from which the second
    // takes it while b joins. c is done at 7, and b continues there.
    assert_jobs(
        2,
        sliced(4, 0),
        &jobs,
        &[("c", (1, 4, 7)), ("a", (0, 0, 10)), ("b", (0, 0, 13))],
    );
}

#[test]
fn a_delay_serves_all_at_once() {
    let jobs = [Job::new(0, 10), Job::new(1, 10), Job::new(1, 2)];
    assert_jobs(
        1,
        Discipline::Delay,
        &jobs,
        &[("c", (1, 1, 3)), ("a", (0, 0, 10)), ("b", (1, 1, 11))],
    );
}

const fn batch(order: Order, max: u32, delay: u64, per_request: u64) -> Discipline {
    Discipline::Line {
        order,
        batch: Some(Lot {
            max,
            delay: ns(delay),
            per_request: ns(per_request),
        }),
    }
}

#[test]
fn an_idle_server_takes_as_many_as_wait() {
    let jobs = [
        Job::new(0, 10),
        Job::new(1, 10),
        Job::new(2, 90),
        Job::new(3, 5),
    ];
    // The service of a batch is that of its first, and 3 for each.
    assert_jobs(
        1,
        batch(Order::Fifo, 2, 0, 3),
        &jobs,
        &[
            ("a", (0, 0, 13)),
            ("b", (1, 13, 29)),
            ("c", (2, 13, 29)),
            ("d", (3, 29, 37)),
        ],
    );
}

#[test]
fn a_batch_starts_when_it_is_full_or_its_first_has_waited() {
    let jobs = [
        Job::new(0, 10),
        Job::new(5, 10),
        Job::new(50, 10),
        Job::new(51, 10),
        Job::new(54, 10),
    ];
    assert_jobs(
        1,
        batch(Order::Fifo, 3, 20, 0),
        &jobs,
        &[
            ("a", (0, 20, 30)),
            ("b", (5, 20, 30)),
            ("c", (50, 54, 64)),
            ("d", (51, 54, 64)),
            ("e", (54, 54, 64)),
        ],
    );
}

#[test]
fn the_delay_of_a_batch_passes_while_servers_are_busy() {
    let jobs = [
        Job::new(0, 10),
        Job::new(6, 1),
        Job::new(7, 1),
        Job::new(14, 1),
    ];
    // b has waited 9 when the server is free, and c 8.
    assert_jobs(
        1,
        batch(Order::Fifo, 2, 5, 0),
        &jobs,
        &[
            ("a", (0, 5, 15)),
            ("b", (6, 15, 16)),
            ("c", (7, 15, 16)),
            ("d", (14, 19, 20)),
        ],
    );
}

#[test]
fn a_batch_is_taken_in_the_order_of_the_line() {
    let jobs = [
        Job::new(0, 10).priority(3),
        Job::new(1, 10).priority(2),
        Job::new(2, 20).priority(1),
        Job::new(3, 30).priority(0),
    ];
    assert_jobs(
        1,
        batch(Order::Priority, 2, 0, 0),
        &jobs,
        &[
            ("a", (0, 0, 10)),
            ("d", (3, 10, 40)),
            ("c", (2, 10, 40)),
            ("b", (1, 40, 50)),
        ],
    );
    assert_jobs(
        1,
        batch(Order::Lifo, 2, 0, 0),
        &jobs,
        &[
            ("a", (0, 0, 10)),
            ("d", (3, 10, 40)),
            ("c", (2, 10, 40)),
            ("b", (1, 40, 50)),
        ],
    );
}

#[test]
fn statistics_are_those_of_the_timeline() {
    let (network, _) = with_jobs(
        Station::new(2, FIFO, constant(0)),
        &[
            Job::new(0, 10),
            Job::new(1, 4),
            Job::new(2, 9),
            Job::new(3, 1),
        ],
    );
    let report = run(&network);
    let stage = &report.stages["station"];
    let window_ps = picoseconds(report.window_s[0]) as f64;
    assert_eq!(report.window_s.len(), 1);
    assert!((window_ps - WINDOW_NS as f64 * 1e3).abs() < 0.5);
    // Sojourn 10, 4, 12, 8; waiting 0, 0, 3, 7; service 10, 4, 9, 1.
    let mean = |sum_ns: f64| sum_ns * 1e-9 / 4.0;
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-12;
    assert!(near(stage.sojourn.mean.value, mean(34.0)));
    assert!(near(stage.waiting.mean.value, mean(10.0)));
    assert!(near(stage.service.value, mean(24.0)));
    let per_window = |ns: f64| ns / WINDOW_NS as f64;
    assert!(near(stage.number_in_system.value, per_window(34.0)));
    assert!(near(stage.number_waiting.value, per_window(10.0)));
    let utilization = stage.utilization.expect("the servers are shared");
    assert!(near(utilization.value, per_window(24.0) / 2.0));
    assert!(near(
        stage.throughput.value,
        4.0 / (WINDOW_NS as f64 * 1e-9)
    ));
    assert_eq!((stage.n, stage.offered, stage.lost), (4, 4, 0));
    assert_eq!(stage.classes["d"].n, 1);
    assert!(near(stage.classes["d"].sojourn.mean.value, 8e-9));
    assert!(near(report.whole.sojourn.mean.value, mean(34.0)));
    assert!(near(report.whole.waiting.mean.value, mean(10.0)));
    assert!(near(report.whole.number_in_system.value, per_window(34.0)));
}
