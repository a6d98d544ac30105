//! Processes against their moments and laws, traces exactly, and what is refused.

mod files;
mod laws;
mod traces;

use std::sync::Arc;

use super::*;
use crate::random::Seed;

fn ms(ms: u64) -> SimDuration {
    SimDuration::from_ns(ms * 1_000_000)
}

fn hz(hz: f64) -> Frequency {
    Frequency::from_per_second(hz).unwrap()
}

fn poisson(rate: f64) -> ArrivalsFile {
    ArrivalsFile::Poisson {
        rate: hz(rate),
        connections: 16,
    }
}

fn renewal(gap: Distribution) -> ArrivalsFile {
    ArrivalsFile::Renewal {
        gap,
        connections: 16,
    }
}

fn modulated(states: &[(f64, u64)]) -> ArrivalsFile {
    let states = states.iter().map(|&(rate, mean_ms)| StateFile {
        rate: Frequency::from_per_second(rate),
        mean_time: ms(mean_ms),
    });
    ArrivalsFile::MarkovModulated {
        states: states.collect(),
        connections: 16,
    }
}

fn piecewise(pieces: &[(f64, u64)], repeat: bool) -> ArrivalsFile {
    let pieces = pieces.iter().map(|&(rate, length_ms)| PieceFile {
        rate: Frequency::from_per_second(rate),
        length: ms(length_ms),
    });
    ArrivalsFile::Piecewise {
        pieces: pieces.collect(),
        repeat,
        connections: 16,
    }
}

fn trace() -> ReplayFile {
    ReplayFile {
        file: "trace.csv".to_owned(),
        column: None,
        unit: ReplayUnit::S,
        rate_factor: None,
        rate: None,
        repeat: false,
        connections: 16,
    }
}

fn times(at_ms: &[u64]) -> ArrivalsFile {
    ArrivalsFile::Times {
        at: at_ms.iter().copied().map(ms).collect(),
        connections: 16,
    }
}

/// One of every process.
fn processes() -> Vec<ArrivalsFile> {
    let (rate, connections) = (hz(100.0), 16);
    vec![
        ArrivalsFile::ClosedLoop {
            think: Distribution::Exponential(ms(10)),
        },
        poisson(100.0),
        ArrivalsFile::Deterministic { rate, connections },
        ArrivalsFile::Gamma {
            rate,
            cv: 0.5,
            connections,
        },
        ArrivalsFile::Hyperexponential {
            rate,
            cv: 3.0,
            connections,
        },
        renewal(Distribution::Uniform {
            from: ms(5),
            to: ms(15),
        }),
        modulated(&[(500.0, 20), (0.0, 80)]),
        piecewise(&[(150.0, 1000), (0.0, 500), (100.0, 1500)], true),
        ArrivalsFile::Replay(ReplayFile {
            column: Some("arrival_s".to_owned()),
            unit: ReplayUnit::Ms,
            rate_factor: Some(2.5),
            repeat: true,
            ..trace()
        }),
        times(&[0, 10, 10, 25]),
    ]
}

fn gaps(arrivals: &ArrivalsFile, seed: u64) -> Gaps {
    let times: Arc<[SimDuration]> = [5, 1, 0, 14].map(ms).into();
    Gaps::new(arrivals, Some(times), Seed(seed), "client/a/0").unwrap()
}

/// The first `n` gaps, in seconds.
fn secs(arrivals: &ArrivalsFile, n: usize) -> Vec<f64> {
    let gaps = gaps(arrivals, 0).take(n);
    gaps.map(|gap| gap.as_secs_f64()).collect()
}

/// Times of the requests until `until`, in seconds.
fn times_until(arrivals: &ArrivalsFile, seed: u64, until: f64) -> Vec<f64> {
    let mut at = SimDuration::ZERO;
    gaps(arrivals, seed)
        .map(|gap| {
            at += gap;
            at.as_secs_f64()
        })
        .take_while(|at| *at < until)
        .collect()
}
