//! Arrival processes: when each client sends, as it stands in a scenario and as gaps drawn.
//!
//! A process owns its streams, so that the gaps of one client do not depend on what others draw,
//! and takes one uniform a request wherever it is random: two scenarios that differ in a rate keep
//! their draws aligned. What modulates a process has a stream of its own.
//!
//! Left out: batches of requests that arrive together, other than as gaps of zero, and processes
//! that depend on the state of the server (but for the closed loop).

mod gaps;
mod replay;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;
use crate::units::{Frequency, SimDuration};

pub use gaps::{Gaps, GapsError};
pub use replay::read_replay;

/// The highest rate of a process, per second: times are whole picoseconds, and a mean gap of a
/// nanosecond is still within 0.05% of what was asked for.
const MAX_RATE_PER_S: f64 = 1e9;

/// The longest gap that is drawn, in seconds: 207 days, the clock holding 213.
const CLOCK_S: f64 = 1.79e7;

/// Most of the gaps that may be longer than that: not one in a run of 10¹² requests.
const BEYOND_CLOCK: f64 = 1e-12;

/// The coefficients of variation for which quantiles are right (of the gamma distribution they are
/// found by search) and gaps fit the clock at any usual rate.
const CV_RANGE: RangeInclusive<f64> = 0.01..=50.0;

