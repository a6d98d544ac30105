//! Classes of requests, and servers that are shared or taken over.

use super::chain::{expect, stationary};
use super::*;

#[test]
fn sharing_by_weights_is_its_chain() {
    let classes = [
        SharingClass {
            lambda: 0.5,
            mu: 2.0,
            weight: 3.0,
        },
        SharingClass {
            lambda: 0.8,
            mu: 4.0,
            weight: 1.0,
        },
    ];
    let states = stationary([0_u32; 2], |&n| {
        let shares = [0, 1].map(|i| f64::from(n[i]) * classes[i].weight);
        let mut moves = vec![];
        for (i, class) in classes.iter().enumerate() {
            let mut next = n;
            next[i] += 1;
            moves.push((next, class.lambda));
            if n[i] > 0 {
                next[i] -= 2;
                moves.push((next, class.mu * shares[i] / (shares[0] + shares[1])));
            }
        }
        within(moves, |n| n.iter().all(|&n| n <= 36))
    });
    let found = discriminatory_mean_sojourn_times(&classes).unwrap();
    for i in 0..2 {
        let number = expect(&states, |n| f64::from(n[i]));
        assert_close(found[i], number / classes[i].lambda, 1e-8);
    }
}

#[test]
fn sharing_by_weights_lies_between_equal_shares_and_priorities() {
    let class = |lambda, mu, weight| SharingClass { lambda, mu, weight };
    let equal = [
        class(0.5, 2.0, 7.0),
        class(0.8, 4.0, 7.0),
        class(0.3, 1.0, 7.0),
    ];
    for (found, own) in discriminatory_mean_sojourn_times(&equal)
        .unwrap()
        .iter()
        .zip(&equal)
    {
        assert_close(*found, 1.0 / own.mu / (1.0 - 0.75), 1e-12);
    }
    let unequal = [
        class(0.5, 2.0, 1e12),
        class(0.8, 4.0, 1e6),
        class(0.3, 1.0, 1.0),
    ];
    let found = discriminatory_mean_sojourn_times(&unequal).unwrap();
    let priorities = unequal.map(|class| PriorityClass {
        lambda: class.lambda,
        mean_service: 1.0 / class.mu,
        cv: 1.0,
    });
    let expected = preemptive_mean_sojourn_times(&priorities);
    // The first class shares with itself, which changes nothing for exponential service times.
    for (found, expected) in found.iter().zip(expected) {
        assert_close(*found, expected.unwrap(), 1e-5);
    }
}

#[test]
fn equal_shares_do_not_depend_on_the_distribution_of_service() {
    let (lambda, stage) = (1.0, 4.0);
    // Requests in their first and second stage.
    let states = stationary((0_u32, 0_u32), |&(first, second)| {
        let rate = |n: u32| stage * f64::from(n) / f64::from((first + second).max(1));
        let mut moves = vec![((first + 1, second), lambda)];
        if first > 0 {
            moves.push(((first - 1, second + 1), rate(first)));
        }
        if second > 0 {
            moves.push(((first, second - 1), rate(second)));
        }
        within(moves, |n| n.0 + n.1 <= 36)
    });
    let number = expect(&states, |n| f64::from(n.0 + n.1));
    assert_close(
        mg1_ps_mean_sojourn_time(lambda, 0.5).unwrap(),
        number / lambda,
        1e-8,
    );
    assert_close(
        mg1_ps_expected_sojourn_time(lambda, 0.5, 0.2).unwrap(),
        0.4,
        1e-12,
    );
}

#[test]
fn who_comes_last_takes_over_whatever_the_distribution_of_service() {
    let (lambda, stage) = (0.1, 2.0);
    // The stages of all requests, the last in service.
    let states = stationary(vec![], |stack: &Vec<u8>| {
        let mut moves = vec![([stack.as_slice(), &[1]].concat(), lambda)];
        if let Some((last, below)) = stack.split_last() {
            let next = if *last == 1 {
                [below, &[2]].concat()
            } else {
                below.to_vec()
            };
            moves.push((next, stage));
        }
        within(moves, |stack| stack.len() <= 7)
    });
    let number = expect(&states, |stack| stack.len() as f64);
    let found = mg1_lifo_preemptive_mean_sojourn_time(lambda, 1.0).unwrap();
    assert_close(found, number / lambda, 1e-5);
}

/// First class exponential, second Erlang with two stages.
const CLASSES: [PriorityClass; 2] = [
    PriorityClass {
        lambda: 0.5,
        mean_service: 0.5,
        cv: 1.0,
    },
    PriorityClass {
        lambda: 0.4,
        mean_service: 0.6,
        cv: std::f64::consts::FRAC_1_SQRT_2,
    },
];
const FIRST: f64 = 1.0 / 0.5;
const STAGE: f64 = 2.0 / 0.6;

