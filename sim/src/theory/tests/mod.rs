//! Each formula against a numerical solution of the chain it describes, a published value, or
//! another formula of which it is a special case.

mod batches;
mod chain;
mod classes;
mod general;
mod markovian;
mod networks;

use super::*;

#[track_caller]
fn assert_close(found: f64, expected: f64, relative: f64) {
    assert!(
        (found - expected).abs() <= relative * expected.abs(),
        "{found} is not {expected} to {relative}"
    );
}

/// The moves, with their rates, that do not leave the truncated states.
fn within<S>(moves: Vec<(S, f64)>, inside: impl Fn(&S) -> bool) -> Vec<(S, f64)> {
    moves
        .into_iter()
        .filter(|(state, rate)| *rate > 0.0 && inside(state))
        .collect()
}

#[test]
fn there_is_no_steady_state_at_a_utilization_of_one() {
    let constant = Interarrival::Constant { mean: 0.5 };
    let class = PriorityClass {
        lambda: 2.0,
        mean_service: 0.5,
        cv: 1.0,
    };
    let sharing = SharingClass {
        lambda: 2.0,
        mu: 2.0,
        weight: 1.0,
    };
    let found = [
        erlang_c(2, 2.0),
        mm1_mean_number(2.0, 2.0),
        mm1_mean_sojourn_time(2.0, 2.0),
        mm1_sojourn_time_quantile(2.0, 2.0, 0.5),
        mm1_waiting_time_quantile(2.0, 2.0, 0.5),
        mmc_mean_waiting_time(4.0, 2.0, 2),
        mmc_mean_sojourn_time(4.0, 2.0, 2),
        mmc_waiting_time_tail(4.0, 2.0, 2, 1.0),
        mmc_waiting_time_quantile(4.0, 2.0, 2, 0.5),
        erlang_a(4.0, 2.0, 2, 0.0).map(|a| a.abandonment),
        mg1_mean_waiting_time(2.0, 0.5, 0.0),
        mg1_waiting_time_second_moment(2.0, [0.5, 0.25, 0.125]),
        mg1_lifo_waiting_time_second_moment(2.0, [0.5, 0.25, 0.125]),
        md1_waiting_time_cdf(2.0, 0.5, 1.0),
        md1_waiting_time_quantile(2.0, 0.5, 0.5),
        gim1_waiting_probability(constant, 2.0),
        gim1_mean_waiting_time(constant, 2.0),
        gim1_waiting_time_quantile(constant, 2.0, 0.5),
        kingman_approximation(2.0, 0.5, 1.0, 1.0),
        kingman_upper_bound(2.0, 0.5, 1.0, 1.0),
        kraemer_langenbach_belz_approximation(2.0, 0.5, 1.0, 1.0),
        mg1_ps_mean_sojourn_time(2.0, 0.5),
        mg1_ps_expected_sojourn_time(2.0, 0.5, 0.1),
        mm1_ps_sojourn_time_variance(2.0, 2.0),
        mg1_lifo_preemptive_mean_sojourn_time(2.0, 0.5),
        discriminatory_mean_sojourn_times(&[sharing]).map(|times| times[0]),
        nonpreemptive_mean_waiting_times(&[class]).map(|times| times[0]),
        mmc_nonpreemptive_mean_waiting_times(&[1.0, 3.0], 2.0, 2).map(|times| times[0]),
        preemptive_mean_sojourn_times(&[class])[0],
        batch_mm1_mean_waiting_time(6.0, 2.0, 3),
        batch_mm1_mean_number(6.0, 2.0, 3),
        batch_mg1_mean_waiting_time(6.0, 0.5, 0.0, 3),
        mm1_breakdowns_mean_number(2.0, 4.0, 1.0, 1.0),
        mm1_breakdowns_mean_sojourn_time(2.0, 4.0, 1.0, 1.0),
        mmpp_m1_mean_number([1.0, 3.0], [1.0, 1.0], 2.0),
        mmpp_m1_mean_sojourn_time([1.0, 3.0], [1.0, 1.0], 2.0),
        fork_join_two_mean_sojourn_time(2.0, 2.0),
        jsq_two_mean_number(4.0, 2.0),
        jsq_two_mean_sojourn_time(4.0, 2.0),
        power_of_d_mean_sojourn_time(2.0, 2.0, 2),
    ];
    assert_eq!(found, [None; 40]);
}

#[test]
fn without_arrivals_nobody_waits() {
    let found = [
        mmc_mean_waiting_time(0.0, 2.0, 2),
        mm1_waiting_time_quantile(0.0, 2.0, 0.9),
        mmck(0.0, 2.0, 2, 5).map(|k| k.mean_waiting_time),
        erlang_a(0.0, 2.0, 2, 1.0).map(|a| a.mean_waiting_time_of_served),
        mg1_mean_waiting_time(0.0, 0.5, 2.0),
        md1_waiting_time_quantile(0.0, 0.5, 0.9),
        kingman_approximation(0.0, 0.5, 1.0, 1.0),
        kraemer_langenbach_belz_approximation(0.0, 0.5, 0.5, 1.0),
        batch_mm1_mean_waiting_time(0.0, 2.0, 3)
            .filter(|wait| *wait > 1e-15)
            .or(Some(0.0)),
        batch_mg1_mean_waiting_time(0.0, 0.5, 0.5, 3)
            .filter(|w| w.abs() > 1e-15)
            .or(Some(0.0)),
        power_of_d_mean_sojourn_time(0.0, 2.0, 2).map(|sojourn| sojourn - 0.5),
        jsq_two_mean_sojourn_time(0.0, 2.0).map(|sojourn| sojourn - 0.5),
        jsq_two_mean_number(0.0, 2.0),
    ];
    assert_eq!(found, [Some(0.0); 13]);
}

#[test]
fn what_is_no_number_has_no_steady_state() {
    assert_eq!(mm1_mean_number(f64::NAN, 1.0), None);
    assert_eq!(mm1_mean_number(1.0, f64::NAN), None);
    assert_eq!(
        gim1_mean_waiting_time(Interarrival::Constant { mean: f64::NAN }, 1.0),
        None
    );
    assert_eq!(batch_mg1_mean_waiting_time(1.0, f64::NAN, 0.0, 3), None);
    assert_eq!(mmpp_m1_mean_number([1.0; 2], [0.0; 2], 2.0), None);
    assert_eq!(jsq_two_mean_number(f64::INFINITY, 1.0), None);
    assert_eq!(mmck(1.0, 1.0, 0, 3), None);
    assert_eq!(erlang_a(1.0, 1.0, 0, 3.0), None);
}
