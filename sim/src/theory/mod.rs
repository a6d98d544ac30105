//! Queueing theory: what a simulated station or pipeline must give, and a first estimate without
//! a simulation.
//!
//! Closed forms where there are some, else algorithms that are exact up to rounding (of less than
//! 1e-9, relative); a function whose result is an approximation or a limit says so in its name or
//! its first line.
//!
//! # Symbols
//! | symbol | meaning |
//! |---|---|
//! | `lambda`, λ | arrival rate, in requests per second; interarrival times are exponential unless others are named |
//! | `mu`, μ | service rate of one server, in requests per second; service times are exponential |
//! | `mean_service`, S | mean service time, in seconds |
//! | `cv` | coefficient of variation: standard deviation by mean |
//! | `c` | number of servers |
//! | ρ | utilization, λ S by the number of servers |
//!
//! Times are in seconds, waiting times are those in queue only, and sojourn times are waiting plus
//! service. Numbers are time averages. Everything is of the steady state, and `None` says that
//! there is none: more work arrives than the servers can do. Service is first come, first served
//! unless another discipline is named.
//!
//! Arguments must be finite, rates of service and mean times positive, all else from zero up.
//! Outside that the results mean nothing.
//!
//! Left out: transients, networks without product form, and distributions other than those of the
//! waiting times of M/M/c, M/D/1 and GI/M/1 and of the sojourn time of M/M/1.

mod batches;
mod general;
mod linear;
mod markovian;
mod modulated;
mod networks;
mod parallel;
mod priority;
mod sharing;
#[cfg(test)]
mod tests;

pub use batches::{
    batch_mg1_mean_waiting_time, batch_mm1_mean_number, batch_mm1_mean_sojourn_time,
    batch_mm1_mean_waiting_time,
};
pub use general::{
    Interarrival, gim1_mean_waiting_time, gim1_waiting_probability, gim1_waiting_time_quantile,
    kingman_approximation, kingman_upper_bound, kraemer_langenbach_belz_approximation,
    md1_waiting_time_cdf, md1_waiting_time_quantile, mg1_lifo_waiting_time_second_moment,
    mg1_mean_waiting_time, mg1_waiting_time_second_moment,
};
pub use markovian::{
    ErlangA, Mmck, erlang_a, erlang_b, erlang_c, mg_infinity_mean_number, mm1_mean_number,
    mm1_mean_sojourn_time, mm1_sojourn_time_quantile, mm1_waiting_time_quantile,
    mmc_mean_sojourn_time, mmc_mean_waiting_time, mmc_waiting_time_quantile, mmc_waiting_time_tail,
    mmck,
};
pub use modulated::{
    mm1_breakdowns_mean_number, mm1_breakdowns_mean_sojourn_time, mmpp_m1_mean_number,
    mmpp_m1_mean_sojourn_time,
};
pub use networks::{
    ClosedNetwork, ClosedStation, OpenNetwork, OpenStation, closed_network, open_network,
    saturated_pair_throughput,
};
pub use parallel::{
    fork_join_two_mean_sojourn_time, jsq_two_mean_number, jsq_two_mean_sojourn_time,
    power_of_d_mean_sojourn_time,
};
pub use priority::{
    PriorityClass, mmc_nonpreemptive_mean_waiting_times, nonpreemptive_mean_waiting_times,
    preemptive_mean_sojourn_times,
};
pub use sharing::{
    SharingClass, discriminatory_mean_sojourn_times, mg1_lifo_preemptive_mean_sojourn_time,
    mg1_ps_expected_sojourn_time, mg1_ps_mean_sojourn_time, mm1_ps_sojourn_time_variance,
};

/// The utilization of `servers` servers to which `load` erlangs are offered, if it is below one.
fn utilization(load: f64, servers: f64) -> Option<f64> {
    (load >= 0.0 && load < servers).then_some(load / servers)
}

/// Where in `low..high` the predicate turns from true to false, by bisection.
fn turning_point(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || high <= middle || middle.is_nan() {
            return middle;
        }
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}
