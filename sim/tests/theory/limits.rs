//! Requests that give up or come back, and servers that fail.

use schema::random::Seed;
use schema::scenario::{Breakdown, Extent, Retry, Station};
use sim::Arrivals;
use sim::queueing::{Keep, Network, Plan};
use sim::theory;

use crate::fixture::{
    LONGER, assert_theory, client, constant, exponential, poisson, run, run_single, single,
};

#[test]
fn erlang_a() {
    let (lambda, mu, c, theta) = (2200.0, 1000.0, 2, 500.0);
    let with = |service| {
        let station = Station {
            patience: Some(exponential(1.0 / theta)),
            ..Station::fifo(c, exponential(service))
        };
        run_single(poisson(lambda), station, 30.0)
    };
    let (right, wrong) = (with(1.0 / mu), with(LONGER / mu));
    let theory = theory::erlang_a(lambda, mu, c, theta).unwrap();
    assert_theory(
        "Erlang A abandonment",
        theory.abandonment,
        right.reneged_share,
        wrong.reneged_share,
    );
    assert_theory(
        "Erlang A number in queue",
        theory.mean_number_in_queue,
        right.number_waiting,
        wrong.number_waiting,
    );
    // Those who give up are no visits.
    assert_theory(
        "Erlang A mean waiting time of the served",
        theory.mean_waiting_time_of_served,
        right.waiting.mean,
        wrong.waiting.mean,
    );
}

#[test]
fn mm1_with_breakdowns() {
    let (lambda, mu, failure, repair) = (400.0, 1000.0, 50.0, 200.0);
    let with = |failure: f64| {
        let breakdown = Breakdown {
            up: exponential(1.0 / failure),
            down: exponential(1.0 / repair),
        };
        let station = Station {
            breakdown: Some(breakdown),
            ..Station::fifo(1, exponential(1.0 / mu))
        };
        run_single(poisson(lambda), station, 200.0)
    };
    let (right, wrong) = (with(failure), with(1.1 * failure));
    assert_theory(
        "M/M/1 with breakdowns mean sojourn time",
        theory::mm1_breakdowns_mean_sojourn_time(lambda, mu, failure, repair).unwrap(),
        right.sojourn.mean,
        wrong.sojourn.mean,
    );
    assert_theory(
        "M/M/1 with breakdowns number in system",
        theory::mm1_breakdowns_mean_number(lambda, mu, failure, repair).unwrap(),
        right.number_in_system,
        wrong.number_in_system,
    );
}

/// M/M/1 without a line, to which those who find it busy come back, each after exponential times of
/// rate `theta`, until they find it idle: `ρ² (μ + θ) / (θ (1 - ρ))` are away on average (Falin,
/// 1990, Queueing Systems 7(2)).
#[test]
fn retrials_until_served() {
    let (lambda, mu, theta) = (500.0, 1000.0, 300.0);
    let rho: f64 = lambda / mu;
    let away = rho * rho * (mu + theta) / (theta * (1.0 - rho));
    let with = |backoff| {
        let station = Station {
            capacity: Some(1),
            retry: Some(Retry {
                attempts: u32::MAX,
                backoff: exponential(backoff),
                factor: 1.0,
            }),
            ..Station::fifo(1, exponential(1.0 / mu))
        };
        let report = run(&single(poisson(lambda), station), 100.0);
        assert_eq!(report.whole.lost, 0);
        report.whole
    };
    let (right, wrong) = (with(1.0 / theta), with(1.1 / theta));
    assert_theory(
        "M/M/1 with retrials mean sojourn time",
        (rho + away) / lambda,
        right.sojourn.mean,
        wrong.sojourn.mean,
    );
    assert_theory(
        "M/M/1 with retrials number in system",
        rho + away,
        right.number_in_system,
        wrong.number_in_system,
    );
}

/// Everybody who was turned away came back or was lost, and everybody else was served.
#[test]
fn retrials_are_conserved() {
    let n = 20_000;
    let with = |attempts| {
        let station = Station {
            capacity: Some(3),
            retry: Some(Retry {
                attempts,
                backoff: exponential(2e-3),
                factor: 2.0,
            }),
            patience: Some(constant(2e-3)),
            ..Station::fifo(1, exponential(1e-3))
        };
        let plan = Plan {
            seed: Seed(0),
            warmup: Extent::Requests(0),
            measure: Extent::Requests(n),
            replications: 1,
            arrivals: Arrivals::Independent,
            threads: 1,
            precision: None,
            keep: Keep::Statistics,
        };
        let report = single(poisson(900.0), station).run(&plan).unwrap();
        let (whole, station) = (report.whole, &report.stages[crate::fixture::STATION]);
        assert_eq!(whole.offered, u64::from(n));
        assert_eq!(whole.n + whole.lost, u64::from(n));
        assert_eq!(station.n, whole.n);
        assert_eq!(station.lost, whole.lost);
        assert_eq!(station.offered, u64::from(n) + station.retried);
        assert_eq!(
            station.rejected + station.reneged,
            station.retried + station.lost
        );
        assert_eq!(
            station.offered - station.rejected - station.reneged,
            station.n
        );
        assert!(station.rejected > 0 && station.reneged > 0);
        station.lost
    };
    let lost = [0, 1, 3, 10].map(with);
    assert!(lost.is_sorted_by(|more, fewer| more > fewer), "{lost:?}");
}

/// Also when the last are at one station of which the server is down, and the other one's fails.
#[test]
fn servers_that_fail_serve_everybody() {
    let mut network = Network::new();
    let path = ["first", "second"].map(|name| {
        let breakdown = Breakdown {
            up: exponential(1e-3),
            down: exponential(1e-3),
        };
        let station = Station {
            breakdown: Some(breakdown),
            ..Station::fifo(1, exponential(1e-3))
        };
        network.station(name, station)
    });
    network.clients(client(poisson(100.0), &path));
    let plan = Plan {
        seed: Seed(0),
        warmup: Extent::Requests(0),
        measure: Extent::Requests(10),
        replications: 1000,
        arrivals: Arrivals::Independent,
        threads: 1,
        precision: None,
        keep: Keep::Statistics,
    };
    assert_eq!(network.run(&plan).unwrap().whole.n, 10 * 1000);
}
