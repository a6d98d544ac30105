//! The gaps of one client, drawn.

use std::iter::FusedIterator;
use std::sync::Arc;

use rand::rngs::ChaCha8Rng;

use super::{ArrivalsFile, CLOCK_S, per_second};
use crate::distribution::Sampler;
use crate::random::{Seed, exponential, stream, uniform};
use crate::units::SimDuration;

/// Why no gaps can be drawn.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GapsError {
    /// [`ArrivalsFile::check`] refuses the process.
    #[error("`{key}`: {problem}")]
    Invalid {
        /// The key below the arrivals' own.
        key: String,
        /// What is wrong there.
        problem: String,
    },
    /// The process replays a trace and its times, which
    /// [`read_replay`](super::read_replay) reads, were not given or are none.
    #[error("the times of the trace `{file}` were not read")]
    NoTimes {
        /// The trace.
        file: String,
    },
}

/// The gaps between a client's requests, in order: of an open loop from one request to the next,
/// the first from the start of the run; of a closed loop the think time before each request.
///
/// `None` once a finite process has ended, or when the next request would come more than 213 days
/// after the last, which no clock here holds; `None` ever after. Each gap is rounded once to a
/// picosecond.
#[derive(Debug)]
pub struct Gaps {
    process: Process,
    rng: ChaCha8Rng,
}

/// What the gaps are drawn from; what is large is boxed, since the loop of the engine passes here.
#[derive(Debug)]
enum Process {
    /// Mean, in seconds.
    Poisson(f64),
    Equal(SimDuration),
    Independent(Sampler),
    Modulated(Box<Modulated>),
    Piecewise(Box<Piecewise>),
    Replayed {
        gaps: Arc<[SimDuration]>,
        next: usize,
        repeat: bool,
    },
    Ended,
}

impl Gaps {
    /// The gaps of the client called `source`, drawn from its streams `{source}/arrivals` and, for
    /// the states of a Markov-modulated process, `{source}/state`.
    ///
    /// `replayed` are the gaps of the trace, for a process that replays one; others ignore it.
    ///
    /// # Errors
    /// If [`ArrivalsFile::check`] refuses the process, or a trace is to be replayed and `replayed`
    /// is `None` or empty.
    pub fn new(
        arrivals: &ArrivalsFile,
        replayed: Option<Arc<[SimDuration]>>,
        seed: Seed,
        source: &str,
    ) -> Result<Gaps, GapsError> {
        let invalid = |(key, problem)| GapsError::Invalid { key, problem };
        arrivals.check().map_err(invalid)?;
        let process = match arrivals {
            ArrivalsFile::ClosedLoop { .. }
            | ArrivalsFile::Gamma { .. }
            | ArrivalsFile::Hyperexponential { .. }
            | ArrivalsFile::Renewal { .. } => {
                let (_, gaps) = arrivals.independent_gaps().expect("they are independent");
                Process::Independent(gaps.sampler().map_err(invalid)?)
            }
            ArrivalsFile::Poisson { rate, .. } => Process::Poisson(1.0 / rate.per_second()),
            ArrivalsFile::Deterministic { rate, .. } => {
                Process::Equal(SimDuration::from_secs_f64(1.0 / rate.per_second()))
            }
            ArrivalsFile::MarkovModulated { states, .. } => {
                let rng = stream(seed, &format!("{source}/state"));
                let states = states.iter().map(|state| State {
                    rate: per_second(state.rate),
                    mean_s: state.mean_time.as_secs_f64(),
                });
                Process::Modulated(Box::new(Modulated::new(states.collect(), rng)))
            }
            ArrivalsFile::Piecewise { pieces, repeat, .. } => {
                let pieces = pieces.iter().map(|piece| Span {
                    rate: per_second(piece.rate),
                    left: piece.length,
                });
                Process::Piecewise(Box::new(Piecewise::new(pieces.collect(), *repeat)))
            }
            ArrivalsFile::Replay(replay) => {
                let gaps = replayed.filter(|gaps| !gaps.is_empty());
                Process::Replayed {
                    gaps: gaps.ok_or_else(|| GapsError::NoTimes {
                        file: replay.file.clone(),
                    })?,
                    next: 0,
                    repeat: replay.repeat,
                }
            }
            ArrivalsFile::Times { at, .. } => {
                let starts = std::iter::once(&SimDuration::ZERO).chain(at);
                let gaps = starts.zip(at).map(|(before, at)| {
                    let ps = at.as_ps().checked_sub(before.as_ps());
                    SimDuration::from_ps(ps.expect("the times were checked"))
                });
                Process::Replayed {
                    gaps: gaps.collect(),
                    next: 0,
                    repeat: false,
                }
            }
        };
        Ok(Gaps {
            process,
            rng: stream(seed, &format!("{source}/arrivals")),
        })
    }
}

impl Iterator for Gaps {
    type Item = SimDuration;

