//! Several stations.

use super::chain::{expect, stationary};
use super::*;

#[test]
fn two_stations_with_feedback_are_their_chain() {
    let stations = [
        OpenStation {
            external: 0.6,
            mu: 3.0,
            c: 1,
            routing: vec![0.1, 0.5],
        },
        OpenStation {
            external: 0.2,
            mu: 0.8,
            c: 2,
            routing: vec![0.3, 0.0],
        },
    ];
    let states = stationary([0_u32; 2], |&n| {
        let mut moves = vec![];
        for (i, station) in stations.iter().enumerate() {
            let mut next = n;
            next[i] += 1;
            moves.push((next, station.external));
            if n[i] == 0 {
                continue;
            }
            next[i] -= 2;
            let rate = station.mu * f64::from(n[i].min(station.c));
            moves.push((next, rate * (1.0 - station.routing.iter().sum::<f64>())));
            let mut other = next;
            other[1 - i] += 1;
            moves.push((other, rate * station.routing[1 - i]));
        }
        within(moves, |n| n.iter().all(|&n| n <= 36))
    });
    let found = open_network(&stations).unwrap();
    let number: f64 = expect(&states, |n| f64::from(n[0] + n[1]));
    assert_close(found.mean_sojourn_time, number / 0.8, 1e-8);
    for i in 0..2 {
        let number = expect(&states, |n| f64::from(n[i]));
        assert_close(
            found.arrival_rates[i] * found.sojourn_times[i],
            number,
            1e-8,
        );
    }
}

#[test]
fn an_open_network_needs_ways_out_and_arrivals() {
    let station = |external, p| OpenStation {
        external,
        mu: 1.0,
        c: 1,
        routing: vec![p],
    };
    assert_close(
        open_network(&[station(0.2, 0.5)])
            .unwrap()
            .mean_sojourn_time,
        1.0 / 0.3,
        1e-12,
    );
    assert_eq!(open_network(&[station(0.2, 1.0)]), None);
    assert_eq!(open_network(&[station(0.6, 0.5)]), None);
    assert_eq!(open_network(&[station(0.0, 0.5)]), None);
    assert_eq!(open_network(&[]), None);
}

#[test]
fn a_closed_network_is_its_chain() {
    let stations = [
        ClosedStation::Queueing { demand: 0.5, c: 1 },
        ClosedStation::Queueing { demand: 1.1, c: 2 },
        ClosedStation::Delay { demand: 2.0 },
    ];
    for population in [1_u32, 2, 5, 12] {
        // The third station has the rest.
        let states = stationary((0, 0), |&(a, b): &(u32, u32)| {
            let rest = population - a - b;
            let mut moves = vec![];
            if a > 0 {
                moves.push(((a - 1, b + 1), 1.0 / 0.5));
            }
            if b > 0 {
                moves.push(((a, b - 1), f64::from(b.min(2)) / 1.1));
            }
            if rest > 0 {
                moves.push(((a + 1, b), f64::from(rest) / 2.0));
            }
            moves
        });
        let found = closed_network(&stations, population).unwrap();
        let throughput = expect(&states, |n| f64::from(u8::from(n.0 > 0)) / 0.5);
        assert_close(found.throughput, throughput, 1e-12);
        let first = expect(&states, |n| f64::from(n.0));
        let second = expect(&states, |n| f64::from(n.1));
        let third = f64::from(population) - first - second;
        for (i, number) in [first, second, third].into_iter().enumerate() {
            assert_close(found.mean_numbers[i], number, 1e-11);
            assert_close(found.residence_times[i], number / throughput, 1e-11);
        }
    }
}

/// Throughput by exact mean value analysis (Reiser and Lavenberg, 1980) of a delay and stations of
/// one server.
fn mean_value_analysis(delay: f64, demands: &[f64], population: u32) -> f64 {
    let (mut numbers, mut throughput) = (vec![0.0; demands.len()], 0.0);
    for n in 1..=population {
        let times: Vec<f64> = demands
            .iter()
            .zip(&numbers)
            .map(|(d, q)| d * (1.0 + q))
            .collect();
        throughput = f64::from(n) / (delay + times.iter().sum::<f64>());
        numbers = times.iter().map(|time| time * throughput).collect();
    }
    throughput
}

