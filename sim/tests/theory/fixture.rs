//! What the tests share: networks of one station, runs of a length, and what is asserted of them.

use schema::arrivals::ArrivalsFile;
use schema::distribution::Distribution;
use schema::ids::StageId;
use schema::random::Seed;
use schema::scenario::{Extent, Station};
use schema::stages::StageSummary;
use schema::stats::Estimate;
use schema::units::{Frequency, SimDuration};
use sim::Arrivals;
use sim::queueing::{Clients, Keep, Kind, Network, Plan, Report};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Of each interval; with fewer than 100 of them, 99% for all.
pub(crate) const CONFIDENCE: f64 = 1.0 - 0.01 / 100.0;
/// Most that an interval may be to either side, relative to theory.
const WIDEST: f64 = 0.03;
/// Replications of a run.
pub(crate) const REPLICATIONS: u32 = 24;
/// The name of the station of [`single`].
pub(crate) const STATION: &str = "station";
/// A service time that is wrong, relative to the one that is right.
pub(crate) const LONGER: f64 = 1.04;

pub(crate) fn secs(seconds: f64) -> SimDuration {
    SimDuration::from_secs_f64(seconds)
}

/// Exponential with this mean, in seconds.
pub(crate) fn exponential(mean: f64) -> Distribution {
    Distribution::Exponential(secs(mean))
}

/// Always the same, in seconds.
pub(crate) fn constant(time: f64) -> Distribution {
    Distribution::Constant(secs(time))
}

/// Of two phases, with this mean, in seconds.
pub(crate) fn hyperexponential(mean: f64, cv: f64) -> Distribution {
    let mean = secs(mean);
    Distribution::Hyperexponential { mean, cv }
}

/// So many a second.
pub(crate) fn per_second(rate: f64) -> Frequency {
    Frequency::from_per_second(rate).expect("a rate is positive")
}

/// Poisson arrivals, so many a second.
pub(crate) fn poisson(rate: f64) -> ArrivalsFile {
    ArrivalsFile::Poisson {
        rate: per_second(rate),
        connections: 1,
    }
}

/// One client whose requests take this path.
pub(crate) fn client(arrivals: ArrivalsFile, path: &[StageId]) -> Clients {
    Clients {
        name: "clients".to_owned(),
        count: 1,
        arrivals,
        replayed: None,
        classes: Vec::new(),
        path: path.to_vec(),
    }
}

/// A class with one of two equal shares.
pub(crate) fn kind(name: &str, priority: u32, weight: f64) -> Kind {
    Kind {
        name: name.to_owned(),
        share: 1.0,
        priority,
        weight,
    }
}

/// A network of one station.
pub(crate) fn single(arrivals: ArrivalsFile, station: Station) -> Network {
    let mut network = Network::new();
    let station = network.station(STATION, station);
    network.clients(client(arrivals, &[station]));
    network
}

/// Replications of `seconds` each, after a fifth of that which does not count.
pub(crate) fn run(network: &Network, seconds: f64) -> Report {
    let plan = Plan {
        seed: Seed(0),
        warmup: Extent::Time(secs(seconds / 5.0)),
        measure: Extent::Time(secs(seconds)),
        replications: REPLICATIONS,
        arrivals: Arrivals::Independent,
        threads: 1,
        precision: None,
        keep: Keep::Statistics,
    };
    network.run(&plan).expect("the network can be run")
}

/// What a [`run`] of a [`single`] station gives for it.
pub(crate) fn run_single(arrivals: ArrivalsFile, station: Station, seconds: f64) -> StageSummary {
    let mut report = run(&single(arrivals, station), seconds);
    report.stages.remove(STATION).expect("it is the station")
}

/// Half of the interval of [`CONFIDENCE`] over replications, by that of a report.
fn half_width(estimate: Estimate) -> f64 {
    let t = StudentsT::new(0.0, 1.0, f64::from(REPLICATIONS) - 1.0)
        .expect("there are degrees of freedom");
    let quantile = |confidence: f64| t.inverse_cdf(0.5 + confidence / 2.0);
    let wider = quantile(CONFIDENCE) / quantile(schema::summary::CONFIDENCE);
    wider * (estimate.high - estimate.low) / 2.0
}

/// That `theory` is in the interval of `right`, which is narrow, and not in that of `wrong`.
pub(crate) fn assert_theory(what: &str, theory: f64, right: Estimate, wrong: Estimate) {
    assert_within(what, theory, 0.0, right, wrong);
}

/// As [`assert_theory`], of a quantile, which the engine finds up to the width of a bin.
pub(crate) fn assert_quantile(what: &str, theory: f64, right: Estimate, wrong: Estimate) {
    assert_within(what, theory, sim::statistics::RELATIVE_ERROR, right, wrong);
}

/// As [`assert_theory`], of theory that is an approximation with at most this relative `error`.
pub(crate) fn assert_within(what: &str, theory: f64, error: f64, right: Estimate, wrong: Estimate) {
    let off = |estimate: Estimate| estimate.value / theory - 1.0;
    let half = |estimate: Estimate| half_width(estimate) / theory;
    let found = format!(
        "{what}: theory {theory:.6e}, found {:+.2}% ± {:.2}%, with an error {:+.2}% ± {:.2}%",
        100.0 * off(right),
        100.0 * half(right),
        100.0 * off(wrong),
        100.0 * half(wrong),
    );
    eprintln!("{found}");
    assert!(
        off(right).abs() <= half(right) + error,
        "theory is not in the interval. {found}"
    );
    assert!(
        half(right) <= WIDEST,
        "the interval is too wide to be a test. {found}"
    );
    assert!(
        off(wrong).abs() > half(wrong) + error,
        "a known error is not noticed. {found}"
    );
}
