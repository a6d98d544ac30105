//! What the tests share.

use schema::ids::Id;
use schema::units::{ByteRate, Bytes, SimDuration, SimTime};
use sim::fabric::{Fabric, FlowId, Graph, Link, LinkId};

pub(crate) fn ps(n: u64) -> SimTime {
    SimTime::from_ps(n)
}

pub(crate) fn rate(bytes_per_s: u64) -> ByteRate {
    ByteRate::from_bytes_per_s(bytes_per_s).expect("not zero")
}

/// 1 GB/s: a byte takes 1 ns, so that times in nanoseconds are bytes.
pub(crate) fn gb(n: u64) -> ByteRate {
    rate(n * 1_000_000_000)
}

/// Links one after the other, of these rates.
pub(crate) fn chain(rates: &[ByteRate]) -> Graph {
    let mut graph = Graph::new();
    let mut from = graph.add_switch();
    for rate in rates {
        let to = graph.add_switch();
        let link = Link {
            from,
            to,
            rate: *rate,
            delay: SimDuration::ZERO,
        };
        graph.add_link(link).expect("its ends are there");
        from = to;
    }
    graph
}

/// The links of these numbers.
pub(crate) fn links(numbers: &[usize]) -> Vec<LinkId> {
    numbers.iter().map(|n| LinkId::from_index(*n)).collect()
}

/// A flow that starts at an instant.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) at: SimTime,
    pub(crate) path: Vec<LinkId>,
    pub(crate) bytes: Bytes,
    pub(crate) cap: Option<ByteRate>,
}

/// Lets all flows run to their ends: when each does, in the order of `starts`, which are in the order
/// of their instants; and which is the first to end, the second, ...
pub(crate) fn run(mut fabric: Fabric<usize>, starts: &[Start]) -> (Vec<SimTime>, Vec<usize>) {
    let mut ends = vec![SimTime::MAX; starts.len()];
    let mut order = Vec::new();
    let mut coming = starts.iter().enumerate().peekable();
    loop {
        let start = coming.peek().map(|(_, start)| start.at);
        let Some(now) = start.into_iter().chain(fabric.next()).min() else {
            return (ends, order);
        };
        while let Some((index, start)) = coming.next_if(|(_, start)| start.at == now) {
            fabric.start(now, &start.path, start.bytes, start.cap, index);
        }
        fabric.settle(now);
        while let Some(done) = fabric.pop_done() {
            assert_eq!((done.start, done.end), (starts[done.token].at, now));
            ends[done.token] = now;
            order.push(done.token);
        }
    }
}

/// Rates by water-filling over everything, in bytes per second: `links` are capacities, `flows` paths
/// and caps. All rise together; whoever reaches a cap, or a link that is full, stays.
pub(crate) fn water_fill(links: &[f64], flows: &[(Vec<usize>, f64)]) -> Vec<f64> {
    let mut rates = vec![None; flows.len()];
    loop {
        let mut level = f64::INFINITY;
        for (flow, rate) in flows.iter().zip(&rates) {
            if rate.is_none() {
                level = level.min(flow.1);
            }
        }
        let of_link: Vec<f64> = (0..links.len())
            .map(|link| {
                let crossing = flows
                    .iter()
                    .zip(&rates)
                    .filter(|(f, _)| f.0.contains(&link));
                let (mut left, mut n) = (links[link], 0.0);
                for (_, rate) in crossing {
                    match rate {
                        Some(rate) => left -= rate,
                        None => n += 1.0,
                    }
                }
                if n > 0.0 { left / n } else { f64::INFINITY }
            })
            .collect();
        level = of_link.iter().copied().fold(level, f64::min);
        if level.is_infinite() {
            return rates
                .into_iter()
                .map(|rate| rate.unwrap_or(level))
                .collect();
        }
        for (flow, rate) in flows.iter().zip(&mut rates) {
            let is_full = |link: &usize| of_link[*link] <= level * (1.0 + 1e-12);
            if rate.is_none() && (flow.1 <= level || flow.0.iter().any(is_full)) {
                *rate = Some(level.min(flow.1));
            }
        }
    }
}

/// Flows that are under way, with paths and caps for [`water_fill`].
pub(crate) type UnderWay = Vec<(FlowId, Vec<usize>, f64)>;

/// Whether the rates are those of water-filling.
pub(crate) fn assert_fair(fabric: &Fabric<usize>, capacities: &[f64], flows: &UnderWay) {
    let paths: Vec<(Vec<usize>, f64)> = flows.iter().map(|f| (f.1.clone(), f.2)).collect();
    let expected = water_fill(capacities, &paths);
    for ((id, path, cap), expected) in flows.iter().zip(expected) {
        let found = fabric.rate(*id).expect("it is under way");
        let close = (found - expected).abs() <= expected * 1e-6;
        assert!(
            close,
            "{id:?} over {path:?}, cap {cap}: {found}, not {expected}"
        );
    }
    for (link, capacity) in capacities.iter().enumerate() {
        let load = fabric.load(LinkId::from_index(link));
        let over = flows.iter().filter(|flow| flow.1.contains(&link));
        let sum: f64 = over
            .map(|flow| fabric.rate(flow.0).expect("it is under way"))
            .sum();
        assert!(load <= *capacity, "link {link} of {capacity} has {load}");
        assert!(
            (load - sum).abs() <= 1e-6 * capacity,
            "link {link}: {load}, sum {sum}"
        );
    }
}
