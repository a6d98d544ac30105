//! Timelines by hand, and what holds for any arrivals and service times.

use proptest::prelude::*;

use super::*;

fn ps(n: u64) -> SimTime {
    SimTime::from_ps(n)
}

/// Batches of at most `max`, that wait for 10 ps.
fn policy(max: u32) -> BatchPolicy {
    BatchPolicy {
        max,
        delay: SimDuration::from_ps(10),
        preferred: Vec::new(),
        close: BatchClose::AtStart,
    }
}

fn preferring(max: u32, sizes: &[u32]) -> BatchPolicy {
    BatchPolicy {
        preferred: sizes.to_vec(),
        ..policy(max)
    }
}

fn closing(max: u32) -> BatchPolicy {
    BatchPolicy {
        close: BatchClose::AtTimeout,
        ..policy(max)
    }
}

fn without_delay(policy: BatchPolicy) -> BatchPolicy {
    BatchPolicy {
        delay: SimDuration::ZERO,
        ..policy
    }
}

fn arrive(line: &mut BatchLine<char>, now: u64, requests: &str) {
    for request in requests.chars() {
        line.arrive(ps(now), request);
    }
}

fn taken(line: &mut BatchLine<char>, now: u64) -> Option<(u32, String)> {
    let mut batch = Vec::new();
    let server = line.take(ps(now), &mut batch)?;
    Some((server, batch.into_iter().collect()))
}

/// A batch that one server of several took.
fn by(server: u32, batch: &str) -> Option<(u32, String)> {
    Some((server, batch.to_owned()))
}

#[test]
fn a_full_batch_starts_at_once() {
    let mut line = BatchLine::new(1, &policy(2));
    arrive(&mut line, 0, "a");
    assert_eq!(taken(&mut line, 0), None);
    arrive(&mut line, 3, "bc");
    assert_eq!(taken(&mut line, 3), by(0, "ab"));
    assert_eq!(line.n_waiting(), 1);
}

#[test]
fn the_first_of_a_batch_waits_no_longer_than_the_delay() {
    let mut line = BatchLine::new(1, &policy(8));
    arrive(&mut line, 5, "a");
    arrive(&mut line, 6, "b");
    assert_eq!(line.due(), Some(ps(15)));
    assert_eq!(taken(&mut line, 14), None);
    assert_eq!(taken(&mut line, 15), by(0, "ab"));
}

#[test]
fn a_server_that_becomes_idle_takes_what_waited_long_enough() {
    let mut line = BatchLine::new(1, &policy(8));
    arrive(&mut line, 0, "a");
    assert_eq!(taken(&mut line, 10), by(0, "a"));
    arrive(&mut line, 11, "b");
    assert_eq!(line.due(), None);
    line.release(0);
    assert_eq!(taken(&mut line, 40), by(0, "b"));
}

#[test]
fn every_server_works_while_requests_wait() {
    let mut line = BatchLine::new(2, &without_delay(policy(1)));
    arrive(&mut line, 0, "abc");
    assert_eq!(taken(&mut line, 0), by(0, "a"));
    assert_eq!(taken(&mut line, 0), by(1, "b"));
    assert_eq!(taken(&mut line, 0), None);
    line.release(1);
    assert_eq!(taken(&mut line, 4), by(1, "c"));
}

#[test]
fn a_preferred_size_starts_at_once() {
    let mut line = BatchLine::new(3, &preferring(8, &[2, 4]));
    arrive(&mut line, 0, "a");
    assert_eq!(line.due(), Some(ps(10)));
    assert_eq!(taken(&mut line, 0), None);
    arrive(&mut line, 3, "b");
    assert_eq!(taken(&mut line, 3), by(0, "ab"));
    // Of five the largest size takes four; the fifth waits from when it came.
    arrive(&mut line, 4, "cde");
    arrive(&mut line, 5, "fg");
    assert_eq!(taken(&mut line, 5), by(1, "cdef"));
    assert_eq!(line.due(), Some(ps(15)));
    assert_eq!(taken(&mut line, 14), None);
    assert_eq!(taken(&mut line, 15), by(2, "g"));
}

#[test]
fn a_full_batch_is_preferred_to_the_sizes() {
    let mut line = BatchLine::new(2, &preferring(5, &[2, 4]));
    arrive(&mut line, 0, "abcdefg");
    assert_eq!(taken(&mut line, 0), by(0, "abcde"));
    assert_eq!(taken(&mut line, 0), by(1, "fg"));
}

#[test]
fn a_first_that_waited_for_the_delay_takes_all_along() {
    let mut line = BatchLine::new(1, &preferring(8, &[2, 4]));
    arrive(&mut line, 0, "ab");
    assert_eq!(taken(&mut line, 0), by(0, "ab"));
    // When the server is done the first has waited for 9, not yet for the delay.
    arrive(&mut line, 12, "cde");
    arrive(&mut line, 20, "fg");
    line.release(0);
    assert_eq!(taken(&mut line, 21), by(0, "cdef"));
    // Now it has.
    arrive(&mut line, 21, "hijk");
    line.release(0);
    assert_eq!(taken(&mut line, 30), by(0, "ghijk"));
}

