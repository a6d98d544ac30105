//! Who is served next: sharing, priorities, the last first, turns.

use std::collections::BTreeMap;

use schema::distribution::Distribution;
use schema::scenario::{Discipline, Order, Station};
use schema::stages::ClassSummary;
use schema::units::SimDuration;
use sim::queueing::{Clients, Kind, Network};
use sim::theory::{self, PriorityClass, SharingClass};

use crate::fixture::{
    LONGER, STATION, assert_theory, client, constant, exponential, hyperexponential, kind, poisson,
    run, run_single, secs, single,
};

const SHARING: Discipline = Discipline::Sharing {
    cap: 1.0,
    limit: None,
};

const fn line(order: Order) -> Discipline {
    Discipline::Line { order, batch: None }
}

/// Mean sojourn time at one server of this discipline, for any service.
fn insensitive(what: &str, seconds: f64, discipline: &Discipline, law: fn(f64) -> Distribution) {
    let (lambda, service) = (500.0, 1e-3);
    let with = |service| {
        let station = Station::new(1, discipline.clone(), law(service));
        run_single(poisson(lambda), station, seconds).sojourn.mean
    };
    assert_theory(
        &format!("{what} mean sojourn time"),
        theory::mg1_ps_mean_sojourn_time(lambda, service).expect("there is a steady state"),
        with(service),
        with(LONGER * service),
    );
}

#[test]
fn sharing_with_constant_service() {
    insensitive("M/D/1-PS", 100.0, &SHARING, constant);
}

#[test]
fn sharing_with_exponential_service() {
    insensitive("M/M/1-PS", 100.0, &SHARING, exponential);
}

#[test]
fn sharing_with_bursty_service() {
    insensitive("M/H2/1-PS", 200.0, &SHARING, |mean| {
        hyperexponential(mean, 3.0)
    });
}

#[test]
fn preemptive_lifo_with_bursty_service() {
    let discipline = Discipline::Preemptive(Order::Lifo);
    insensitive("M/H2/1 preemptive LIFO", 400.0, &discipline, |mean| {
        hyperexponential(mean, 3.0)
    });
}

#[test]
fn preemptive_lifo_with_constant_service() {
    let discipline = Discipline::Preemptive(Order::Lifo);
    insensitive("M/D/1 preemptive LIFO", 200.0, &discipline, constant);
}

#[test]
fn sharing_of_several_servers() {
    let (lambda, mu, c) = (2100.0, 1000.0, 3);
    let with = |law: fn(f64) -> Distribution, servers| {
        let station = Station::new(servers, SHARING, law(1.0 / mu));
        run_single(poisson(lambda), station, 25.0).sojourn.mean
    };
    let theory = theory::mmc_mean_sojourn_time(lambda, mu, c).unwrap();
    for (what, law) in [
        (
            "M/M/3-PS mean sojourn time",
            exponential as fn(f64) -> Distribution,
        ),
        ("M/D/3-PS mean sojourn time", constant),
    ] {
        assert_theory(what, theory, with(law, c), with(law, c + 1));
    }
}

/// With the same draws, as a server that never holds two requests has nothing to share.
#[test]
fn sharing_among_one_is_fifo() {
    let with = |discipline| {
        let station = Station::new(1, discipline, exponential(1e-3));
        let report = run(&single(poisson(800.0), station), 10.0);
        (report.whole, report.stages)
    };
    let limited = |limit| {
        with(Discipline::Sharing {
            cap: 1.0,
            limit: Some(limit),
        })
    };
    let fifo = with(line(Order::Fifo));
    assert_eq!(limited(1), fifo);
    assert_ne!(limited(2), fifo);
}

/// Two classes, as many of the one as of the other, at one station; of its services only these
/// count.
fn two_classes(
    lambda: f64,
    kinds: [Kind; 2],
    station: Station,
    services: [Distribution; 2],
    seconds: f64,
) -> [ClassSummary; 2] {
    let mut network = Network::new();
    let names = kinds.each_ref().map(|kind| kind.name.clone());
    let station = Station {
        services: BTreeMap::from_iter(names.clone().into_iter().zip(services)),
        ..station
    };
    let station = network.station(STATION, station);
    network.clients(Clients {
        classes: kinds.to_vec(),
        ..client(poisson(lambda), &[station])
    });
    let mut report = run(&network, seconds);
    let station = report.stages.get_mut(STATION).expect("it is the station");
    names.map(|name| station.classes.remove(&name).expect("there are such"))
}

#[test]
fn sharing_by_weight() {
    let (lambda, services, weights) = (800.0, [0.5e-3, 1e-3], [3.0, 1.0]);
    let with = |weights: [f64; 2]| {
        let kinds = [kind("heavy", 0, weights[0]), kind("light", 0, weights[1])];
        let station = Station::new(1, SHARING, constant(1.0));
        two_classes(lambda, kinds, station, services.map(exponential), 100.0)
    };
    let class = |index: usize| SharingClass {
        lambda: lambda / 2.0,
        mu: 1.0 / services[index],
        weight: weights[index],
    };
    let theory = theory::discriminatory_mean_sojourn_times(&[class(0), class(1)]).unwrap();
    let (right, wrong) = (with(weights), with([1.0, 1.0]));
    for (index, name) in ["heavy", "light"].into_iter().enumerate() {
        assert_theory(
            &format!("weighted PS mean sojourn time, {name}"),
            theory[index],
            right[index].sojourn.mean,
            wrong[index].sojourn.mean,
        );
    }
}