#[test]
fn a_closed_network_has_the_means_of_mean_value_analysis() {
    let queueing = |demand| ClosedStation::Queueing { demand, c: 1 };
    for (delay, demands, population) in [
        (3.0, vec![0.2, 0.25, 0.1], 7),
        (0.0, vec![1e-3; 5], 1000),
        (900.0, vec![1.0, 0.99], 1000),
        (1.0, vec![1.0, 0.9999], 1000),
        (1e5, vec![1.0], 50),
        (1e-5, (1..40).map(f64::from).collect(), 60),
    ] {
        let mut stations: Vec<_> = demands.iter().map(|&demand| queueing(demand)).collect();
        stations.push(ClosedStation::Delay { demand: delay });
        let found = closed_network(&stations, population).unwrap();
        let expected = mean_value_analysis(delay, &demands, population);
        assert_close(found.throughput, expected, 1e-10);
        assert_close(
            found.mean_numbers.iter().sum(),
            f64::from(population),
            1e-10,
        );
    }
}

#[test]
fn many_servers_in_a_closed_network_are_a_repair_shop() {
    // Servers for all are a delay; servers for some, the birth-death process of M/M/c//N.
    let network = |c, population| {
        let servers = ClosedStation::Queueing { demand: 1.0, c };
        closed_network(&[servers, ClosedStation::Delay { demand: 2.0 }], population).unwrap()
    };
    assert_close(network(64, 60).throughput, 20.0, 1e-12);
    for (c, population) in [(16, 40), (16, 64), (40, 400)] {
        let states = stationary(0_u32, |&n| {
            let mut moves = vec![];
            if n < population {
                moves.push((n + 1, f64::from(population - n) / 2.0));
            }
            if n > 0 {
                moves.push((n - 1, f64::from(n.min(c))));
            }
            moves
        });
        let expected = expect(&states, |&n| f64::from(n.min(c)));
        assert_close(network(c, population).throughput, expected, 1e-11);
    }
}

#[test]
fn a_closed_network_may_be_empty_but_not_without_work() {
    let stations = [ClosedStation::Queueing { demand: 0.5, c: 1 }];
    let empty = closed_network(&stations, 0).unwrap();
    assert_eq!((empty.throughput, empty.residence_times), (0.0, vec![0.5]));
    assert_eq!(
        closed_network(&[ClosedStation::Delay { demand: 0.0 }], 3),
        None
    );
    assert_eq!(
        closed_network(&[ClosedStation::Queueing { demand: 1.0, c: 0 }], 3),
        None
    );
    assert_eq!(closed_network(&[], 3), None);
    let idle = [stations[0], ClosedStation::Delay { demand: 0.0 }];
    let found = closed_network(&idle, 3).unwrap();
    assert_close(found.throughput, 2.0, 1e-12);
    assert_close(found.mean_numbers[0], 3.0, 1e-12);
}

#[test]
fn a_saturated_pair_is_its_chain() {
    for (mu1, mu2, buffer) in [(2.0, 2.0, 0), (2.0, 3.0, 1), (3.0, 2.0, 4), (1.0, 1.0, 7)] {
        // In the buffer, whether the first server is blocked, whether the second works.
        let states = stationary((0_u32, false, false), |&(waiting, blocked, working)| {
            let mut moves = vec![];
            if !blocked {
                moves.push(match (working, waiting < buffer) {
                    (false, _) => ((waiting, false, true), mu1),
                    (true, true) => ((waiting + 1, false, true), mu1),
                    (true, false) => ((waiting, true, true), mu1),
                });
            }
            if working {
                moves.push(match (waiting, blocked) {
                    (_, true) => ((waiting, false, true), mu2),
                    (0, false) => ((0, false, false), mu2),
                    (n, false) => ((n - 1, false, true), mu2),
                });
            }
            moves
        });
        let throughput = expect(&states, |state| if state.2 { mu2 } else { 0.0 });
        assert_close(
            saturated_pair_throughput(mu1, mu2, buffer),
            throughput,
            1e-12,
        );
        let bounded = mmck(mu1, mu2, 1, buffer + 2).unwrap().throughput;
        assert_close(saturated_pair_throughput(mu1, mu2, buffer), bounded, 1e-12);
    }
    assert_close(
        saturated_pair_throughput(5.0, 5.0, 3),
        5.0 * 5.0 / 6.0,
        1e-15,
    );
    assert_close(saturated_pair_throughput(1e3, 1.0, 1000), 1.0, 1e-15);
}