/// When a client sends.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ArrivalsFile {
    /// One request at a time: the next is sent a think time after the last reply.
    ClosedLoop {
        /// Time between a reply and the next request; zero if not given.
        #[serde(default = "default_think")]
        think: Distribution,
    },
    /// A Poisson process.
    Poisson {
        /// Mean rate of each client.
        rate: Frequency,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
    /// Equally spaced.
    Deterministic {
        /// Rate of each client.
        rate: Frequency,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
    /// Independent gaps, gamma distributed: more regular than Poisson below a coefficient of
    /// variation of 1, in bursts above. A gap costs a search for its quantile, about a microsecond.
    Gamma {
        /// Mean rate of each client.
        rate: Frequency,
        /// Coefficient of variation of the gaps, from 0.01 to 50.
        cv: f64,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
    /// Independent gaps, hyperexponential with balanced means: in bursts.
    Hyperexponential {
        /// Mean rate of each client.
        rate: Frequency,
        /// Coefficient of variation of the gaps, from 1 to 50.
        cv: f64,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
    /// Independent gaps of any distribution. The first request comes a whole gap after the start.
    Renewal {
        /// Time between two requests of a client.
        gap: Distribution,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
    /// A Poisson process whose rate is that of the state a client is in (MMPP; Fischer and
    /// Meier-Hellstern, 1993, Performance Evaluation 18(2)). Each client passes the states in
    /// their order, again and again, on its own, and starts in one drawn by its share of the time.
    MarkovModulated {
        /// The states; at least one of them has a rate.
        states: Vec<StateFile>,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
    /// A Poisson process whose rate changes at given times, for all clients of a group at once.
    Piecewise {
        /// The pieces, from the start of the run, in order; at least one of them has a rate.
        pieces: Vec<PieceFile>,
        /// Whether the first piece follows the last; otherwise nothing arrives after the last.
        /// True if not given.
        #[serde(default = "default_piecewise_repeat")]
        repeat: bool,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
    /// The times of a recorded trace.
    Replay(ReplayFile),
    /// At given times, the same for every client of the group.
    Times {
        /// Times since the start of the run, in order; at equal ones requests come at once, and
        /// nothing comes after the last.
        at: Vec<SimDuration>,
        /// Connections that carry one request each; a request that finds none free waits.
        #[serde(default = "default_connections")]
        connections: u32,
    },
}

/// A state of a Markov-modulated Poisson process.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StateFile {
    /// Rate of a client in it; nothing arrives if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Frequency>,
    /// Mean of the time that a client stays in it, which is exponential.
    pub mean_time: SimDuration,
}

/// A piece of a piecewise Poisson process.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PieceFile {
    /// Rate of a client during it; nothing arrives if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Frequency>,
    /// How long it lasts; `for` in files.
    #[serde(rename = "for")]
    pub length: SimDuration,
}

/// The times of a recorded trace, which every client of the group replays; [`read_replay`] says
/// what the file must be like and when the first request comes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReplayFile {
    /// A file of comma-separated values, a request a line.
    pub file: String,
    /// Name of the column of the times; the first column if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Unit of the times; `s` if not given.
    #[serde(default)]
    pub unit: ReplayUnit,
    /// How many times faster than it was recorded the trace runs; 1 if neither it nor `rate` is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_factor: Option<f64>,
    /// The mean rate to which the trace is stretched or compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Frequency>,
    /// Whether the trace starts again, one mean gap after its last request; otherwise nothing
    /// arrives after that. False if not given.
    #[serde(default)]
    pub repeat: bool,
    /// Connections that carry one request each; a request that finds none free waits.
    #[serde(default = "default_connections")]
    pub connections: u32,
}

/// Unit of the times of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayUnit {
    /// Seconds.
    #[default]
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// A key below the arrivals' own, and what is wrong there.
type Problem = (String, String);

impl ArrivalsFile {
    /// A Poisson process, for stages to which no connections lead.
    pub const fn poisson(rate: Frequency) -> ArrivalsFile {
        ArrivalsFile::Poisson {
            rate,
            connections: default_connections(),
        }
    }

    /// Whether the next request waits for the reply to the last.
    pub const fn is_closed_loop(&self) -> bool {
        matches!(self, ArrivalsFile::ClosedLoop { .. })
    }

    /// Connections of a client that carry one request each; `None` of a closed loop, which needs
    /// one.
    pub const fn connections(&self) -> Option<u32> {
        match self {
            ArrivalsFile::ClosedLoop { .. } => None,
            ArrivalsFile::Poisson { connections, .. }
            | ArrivalsFile::Deterministic { connections, .. }
            | ArrivalsFile::Gamma { connections, .. }
            | ArrivalsFile::Hyperexponential { connections, .. }
            | ArrivalsFile::Renewal { connections, .. }
            | ArrivalsFile::MarkovModulated { connections, .. }
            | ArrivalsFile::Piecewise { connections, .. }
            | ArrivalsFile::Times { connections, .. } => Some(*connections),
            ArrivalsFile::Replay(replay) => Some(replay.connections),
        }
    }

    /// Mean rate of a client, in requests per second: of a piecewise process over its pieces, of
    /// the others in the long run.
    ///
    /// `None` of a closed loop, whose rate the server decides; of a trace to be replayed without a
    /// `rate`, which depends on the file (there it is the number of the gaps over their sum); of
    /// given times, which have no length; of gaps whose mean is infinite; and of what
    /// [`ArrivalsFile::check`] refuses.
    pub fn mean_rate(&self) -> Option<f64> {
        match self {
            ArrivalsFile::ClosedLoop { .. } | ArrivalsFile::Times { .. } => None,
            ArrivalsFile::Poisson { rate, .. }
            | ArrivalsFile::Deterministic { rate, .. }
            | ArrivalsFile::Gamma { rate, .. }
            | ArrivalsFile::Hyperexponential { rate, .. } => Some(rate.per_second()),
            ArrivalsFile::Renewal { gap, .. } => {
                let mean = gap.mean_s()?;
                (mean > 0.0 && mean.is_finite()).then(|| 1.0 / mean)
            }
            ArrivalsFile::MarkovModulated { states, .. } => {
                average(states.iter().map(|state| (state.rate, state.mean_time)))
            }
            ArrivalsFile::Piecewise { pieces, .. } => {
                average(pieces.iter().map(|piece| (piece.rate, piece.length)))
            }
            ArrivalsFile::Replay(replay) => replay.rate.map(Frequency::per_second),
        }
    }

    /// Whether requests can be drawn from it; of a trace only what stands in the scenario.
    ///
    /// # Errors
    /// The key below the arrivals' own, and what is wrong there.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.connections() == Some(0) {
            let key = format!("{}.connections", self.name());
            return Err((key, "must be at least 1, found 0".to_owned()));
        }
        match self {
            ArrivalsFile::ClosedLoop { .. } => {}
            ArrivalsFile::Poisson { rate, .. }
            | ArrivalsFile::Deterministic { rate, .. }
            | ArrivalsFile::Gamma { rate, .. }
            | ArrivalsFile::Hyperexponential { rate, .. } => {
                rate_fits(&format!("{}.rate", self.name()), *rate)?;
            }
            ArrivalsFile::Renewal { gap, .. } if gap.is_zero() => {
                let problem = "must be more than zero at times, found always zero";
                return Err(("renewal.gap".to_owned(), problem.to_owned()));
            }
            ArrivalsFile::Renewal { .. } => {}
            ArrivalsFile::MarkovModulated { states, .. } => {
                let spans = states.iter().map(|state| (state.rate, state.mean_time));
                spans_fit("markov-modulated.states", "mean-time", spans)?;
            }
            ArrivalsFile::Piecewise { pieces, .. } => {
                let spans = pieces.iter().map(|piece| (piece.rate, piece.length));
                spans_fit("piecewise.pieces", "for", spans)?;
            }
            ArrivalsFile::Replay(replay) => replay.check()?,
            ArrivalsFile::Times { at, .. } => times_fit("times.at", at)?,
        }
        let Some((key, gaps)) = self.independent_gaps() else {
            return Ok(());
        };
        let sampler = gaps
            .sampler()
            .map_err(|(below, problem)| (join(key, &below), problem))?;
        if self.is_closed_loop() {
            return Ok(());
        }
        if let ArrivalsFile::Gamma { cv, .. } | ArrivalsFile::Hyperexponential { cv, .. } = self
            && !CV_RANGE.contains(cv)
        {
            let key = format!("{}.cv", self.name());
            let (least, most) = (CV_RANGE.start(), CV_RANGE.end());
            return Err((key, format!("must be from {least} to {most}, found {cv}")));
        }
        if sampler.cdf(CLOCK_S) < 1.0 - BEYOND_CLOCK {
            let key = if key.is_empty() { self.name() } else { key };
            let problem = "a gap could be more than 207 days, which does not fit the clock; \
                           put it into `renewal` with a gap that is `truncated`";
            return Err((key.to_owned(), problem.to_owned()));
        }
        Ok(())
    }

    /// The distribution of independent gaps or think times, where there is one, and the key below
    /// the arrivals' own below which [`Distribution::sampler`] names what is wrong with it.
    fn independent_gaps(&self) -> Option<(&'static str, Cow<'_, Distribution>)> {
        let mean = |rate: Frequency| SimDuration::from_secs_f64(1.0 / rate.per_second());
        match *self {
            ArrivalsFile::ClosedLoop { ref think } => {
                Some(("closed-loop.think", Cow::Borrowed(think)))
            }
            ArrivalsFile::Gamma { rate, cv, .. } => {
                let mean = mean(rate);
                Some(("", Cow::Owned(Distribution::Gamma { mean, cv })))
            }
            ArrivalsFile::Hyperexponential { rate, cv, .. } => {
                let mean = mean(rate);
                Some(("", Cow::Owned(Distribution::Hyperexponential { mean, cv })))
            }
            ArrivalsFile::Renewal { ref gap, .. } => Some(("renewal.gap", Cow::Borrowed(gap))),
            _ => None,
        }
    }

    /// The name in files.
    const fn name(&self) -> &'static str {
        match self {
            ArrivalsFile::ClosedLoop { .. } => "closed-loop",
            ArrivalsFile::Poisson { .. } => "poisson",
            ArrivalsFile::Deterministic { .. } => "deterministic",
            ArrivalsFile::Gamma { .. } => "gamma",
            ArrivalsFile::Hyperexponential { .. } => "hyperexponential",
            ArrivalsFile::Renewal { .. } => "renewal",
            ArrivalsFile::MarkovModulated { .. } => "markov-modulated",
            ArrivalsFile::Piecewise { .. } => "piecewise",
            ArrivalsFile::Replay(_) => "replay",
            ArrivalsFile::Times { .. } => "times",
        }
    }
}