#[test]
fn priorities_without_preemption_are_their_chain() {
    // Waiting, and in service: nobody, the first class, the second in either stage.
    let start = |n: [u32; 2]| match n {
        [0, 0] => (n, 0_u8),
        [0, m] => ([0, m - 1], 2),
        [k, m] => ([k - 1, m], 1),
    };
    let states = stationary(([0_u32; 2], 0_u8), |&(n, server)| {
        let arrival = |n| if server == 0 { start(n) } else { (n, server) };
        let mut moves = vec![
            (arrival([n[0] + 1, n[1]]), CLASSES[0].lambda),
            (arrival([n[0], n[1] + 1]), CLASSES[1].lambda),
        ];
        match server {
            0 => {}
            1 => moves.push((start(n), FIRST)),
            2 => moves.push(((n, 3), STAGE)),
            _ => moves.push((start(n), STAGE)),
        }
        within(moves, |state| state.0.iter().all(|&n| n <= 28))
    });
    let found = nonpreemptive_mean_waiting_times(&CLASSES).unwrap();
    for i in 0..2 {
        let waiting = expect(&states, |state| f64::from(state.0[i]));
        assert_close(found[i], waiting / CLASSES[i].lambda, 1e-6);
    }
}

#[test]
fn priorities_with_preemption_are_their_chain() {
    // Number in system of either class, and whether the second's first has done its first stage.
    let states = stationary((0_u32, 0_u32, false), |&(n, m, half)| {
        let mut moves = vec![
            ((n + 1, m, half), CLASSES[0].lambda),
            ((n, m + 1, half), CLASSES[1].lambda),
        ];
        match (n, m, half) {
            (0, 0, _) => {}
            (0, _, false) => moves.push(((0, m, true), STAGE)),
            (0, _, true) => moves.push(((0, m - 1, false), STAGE)),
            _ => moves.push(((n - 1, m, half), FIRST)),
        }
        within(moves, |state| state.0 <= 20 && state.1 <= 40)
    });
    let found = preemptive_mean_sojourn_times(&CLASSES);
    for (i, number) in [
        expect(&states, |state| f64::from(state.0)),
        expect(&states, |state| f64::from(state.1)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_close(found[i].unwrap(), number / CLASSES[i].lambda, 1e-6);
    }
}

#[test]
fn priorities_at_several_servers_are_their_chain() {
    let (lambdas, mu, c) = ([0.9, 0.7], 1.5, 2);
    let states = stationary((0_u32, [0_u32; 2]), |&(busy, n)| {
        let mut moves = vec![];
        for i in 0..2 {
            let mut next = n;
            next[i] += 1;
            moves.push((if busy < c { (busy + 1, n) } else { (c, next) }, lambdas[i]));
        }
        if busy > 0 {
            let next = match n {
                [0, 0] => (busy - 1, n),
                [0, m] => (busy, [0, m - 1]),
                [k, m] => (busy, [k - 1, m]),
            };
            moves.push((next, f64::from(busy) * mu));
        }
        within(moves, |state| state.1.iter().all(|&n| n <= 36))
    });
    let found = mmc_nonpreemptive_mean_waiting_times(&lambdas, mu, c).unwrap();
    for i in 0..2 {
        let waiting = expect(&states, |state| f64::from(state.1[i]));
        assert_close(found[i], waiting / lambdas[i], 1e-7);
    }
}

#[test]
fn one_class_waits_as_without_priorities() {
    let class = PriorityClass {
        lambda: 0.7,
        mean_service: 1.0,
        cv: 1.7,
    };
    let plain = mg1_mean_waiting_time(0.7, 1.0, 1.7).unwrap();
    assert_close(
        nonpreemptive_mean_waiting_times(&[class]).unwrap()[0],
        plain,
        1e-12,
    );
    assert_close(
        preemptive_mean_sojourn_times(&[class])[0].unwrap(),
        plain + 1.0,
        1e-12,
    );
    let several = mmc_nonpreemptive_mean_waiting_times(&[2.5], 1.0, 3).unwrap();
    assert_close(
        several[0],
        mmc_mean_waiting_time(2.5, 1.0, 3).unwrap(),
        1e-12,
    );
}

#[test]
fn what_preempts_keeps_its_steady_state_under_overload() {
    let class = PriorityClass {
        lambda: 0.6,
        mean_service: 1.0,
        cv: 1.0,
    };
    let found = preemptive_mean_sojourn_times(&[class, class, class]);
    assert_close(found[0].unwrap(), 2.5, 1e-12);
    assert_eq!(found[1..], [None, None]);
}