#[test]
fn without_a_delay_the_sizes_are_taken_first() {
    let mut line = BatchLine::new(3, &without_delay(preferring(8, &[2, 4])));
    arrive(&mut line, 0, "abcdefg");
    assert_eq!(taken(&mut line, 0), by(0, "abcd"));
    assert_eq!(taken(&mut line, 0), by(1, "ef"));
    assert_eq!(taken(&mut line, 0), by(2, "g"));
}

#[test]
fn a_batch_closes_at_its_timeout_while_all_servers_work() {
    let mut line = BatchLine::new(1, &closing(3));
    arrive(&mut line, 0, "abc");
    assert_eq!(taken(&mut line, 0), by(0, "abc"));
    arrive(&mut line, 1, "d");
    arrive(&mut line, 10, "e");
    // At the very timeout it is too late.
    arrive(&mut line, 11, "f");
    arrive(&mut line, 12, "ghi");
    assert_eq!(line.n_waiting(), 6);
    line.release(0);
    assert_eq!(taken(&mut line, 12), by(0, "de"));
    line.release(0);
    // Full, and so closed before its timeout.
    assert_eq!(taken(&mut line, 12), by(0, "fgh"));
    line.release(0);
    assert_eq!(line.due(), Some(ps(22)));
    arrive(&mut line, 21, "j");
    arrive(&mut line, 22, "k");
    assert_eq!(taken(&mut line, 22), by(0, "ij"));
    line.release(0);
    assert_eq!(taken(&mut line, 31), None);
    assert_eq!(taken(&mut line, 32), by(0, "k"));
    // Had it closed at the start, the first would have taken more along.
    let mut line = BatchLine::new(1, &policy(3));
    arrive(&mut line, 1, "d");
    arrive(&mut line, 10, "e");
    arrive(&mut line, 11, "f");
    assert_eq!(taken(&mut line, 12), by(0, "def"));
}

#[test]
fn what_closes_at_the_timeout_without_a_delay_is_alone() {
    let mut line = BatchLine::new(1, &without_delay(closing(8)));
    arrive(&mut line, 0, "ab");
    assert_eq!(taken(&mut line, 0), by(0, "a"));
    line.release(0);
    assert_eq!(taken(&mut line, 7), by(0, "b"));
}

#[test]
fn a_closed_batch_is_taken_before_a_preferred_size() {
    let policy = BatchPolicy {
        preferred: vec![2],
        ..closing(8)
    };
    let mut line = BatchLine::new(2, &policy);
    arrive(&mut line, 0, "ab");
    assert_eq!(taken(&mut line, 0), by(0, "ab"));
    arrive(&mut line, 1, "c");
    assert_eq!(taken(&mut line, 11), by(1, "c"));
    arrive(&mut line, 20, "def");
    arrive(&mut line, 30, "ghi");
    line.release(0);
    line.release(1);
    assert_eq!(taken(&mut line, 30), by(1, "def"));
    assert_eq!(taken(&mut line, 30), by(0, "gh"));
    line.release(0);
    assert_eq!(line.due(), Some(ps(40)));
}

#[test]
#[should_panic(expected = "preferred sizes ascend from 1 to 4, not [4, 2]")]
fn sizes_must_ascend() {
    let _ = BatchLine::<char>::new(1, &preferring(4, &[4, 2]));
}

/// A batch, when it was taken, and since when a server was idle that could have taken it.
#[derive(Debug)]
struct Taken {
    at: u64,
    idle_since: u64,
    batch: Vec<usize>,
}

/// Drives a line: requests arrive at `arrivals` (ascending), batch `i` is served for `service[i]`
/// (again from the first after the last). Of simultaneous events the arrivals come first.
fn drive(n_servers: u32, policy: &BatchPolicy, arrivals: &[u64], service: &[u64]) -> Vec<Taken> {
    let mut line = BatchLine::new(n_servers, policy);
    let mut ends: Vec<(u64, u32)> = Vec::new();
    let mut all: Vec<Taken> = Vec::new();
    let (mut next, mut idle_since) = (0, 0);
    loop {
        let arrival = arrivals.get(next).copied();
        let end = ends.iter().min().copied();
        let due = line.due().map(SimTime::as_ps);
        let at = [arrival, end.map(|(at, _)| at), due].into_iter().flatten();
        let Some(now) = at.min() else { return all };
        if arrival == Some(now) {
            line.arrive(ps(now), next);
            next += 1;
        } else if let Some(end) = end.filter(|(at, _)| *at == now) {
            ends.retain(|other| *other != end);
            if line.next_idle().is_none() {
                idle_since = now;
            }
            line.release(end.1);
        }
        let mut batch = Vec::new();
        while let Some(server) = line.take(ps(now), &mut batch) {
            ends.push((now + service[all.len() % service.len()], server));
            all.push(Taken {
                at: now,
                idle_since,
                batch: batch.clone(),
            });
        }
    }
}

