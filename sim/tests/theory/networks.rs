//! Networks of stations: open, closed, with blocking, with tokens.

use schema::arrivals::ArrivalsFile;
use schema::distribution::Distribution;
use schema::scenario::{Discipline, Lot, Order, PlainKind, Station, TokensFile, WhenFull};
use schema::units::SimDuration;
use sim::queueing::{Clients, Network, Report};
use sim::theory::{self, ClosedStation, OpenStation};

use crate::fixture::{
    LONGER, assert_theory, client, constant, exponential, hyperexponential, poisson, run, secs,
};

/// Three stations with feedback, and arrivals from outside at two of them.
#[test]
fn jackson_network() {
    let names = ["a", "b", "c"];
    let stations = [
        (400.0, 1500.0, 1, [0.0, 0.5, 0.2]),
        (300.0, 800.0, 2, [0.2, 0.1, 0.3]),
        (0.0, 1000.0, 1, [0.4, 0.0, 0.0]),
    ];
    let with = |longer: f64| {
        let mut network = Network::new();
        let mut ids = Vec::new();
        for (name, (_, mu, c, _)) in names.into_iter().zip(stations) {
            ids.push(network.station(name, Station::fifo(c, exponential(longer / mu))));
        }
        for (index, (external, _, _, routing)) in stations.into_iter().enumerate() {
            let from = ids[index];
            for (to, probability) in ids.iter().zip(routing) {
                if probability > 0.0 {
                    network.route(from, *to, probability);
                }
            }
            if external > 0.0 {
                network.clients(Clients {
                    name: format!("clients-{index}"),
                    ..client(poisson(external), &[from])
                });
            }
        }
        run(&network, 60.0)
    };
    let (right, wrong) = (with(1.0), with(LONGER));
    let theory = theory::open_network(&stations.map(|(external, mu, c, routing)| OpenStation {
        external,
        mu,
        c,
        routing: routing.to_vec(),
    }))
    .unwrap();
    assert_theory(
        "Jackson network mean sojourn time",
        theory.mean_sojourn_time,
        right.whole.sojourn.mean,
        wrong.whole.sojourn.mean,
    );
    for (name, theory) in names.into_iter().zip(theory.sojourn_times) {
        assert_theory(
            &format!("Jackson network mean sojourn time at {name}"),
            theory,
            right.stages[name].sojourn.mean,
            wrong.stages[name].sojourn.mean,
        );
    }
}

fn closed_loop(count: u32, think: Distribution) -> Clients {
    Clients {
        count,
        ..client(ArrivalsFile::ClosedLoop { think }, &[])
    }
}

/// Throughput, and the mean sojourn time at each of the stations `names`.
fn assert_closed(
    what: &str,
    stations: &[ClosedStation],
    population: u32,
    names: &[&str],
    [right, wrong]: [Report; 2],
) {
    let theory = theory::closed_network(stations, population).expect("there is a steady state");
    assert_theory(
        &format!("{what} throughput"),
        theory.throughput,
        right.whole.throughput,
        wrong.whole.throughput,
    );
    for (name, theory) in names.iter().zip(theory.residence_times) {
        assert_theory(
            &format!("{what} mean sojourn time at {name}"),
            theory,
            right.stages[*name].sojourn.mean,
            wrong.stages[*name].sojourn.mean,
        );
    }
}

/// Clients that think, a station of one server and one of two.
#[test]
fn closed_network_of_clients_that_think() {
    let (one, two, think, population) = (1e-3, 1.8e-3, 4e-3, 8);
    let with = |longer: f64| {
        let mut network = Network::new();
        let path = vec![
            network.station("one", Station::fifo(1, exponential(longer * one))),
            network.station("two", Station::fifo(2, exponential(longer * two))),
        ];
        network.clients(Clients {
            path,
            ..closed_loop(population, exponential(think))
        });
        run(&network, 30.0)
    };
    let stations = [
        ClosedStation::Queueing { demand: one, c: 1 },
        ClosedStation::Queueing { demand: two, c: 2 },
        ClosedStation::Delay { demand: think },
    ];
    let found = [with(1.0), with(LONGER)];
    assert_closed(
        "closed FIFO network",
        &stations,
        population,
        &["one", "two"],
        found,
    );
}