    #[inline]
    fn next(&mut self) -> Option<SimDuration> {
        let gap = match &mut self.process {
            Process::Poisson(mean_s) => within_clock(exponential(&mut self.rng, *mean_s)),
            Process::Equal(gap) => Some(*gap),
            Process::Independent(sampler) => Some(sampler.sample(&mut self.rng)),
            Process::Modulated(process) => process.next_gap(&mut self.rng),
            Process::Piecewise(process) => process.next_gap(&mut self.rng),
            Process::Replayed { gaps, next, repeat } => {
                if *repeat && *next == gaps.len() {
                    *next = 0;
                }
                *next += 1;
                gaps.get(*next - 1).copied()
            }
            Process::Ended => None,
        };
        if gap.is_none() {
            self.process = Process::Ended;
        }
        gap
    }
}

impl FusedIterator for Gaps {}

/// `secs` as a duration, if the clock holds it.
#[inline]
fn within_clock(secs: f64) -> Option<SimDuration> {
    (secs < CLOCK_S).then(|| SimDuration::from_secs_f64(secs))
}

/// What is left of a time with one rate.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Span {
    /// Per second.
    rate: f64,
    left: SimDuration,
}

impl Span {
    const EMPTY: Span = Span {
        rate: 0.0,
        left: SimDuration::ZERO,
    };
}

/// The time until `hazard`, the integral of the rate, has been passed, which is unit exponential
/// for a Poisson process of any rate (time change; Law, 2015, section 8.6.2). What of it a span
/// does not use is carried into the next, so that one draw gives one gap.
///
/// `here` is left where the request comes, in whole picoseconds: rounding moves a request, but
/// never the borders of the spans. `None` if no span follows or the gap does not fit the clock.
fn pass(
    mut hazard: f64,
    here: &mut Span,
    mut following: impl FnMut() -> Option<Span>,
) -> Option<SimDuration> {
    let mut passed_ps = 0u64;
    loop {
        let (rate, left_ps) = (here.rate, here.left.as_ps());
        let left_s = here.left.as_secs_f64();
        // Infinite, or not a number, where the rate is zero: both are not within the span.
        let wanted_s = hazard / rate;
        if wanted_s <= left_s {
            let ps = SimDuration::from_secs_f64(wanted_s).as_ps().min(left_ps);
            here.left = SimDuration::from_ps(left_ps - ps);
            return passed_ps.checked_add(ps).map(SimDuration::from_ps);
        }
        hazard = (hazard - rate * left_s).max(0.0);
        passed_ps = passed_ps.checked_add(left_ps)?;
        *here = following()?;
    }
}

/// A state of a Markov-modulated process.
#[derive(Clone, Copy, PartialEq, Debug)]
struct State {
    /// Per second.
    rate: f64,
    /// Mean time in it, in seconds.
    mean_s: f64,
}

/// A Markov-modulated Poisson process of which the states follow each other in their order.
#[derive(Debug)]
struct Modulated {
    states: Vec<State>,
    at: usize,
    here: Span,
    rng: ChaCha8Rng,
}

impl Modulated {
    /// Starts in a state drawn by its share of the time; how long it stays there has the
    /// distribution of any whole stay, which is exponential.
    fn new(states: Vec<State>, mut rng: ChaCha8Rng) -> Modulated {
        let total: f64 = states.iter().map(|state| state.mean_s).sum();
        let drawn = uniform(&mut rng) * total;
        let mut until = 0.0;
        let at = states.iter().position(|state| {
            until += state.mean_s;
            drawn < until
        });
        let at = at.unwrap_or(states.len() - 1);
        let here = stay(&states[at], &mut rng);
        Modulated {
            states,
            at,
            here,
            rng,
        }
    }

    fn next_gap(&mut self, rng: &mut ChaCha8Rng) -> Option<SimDuration> {
        let hazard = exponential(rng, 1.0);
        pass(hazard, &mut self.here, || {
            self.at = (self.at + 1) % self.states.len();
            Some(stay(&self.states[self.at], &mut self.rng))
        })
    }
}

/// A stay in `state`, no longer than the clock holds.
fn stay(state: &State, rng: &mut ChaCha8Rng) -> Span {
    Span {
        rate: state.rate,
        left: SimDuration::from_secs_f64(exponential(rng, state.mean_s).min(CLOCK_S)),
    }
}

/// A Poisson process of which the rate changes at given times.
#[derive(Debug)]
struct Piecewise {
    pieces: Vec<Span>,
    /// The piece after the one here.
    next: usize,
    here: Span,
    repeat: bool,
}

impl Piecewise {
    const fn new(pieces: Vec<Span>, repeat: bool) -> Piecewise {
        Piecewise {
            pieces,
            next: 0,
            here: Span::EMPTY,
            repeat,
        }
    }

    fn next_gap(&mut self, rng: &mut ChaCha8Rng) -> Option<SimDuration> {
        let hazard = exponential(rng, 1.0);
        pass(hazard, &mut self.here, || {
            if self.repeat && self.next == self.pieces.len() {
                self.next = 0;
            }
            self.next += 1;
            self.pieces.get(self.next - 1).copied()
        })
    }
}