#[test]
fn fork_and_join_is_its_chain() {
    let (lambda, mu) = (1.0, 2.0);
    let states = stationary([0_u32; 2], |&[a, b]| {
        let mut moves = vec![([a + 1, b + 1], lambda)];
        if a > 0 {
            moves.push(([a - 1, b], mu));
        }
        if b > 0 {
            moves.push(([a, b - 1], mu));
        }
        within(moves, |n| n.iter().all(|&n| n <= 36))
    });
    // Those at either server are the last to arrive.
    let number = expect(&states, |[a, b]| f64::from(*a.max(b)));
    let found = fork_join_two_mean_sojourn_time(lambda, mu).unwrap();
    assert_close(found, number / lambda, 1e-8);
}

#[test]
fn joining_the_shorter_of_two_is_its_chain() {
    for (lambda, mu) in [(0.2, 1.0), (1.2, 1.0), (3.0, 2.0)] {
        // Fewer, more.
        let states = stationary([0_u32; 2], |&[few, many]| {
            let mut joined = [few + 1, many];
            joined.sort_unstable();
            let mut moves = vec![(joined, lambda)];
            if few > 0 {
                moves.push(([few - 1, many], mu));
            }
            if many > 0 {
                let mut left = [few, many - 1];
                left.sort_unstable();
                moves.push((left, mu));
            }
            within(moves, |n| n[1] <= 45)
        });
        let number = expect(&states, |n| f64::from(n[0] + n[1]));
        assert_close(jsq_two_mean_number(lambda, mu).unwrap(), number, 1e-8);
        let sojourn = jsq_two_mean_sojourn_time(lambda, mu).unwrap();
        assert_close(sojourn, number / lambda, 1e-8);
    }
}

#[test]
fn joining_the_shorter_of_two_lies_between_one_line_and_two() {
    for rho in [0.95, 0.999, 0.999_99] {
        let found = jsq_two_mean_sojourn_time(2.0 * rho, 1.0).unwrap();
        let one_line = mmc_mean_sojourn_time(2.0 * rho, 1.0, 2).unwrap();
        assert!(
            one_line < found && found < one_line + 1.0,
            "{found} at {rho}"
        );
    }
}

#[test]
fn the_power_of_choices_is_where_the_mean_field_settles() {
    for (rho, d) in [(0.7, 2), (0.8, 3), (0.5, 1)] {
        // Shares of the servers with at least i requests.
        let mut shares = vec![0.0_f64; 60];
        shares[0] = 1.0;
        for _ in 0..20_000 {
            let old = shares.clone();
            for i in 1..59 {
                let arrivals = old[i - 1].powi(d) - old[i].powi(d);
                shares[i] += 0.05 * (rho * arrivals - (old[i] - old[i + 1]));
            }
        }
        let number: f64 = shares[1..].iter().sum();
        let found = power_of_d_mean_sojourn_time(rho * 4.0, 4.0, d as u32).unwrap();
        assert_close(found, number / rho / 4.0, 1e-9);
    }
    let one = power_of_d_mean_sojourn_time(1.0, 2.0, 1).unwrap();
    assert_close(one, mm1_mean_sojourn_time(1.0, 2.0).unwrap(), 1e-12);
}