/// Where each station is insensitive, the product form holds for any service times.
#[test]
fn closed_network_of_a_delay_and_sharing() {
    let (shared, delay, population) = (1e-3, 3e-3, 5);
    let uniform = |mean: f64| Distribution::Uniform {
        from: secs(0.0),
        to: secs(2.0 * mean),
    };
    let with = |longer: f64| {
        let mut network = Network::new();
        let sharing = Discipline::Sharing {
            cap: 1.0,
            limit: None,
        };
        let service = hyperexponential(longer * shared, 2.0);
        let path = vec![
            network.station("shared", Station::new(1, sharing, service)),
            network.station(
                "delay",
                Station::new(1, Discipline::Delay, uniform(longer * delay)),
            ),
        ];
        network.clients(Clients {
            path,
            ..closed_loop(population, constant(0.0))
        });
        run(&network, 40.0)
    };
    let stations = [
        ClosedStation::Queueing {
            demand: shared,
            c: 1,
        },
        ClosedStation::Delay { demand: delay },
    ];
    let found = [with(1.0), with(LONGER)];
    assert_closed(
        "closed insensitive network",
        &stations,
        population,
        &["shared", "delay"],
        found,
    );
}

/// The first station never lacks requests, and keeps those for whom the second has no room.
#[test]
fn a_saturated_line_blocks() {
    let (mu1, mu2, buffer) = (1000.0, 1100.0, 2);
    let with = |buffer: u32| {
        let mut network = Network::new();
        let second = Station {
            capacity: Some(1 + buffer),
            when_full: WhenFull::Block,
            ..Station::fifo(1, exponential(1.0 / mu2))
        };
        let path = vec![
            network.station("first", Station::fifo(1, exponential(1.0 / mu1))),
            network.station("second", second),
        ];
        network.clients(Clients {
            path,
            ..closed_loop(20, constant(0.0))
        });
        run(&network, 40.0).whole.throughput
    };
    assert_theory(
        "saturated line throughput",
        theory::saturated_pair_throughput(mu1, mu2, buffer),
        with(buffer),
        with(buffer + 1),
    );
}

/// A delay in which only those are who hold a token is a station of so many servers.
#[test]
fn tokens_are_servers() {
    let (lambda, mu, c) = (2100.0, 1000.0, 3);
    let with = |service| {
        let mut network = Network::new();
        let pool = network.stage("pool", PlainKind::Tokens(TokensFile { count: c, take: 1 }));
        let delay = Station::new(1, Discipline::Delay, exponential(service));
        let delay = network.station("delay", delay);
        let release = network.stage("release", PlainKind::Release(pool));
        network.clients(client(poisson(lambda), &[pool, delay, release]));
        run(&network, 70.0)
    };
    let (right, wrong) = (with(1.0 / mu), with(LONGER / mu));
    assert_theory(
        "mean waiting time for a token",
        theory::mmc_mean_waiting_time(lambda, mu, c).unwrap(),
        right.stages["pool"].waiting.mean,
        wrong.stages["pool"].waiting.mean,
    );
    assert_theory(
        "mean sojourn time with tokens",
        theory::mmc_mean_sojourn_time(lambda, mu, c).unwrap(),
        right.whole.sojourn.mean,
        wrong.whole.sojourn.mean,
    );
    assert_theory(
        "utilization of tokens",
        lambda / mu / f64::from(c),
        right.stages["pool"].utilization.unwrap(),
        wrong.stages["pool"].utilization.unwrap(),
    );
}

/// Those of a batch for whom there is no room stay at the first station too: nobody is at none.
#[test]
fn a_batch_that_blocks_stays() {
    let mut network = Network::new();
    let discipline = Discipline::Line {
        order: Order::Fifo,
        batch: Some(Lot {
            max: 3,
            delay: SimDuration::ZERO,
            per_request: SimDuration::ZERO,
        }),
    };
    let second = Station {
        capacity: Some(2),
        when_full: WhenFull::Block,
        ..Station::fifo(1, exponential(1e-3))
    };
    let path = vec![
        network.station("first", Station::new(1, discipline, exponential(2e-3))),
        network.station("second", second),
    ];
    network.clients(Clients {
        path,
        ..closed_loop(6, constant(0.0))
    });
    let report = run(&network, 1.0);
    let numbers = report
        .stages
        .values()
        .map(|stage| stage.number_in_system.value);
    let all = report.whole.number_in_system.value;
    assert!((numbers.sum::<f64>() - all).abs() < 1e-9 * all);
}