const FIRST_AND_SECOND: [&str; 2] = ["first", "second"];

fn by_priority(discipline: Discipline, lambda: f64, services: [f64; 2]) -> [ClassSummary; 2] {
    let kinds = [0, 1].map(|index| kind(FIRST_AND_SECOND[index], index as u32, 1.0));
    let services = [exponential(services[0]), constant(services[1])];
    let station = Station::new(1, discipline, constant(1.0));
    two_classes(lambda, kinds, station, services, 150.0)
}

/// The first class exponential, the second constant.
fn priority_classes(lambda: f64, services: [f64; 2]) -> [PriorityClass; 2] {
    let class = |mean_service, cv| PriorityClass {
        lambda: lambda / 2.0,
        mean_service,
        cv,
    };
    [class(services[0], 1.0), class(services[1], 0.0)]
}

#[test]
fn priority_without_preemption() {
    let (lambda, services) = (800.0, [0.5e-3, 1e-3]);
    let theory = theory::nonpreemptive_mean_waiting_times(&priority_classes(lambda, services));
    let right = by_priority(line(Order::Priority), lambda, services);
    let wrong = by_priority(line(Order::Fifo), lambda, services);
    for (index, theory) in theory.unwrap().into_iter().enumerate() {
        assert_theory(
            &format!("priority mean waiting time, {}", FIRST_AND_SECOND[index]),
            theory,
            right[index].waiting.mean,
            wrong[index].waiting.mean,
        );
    }
}

#[test]
fn priority_with_preemption() {
    let (lambda, services) = (800.0, [0.5e-3, 1e-3]);
    let theory = theory::preemptive_mean_sojourn_times(&priority_classes(lambda, services));
    let right = by_priority(Discipline::Preemptive(Order::Priority), lambda, services);
    let wrong = by_priority(line(Order::Priority), lambda, services);
    for (index, theory) in theory.into_iter().enumerate() {
        assert_theory(
            &format!("preemptive mean sojourn time, {}", FIRST_AND_SECOND[index]),
            theory.unwrap(),
            right[index].sojourn.mean,
            wrong[index].sojourn.mean,
        );
    }
}

#[test]
fn priority_at_several_servers() {
    let (lambda, mu, c) = (1600.0, 1000.0, 2);
    let with = |order| {
        let kinds = [0, 1].map(|index| kind(FIRST_AND_SECOND[index], index as u32, 1.0));
        let station = Station::new(c, line(order), constant(1.0));
        let services = [exponential(1.0 / mu), exponential(1.0 / mu)];
        two_classes(lambda, kinds, station, services, 150.0)
    };
    let lambdas = [lambda / 2.0, lambda / 2.0];
    let theory = theory::mmc_nonpreemptive_mean_waiting_times(&lambdas, mu, c);
    let (right, wrong) = (with(Order::Priority), with(Order::Fifo));
    for (index, theory) in theory.unwrap().into_iter().enumerate() {
        assert_theory(
            &format!(
                "M/M/2 priority mean waiting time, {}",
                FIRST_AND_SECOND[index]
            ),
            theory,
            right[index].waiting.mean,
            wrong[index].waiting.mean,
        );
    }
}

/// No discipline that does not look at service times changes the mean; the spread it does.
#[test]
fn lifo_has_the_mean_waiting_time_of_fifo() {
    let (lambda, service) = (500.0, 1e-3);
    let with = |order, service| {
        let station = Station::new(1, line(order), constant(service));
        run_single(poisson(lambda), station, 200.0).waiting
    };
    let right = with(Order::Lifo, service);
    assert_theory(
        "M/D/1 LIFO mean waiting time",
        theory::mg1_mean_waiting_time(lambda, service, 0.0).unwrap(),
        right.mean,
        with(Order::Lifo, LONGER * service).mean,
    );
    let fifo = with(Order::Fifo, service);
    assert!(right.p99.low > fifo.p99.high, "LIFO has the longer tail");
}

/// With constant service, so that the discipline matters to the mean: in turns that last as long as
/// the service it is FIFO, in ever shorter ones ever more processor sharing.
#[test]
fn turns_tend_to_sharing() {
    let (lambda, service) = (500.0, 1e-3);
    let with = |discipline| {
        let station = Station::new(1, discipline, constant(service));
        run_single(poisson(lambda), station, 25.0).sojourn.mean
    };
    let slices = |slice: f64, switch: SimDuration| {
        with(Discipline::TimeSliced {
            slice: secs(slice * service),
            switch,
        })
    };
    let shared = with(SHARING).value;
    let turns = [1.0, 0.1, 0.01].map(|slice| slices(slice, SimDuration::ZERO));
    let differences = turns.map(|turns| (turns.value - shared).abs());
    assert!(
        differences[0] > 5.0 * differences[1] && differences[1] > 5.0 * differences[2],
        "{differences:?}"
    );
    assert_eq!(turns[0], with(line(Order::Fifo)));
    // A twentieth of a slice is lost with every turn.
    let switched = slices(0.01, secs(0.05 * 0.01 * service));
    assert!(switched.value > turns[2].value);
    let theory = theory::mg1_ps_mean_sojourn_time(lambda, service).unwrap();
    assert_theory("time-sliced mean sojourn time", theory, turns[2], switched);
}
