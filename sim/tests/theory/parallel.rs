//! Stations side by side: a copy for each, or one of them chosen.

use schema::ids::StageId;
use schema::scenario::{Balance, PlainKind, PolicyName, Station};
use sim::queueing::{Network, Report};
use sim::theory::{self, Interarrival};

use crate::fixture::{LONGER, assert_theory, assert_within, client, exponential, poisson, run};

#[test]
fn fork_join() {
    let (lambda, mu) = (500.0, 1000.0);
    let with = |service| {
        let mut network = Network::new();
        let stations =
            ["a", "b"].map(|n| network.station(n, Station::fifo(1, exponential(service))));
        let fork = network.stage("fork", PlainKind::Fork(stations.to_vec()));
        let join = network.stage("join", PlainKind::Join);
        network.clients(client(poisson(lambda), &[fork, join]));
        run(&network, 100.0)
    };
    let (right, wrong) = (with(1.0 / mu), with(LONGER / mu));
    assert_theory(
        "fork-join mean sojourn time",
        theory::fork_join_two_mean_sojourn_time(lambda, mu).unwrap(),
        right.whole.sojourn.mean,
        wrong.whole.sojourn.mean,
    );
    assert_theory(
        "fork-join mean sojourn time of a copy",
        theory::mm1_mean_sojourn_time(lambda, mu).unwrap(),
        right.stages["a"].sojourn.mean,
        wrong.stages["a"].sojourn.mean,
    );
}

/// A balancer before `n` stations of one server and exponential service, with room for so many
/// requests each.
fn balanced(
    policy: PolicyName,
    n: usize,
    lambda: f64,
    (mu, capacity): (f64, Option<u32>),
    seconds: f64,
) -> Report {
    let mut network = Network::new();
    let to: Vec<StageId> = (0..n)
        .map(|index| {
            let station = Station {
                capacity,
                ..Station::fifo(1, exponential(1.0 / mu))
            };
            network.station(&format!("station-{index}"), station)
        })
        .collect();
    let balance = PlainKind::Balance(Balance {
        policy,
        to,
        weights: Vec::new(),
    });
    let balancer = network.stage("balancer", balance);
    network.clients(client(poisson(lambda), &[balancer]));
    run(&network, seconds)
}

#[test]
fn join_the_shorter_of_two() {
    let (lambda, mu) = (1600.0, 1000.0);
    let with = |policy| balanced(policy, 2, lambda, (mu, None), 100.0).whole;
    let right = with(PolicyName::JoinShortestQueue);
    let wrong = with(PolicyName::RoundRobin);
    assert_theory(
        "shortest of two mean sojourn time",
        theory::jsq_two_mean_sojourn_time(lambda, mu).unwrap(),
        right.sojourn.mean,
        wrong.sojourn.mean,
    );
    assert_theory(
        "shortest of two number in system",
        theory::jsq_two_mean_number(lambda, mu).unwrap(),
        right.number_in_system,
        wrong.number_in_system,
    );
}

/// One balancer knows of every request, so that those outstanding are those present.
#[test]
fn least_outstanding_of_one_balancer_is_join_the_shortest() {
    for capacity in [None, Some(2)] {
        let with = |policy| balanced(policy, 3, 2400.0, (1000.0, capacity), 5.0).whole;
        let shortest = with(PolicyName::JoinShortestQueue);
        assert_eq!(with(PolicyName::LeastOutstanding), shortest);
        assert_ne!(with(PolicyName::PowerOfTwo), shortest);
    }
}

/// The mean field is a limit for many stations; of 50, at a utilization of 0.7, it is taken to be
/// within 2%.
#[test]
fn power_of_two_of_many() {
    let (n, lambda, mu) = (50, 700.0, 1000.0);
    let with = |policy| {
        balanced(policy, n, n as f64 * lambda, (mu, None), 2.0)
            .whole
            .sojourn
            .mean
    };
    assert_within(
        "power of two mean sojourn time",
        theory::power_of_d_mean_sojourn_time(lambda, mu, 2).unwrap(),
        0.02,
        with(PolicyName::PowerOfTwo),
        with(PolicyName::JoinShortestQueue),
    );
}

/// Every second arrival of a Poisson process: gaps of two exponential stages.
#[test]
fn round_robin_makes_arrivals_regular() {
    let (lambda, mu) = (1200.0, 1000.0);
    let with = |policy| balanced(policy, 2, lambda, (mu, None), 150.0);
    let (right, wrong) = (with(PolicyName::RoundRobin), with(PolicyName::Random));
    let interarrival = Interarrival::Gamma {
        mean: 2.0 / lambda,
        cv: 0.5f64.sqrt(),
    };
    for name in ["station-0", "station-1"] {
        assert_theory(
            &format!("round robin mean waiting time at {name}"),
            theory::gim1_mean_waiting_time(interarrival, mu).unwrap(),
            right.stages[name].waiting.mean,
            wrong.stages[name].waiting.mean,
        );
    }
    assert_theory(
        "random choice mean waiting time",
        theory::mmc_mean_waiting_time(lambda / 2.0, mu, 1).unwrap(),
        wrong.stages["station-0"].waiting.mean,
        right.stages["station-0"].waiting.mean,
    );
}