impl ReplayFile {
    fn check(&self) -> Result<(), Problem> {
        let wrong = |key: &str, problem: String| Err((format!("replay.{key}"), problem));
        if self.file.is_empty() {
            return wrong("file", "must be the name of a file, found none".to_owned());
        }
        if self.column.as_deref() == Some("") {
            return wrong(
                "column",
                "must be the name of a column, found none".to_owned(),
            );
        }
        if let Some(rate) = self.rate {
            rate_fits("replay.rate", rate)?;
        }
        match self.rate_factor {
            Some(_) if self.rate.is_some() => {
                let problem = "only one of `rate` and `rate-factor` may be given, found both";
                wrong("rate-factor", problem.to_owned())
            }
            Some(factor) if !(factor > 0.0 && factor.is_finite()) => wrong(
                "rate-factor",
                format!("must be more than zero, found {factor}"),
            ),
            _ => Ok(()),
        }
    }
}

/// The mean of rates, each weighted with its time; `None` if that is not positive.
fn average(spans: impl Iterator<Item = (Option<Frequency>, SimDuration)>) -> Option<f64> {
    let (requests, time) = spans.fold((0.0, 0.0), |(requests, time), (rate, span)| {
        let span = span.as_secs_f64();
        (requests + per_second(rate) * span, time + span)
    });
    (requests > 0.0).then(|| requests / time)
}