fn policies() -> impl Strategy<Value = BatchPolicy> {
    let sizes = proptest::collection::btree_set(1u32..9, 0..4);
    let close = prop_oneof![Just(BatchClose::AtStart), Just(BatchClose::AtTimeout)];
    (1u32..9, 0u64..20, sizes, close).prop_map(|(max, delay, sizes, close)| BatchPolicy {
        max,
        delay: SimDuration::from_ps(delay),
        preferred: sizes.into_iter().filter(|n| *n <= max).collect(),
        close,
    })
}

/// Instants in order, some of them equal.
fn instants() -> impl Strategy<Value = Vec<u64>> {
    let gaps = proptest::collection::vec(prop_oneof![Just(0u64), 0u64..12], 1..60);
    gaps.prop_map(|gaps| {
        let sums = gaps.iter().scan(0, |at, gap| {
            *at += gap;
            Some(*at)
        });
        sums.collect()
    })
}

fn service() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0u64..60, 1..9)
}

proptest! {
    #[test]
    fn batches_keep_to_order_size_and_delay(
        n_servers in 1u32..4,
        policy in policies(),
        arrivals in instants(),
        service in service(),
    ) {
        let all = drive(n_servers, &policy, &arrivals, &service);
        // Every request once, first come, first served.
        let served = all.iter().flat_map(|taken| taken.batch.iter().copied());
        prop_assert!(served.eq(0..arrivals.len()), "{:?}", all);
        let delay = policy.delay.as_ps();
        let mut last = 0;
        for Taken { at, idle_since, batch } in &all {
            let n = batch.len();
            prop_assert!((1..=policy.max as usize).contains(&n));
            prop_assert!(last <= *at);
            last = *at;
            let (first, newest) = (arrivals[batch[0]], arrivals[batch[n - 1]]);
            prop_assert!(newest <= *at);
            // Held back only while the first may wait, or no server is idle.
            prop_assert!(*at <= (first + delay).max(*idle_since), "{:?}", all);
            // Taken early only for a size that is worth it.
            let is_early = policy.close == BatchClose::AtStart && *at < first + delay;
            let is_wanted = n == policy.max as usize || policy.preferred.contains(&(n as u32));
            prop_assert!(!is_early || is_wanted, "{:?}", all);
            if policy.close == BatchClose::AtTimeout {
                prop_assert!(n == 1 || newest < first + delay, "{:?}", all);
            }
        }
    }

    /// Closed at the timeout, a batch does not depend on the servers: it is what came before its
    /// first had waited for the delay, up to the largest size.
    #[test]
    fn batches_that_close_at_the_timeout_follow_from_the_arrivals(
        n_servers in 1u32..4,
        max in 1u32..9,
        delay in 0u64..20,
        arrivals in instants(),
        service in service(),
    ) {
        let policy = BatchPolicy { delay: SimDuration::from_ps(delay), ..closing(max) };
        let mut expected: Vec<Vec<usize>> = Vec::new();
        for (request, at) in arrivals.iter().enumerate() {
            match expected.last_mut() {
                Some(batch) if batch.len() < max as usize && *at < arrivals[batch[0]] + delay => {
                    batch.push(request);
                }
                _ => expected.push(vec![request]),
            }
        }
        let all = drive(n_servers, &policy, &arrivals, &service);
        let found: Vec<_> = all.into_iter().map(|taken| taken.batch).collect();
        prop_assert_eq!(found, expected);
    }

    /// The largest size as the only preferred one changes nothing.
    #[test]
    fn preferring_the_largest_size_alone_changes_nothing(
        n_servers in 1u32..4,
        policy in policies(),
        arrivals in instants(),
        service in service(),
    ) {
        let with = |preferred: Vec<u32>| {
            let policy = BatchPolicy { preferred, ..policy.clone() };
            let all = drive(n_servers, &policy, &arrivals, &service);
            all.into_iter().map(|taken| (taken.at, taken.batch)).collect::<Vec<_>>()
        };
        prop_assert_eq!(with(vec![policy.max]), with(Vec::new()));
    }
}

#[test]
fn one_batch_is_closed_ahead_while_all_servers_are_busy() {
    let policy = BatchPolicy {
        max: 4,
        delay: SimDuration::ZERO,
        preferred: Vec::new(),
        close: BatchClose::OneAhead,
    };
    let mut line = BatchLine::new(1, &policy);
    let mut batch = Vec::new();
    let at = SimTime::from_ps;
    line.arrive(at(0), 'a');
    assert_eq!(line.take(at(0), &mut batch), Some(0));
    for (time, request) in [(1, 'b'), (2, 'c'), (3, 'd')] {
        line.arrive(at(time), request);
    }
    line.release(0);
    // Only `b` was there when the batch was closed; `c` and `d` are the next.
    assert_eq!(line.take(at(9), &mut batch), Some(0));
    assert_eq!(batch, ['b']);
    line.release(0);
    assert_eq!(line.take(at(12), &mut batch), Some(0));
    assert_eq!(batch, ['c', 'd']);
}
