//! One server with exponential service and arrivals other than Poisson.

use schema::arrivals::{ArrivalsFile, PieceFile, StateFile};
use schema::distribution::Distribution;
use schema::random::Seed;
use schema::scenario::{Extent, Station};
use sim::Arrivals;
use sim::queueing::{Keep, Plan};
use sim::theory::{self, Interarrival};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::fixture::{
    CONFIDENCE, LONGER, REPLICATIONS, assert_quantile, assert_theory, assert_within, constant,
    exponential, per_second, run_single, secs, single,
};

fn gim1(what: &str, seconds: f64, arrivals: &ArrivalsFile, interarrival: Interarrival) {
    let mu = 1000.0;
    let with = |service| {
        let station = Station::fifo(1, exponential(service));
        run_single(arrivals.clone(), station, seconds).waiting
    };
    let (right, wrong) = (with(1.0 / mu), with(LONGER / mu));
    assert_theory(
        &format!("{what} mean waiting time"),
        theory::gim1_mean_waiting_time(interarrival, mu).expect("there is a steady state"),
        right.mean,
        wrong.mean,
    );
    assert_quantile(
        &format!("{what} 90th percentile of waiting times"),
        theory::gim1_waiting_time_quantile(interarrival, mu, 0.9).expect("there is a steady state"),
        right.p90,
        wrong.p90,
    );
}

#[test]
fn gim1_with_equal_gaps() {
    let arrivals = ArrivalsFile::Deterministic {
        rate: per_second(625.0),
        connections: 1,
    };
    let mean = 1.0 / 625.0;
    gim1("D/M/1", 200.0, &arrivals, Interarrival::Constant { mean });
}

#[test]
fn gim1_with_regular_gaps() {
    let (rate, cv) = (625.0, 0.5);
    let arrivals = ArrivalsFile::Gamma {
        rate: per_second(rate),
        cv,
        connections: 1,
    };
    let mean = 1.0 / rate;
    gim1("G/M/1", 100.0, &arrivals, Interarrival::Gamma { mean, cv });
}

#[test]
fn gim1_with_bursts() {
    let (rate, cv) = (400.0, 3.0);
    let arrivals = ArrivalsFile::Hyperexponential {
        rate: per_second(rate),
        cv,
        connections: 1,
    };
    let mean = 1.0 / rate;
    gim1(
        "H2/M/1",
        400.0,
        &arrivals,
        Interarrival::Hyperexponential { mean, cv },
    );
}

/// Kingman's approximation is exact only in the limit of heavy traffic. At a utilization of 0.95 it
/// is taken to be within 5% (the correction of Krämer and Langenbach-Belz is 2% here).
#[test]
fn heavy_traffic() {
    let (lambda, service) = (950.0, 1e-3);
    let uniform = |mean: f64| Distribution::Uniform {
        from: secs(0.0),
        to: secs(2.0 * mean),
    };
    let with = |service, seconds| {
        let arrivals = ArrivalsFile::Renewal {
            gap: uniform(1.0 / lambda),
            connections: 1,
        };
        let station = Station::fifo(1, uniform(service));
        run_single(arrivals, station, seconds).waiting.mean
    };
    let (cv, right) = (1.0 / 3f64.sqrt(), with(service, 800.0));
    assert_within(
        "G/G/1 mean waiting time in heavy traffic",
        theory::kingman_approximation(lambda, service, cv, cv).unwrap(),
        0.05,
        right,
        with(1.01 * service, 200.0),
    );
    let bound = theory::kingman_upper_bound(lambda, service, cv, cv).unwrap();
    assert!(right.high < bound, "{} is above {bound}", right.high);
}

#[test]
fn mmpp_m1() {
    let (lambdas, ends, mu) = ([900.0, 100.0], [50.0, 50.0], 1000.0);
    let with = |service| {
        let state = |index: usize| StateFile {
            rate: Some(per_second(lambdas[index])),
            mean_time: secs(1.0 / ends[index]),
        };
        let arrivals = ArrivalsFile::MarkovModulated {
            states: vec![state(0), state(1)],
            connections: 1,
        };
        let station = Station::fifo(1, exponential(service));
        run_single(arrivals, station, 250.0)
    };
    let (right, wrong) = (with(1.0 / mu), with(LONGER / mu));
    assert_theory(
        "MMPP/M/1 mean sojourn time",
        theory::mmpp_m1_mean_sojourn_time(lambdas, ends, mu).unwrap(),
        right.sojourn.mean,
        wrong.sojourn.mean,
    );
    assert_theory(
        "MMPP/M/1 number in system",
        theory::mmpp_m1_mean_number(lambdas, ends, mu).unwrap(),
        right.number_in_system,
        wrong.number_in_system,
    );
}

/// The number of arrivals in each piece is Poisson with its rate times its length, here normal.
#[test]
fn piecewise_arrivals_are_as_many_as_the_rates_say() {
    let pieces = [(200.0, 30.0), (1000.0, 10.0), (400.0, 20.0)];
    let (mut start, z) = (0.0, Normal::standard().inverse_cdf(0.5 + CONFIDENCE / 2.0));
    for (rate, length) in pieces {
        let offered = |scale: f64| {
            let piece = |(rate, length): (f64, f64)| PieceFile {
                rate: Some(per_second(scale * rate)),
                length: secs(length),
            };
            let arrivals = ArrivalsFile::Piecewise {
                pieces: pieces.map(piece).to_vec(),
                repeat: true,
                connections: 1,
            };
            let plan = Plan {
                seed: Seed(0),
                warmup: Extent::Time(secs(start)),
                measure: Extent::Time(secs(length)),
                replications: REPLICATIONS,
                arrivals: Arrivals::Independent,
                threads: 1,
                precision: None,
                keep: Keep::Statistics,
            };
            let network = single(arrivals, Station::fifo(1, constant(1e-6)));
            network.run(&plan).unwrap().whole.offered as f64
        };
        let theory = f64::from(REPLICATIONS) * rate * length;
        let half = z * theory.sqrt();
        let (right, wrong) = (offered(1.0), offered(LONGER));
        eprintln!("arrivals at {rate} /s: theory {theory} ± {half:.0}, found {right}, {wrong}");
        assert!(
            (right - theory).abs() <= half,
            "{right} is not {theory} ± {half}"
        );
        assert!(half <= 0.03 * theory, "too wide to be a test");
        assert!(
            (wrong - theory).abs() > half,
            "{wrong} is {theory} ± {half}"
        );
        start += length;
    }
}