/// Two dotted keys as one; either may be empty.
fn join(key: &str, below: &str) -> String {
    if key.is_empty() || below.is_empty() {
        format!("{key}{below}")
    } else {
        format!("{key}.{below}")
    }
}

/// A rate per second, zero where none is given.
fn per_second(rate: Option<Frequency>) -> f64 {
    rate.map_or(0.0, Frequency::per_second)
}

fn rate_fits(key: &str, rate: Frequency) -> Result<(), Problem> {
    if rate.per_second() > MAX_RATE_PER_S {
        let problem = format!("must be at most 1000000000 /s, found {rate}");
        return Err((key.to_owned(), problem));
    }
    Ok(())
}

/// Checks parts of a process, each a rate and a time of which the key below it is `time_key`.
fn spans_fit(
    key: &str,
    time_key: &str,
    spans: impl Iterator<Item = (Option<Frequency>, SimDuration)>,
) -> Result<(), Problem> {
    let wrong = |key: String, problem: &str| Err((key, problem.to_owned()));
    let (mut n, mut has_rate, mut total_ps) = (0, false, 0u64);
    for (rate, time) in spans {
        if let Some(rate) = rate {
            rate_fits(&format!("{key}.{n}.rate"), rate)?;
            has_rate = true;
        }
        let time_key = format!("{key}.{n}.{time_key}");
        if time == SimDuration::ZERO {
            return wrong(time_key, "must be more than zero, found 0 ps");
        }
        let Some(sum) = total_ps.checked_add(time.as_ps()) else {
            return wrong(time_key, "all together must be at most 213 days");
        };
        total_ps = sum;
        n += 1;
    }
    if n == 0 {
        return wrong(key.to_owned(), "must have at least one, found none");
    }
    if !has_rate {
        return wrong(
            key.to_owned(),
            "at least one must have a `rate`, found none",
        );
    }
    Ok(())
}

/// Checks that there are times, and that none is before the one before it.
fn times_fit(key: &str, times: &[SimDuration]) -> Result<(), Problem> {
    if times.is_empty() {
        let problem = "must have at least one, found none";
        return Err((key.to_owned(), problem.to_owned()));
    }
    let mut pairs = (1..).zip(times.windows(2));
    match pairs.find(|(_, pair)| pair[0] > pair[1]) {
        Some((index, pair)) => {
            let (before, found) = (pair[0], pair[1]);
            let problem =
                format!("must not be less than the one before it, {before}; found {found}");
            Err((format!("{key}.{index}"), problem))
        }
        None => Ok(()),
    }
}

const fn default_think() -> Distribution {
    Distribution::Constant(SimDuration::ZERO)
}
const fn default_connections() -> u32 {
    16
}
const fn default_piecewise_repeat() -> bool {
    true
}

#[cfg(test)]
mod tests;
