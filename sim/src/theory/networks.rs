//! Networks of stations: open and closed ones with product form, and two stations with a bounded
//! buffer between them.

use super::linear::solve;
use super::{mmc_mean_sojourn_time, utilization};

/// A station of an open network.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenStation {
    /// Arrival rate from outside, per second.
    pub external: f64,
    /// Service rate of a server, per second.
    pub mu: f64,
    /// Number of servers.
    pub c: u32,
    /// Probability that a request goes from here to each of the stations; otherwise it leaves.
    pub routing: Vec<f64>,
}

/// What an open network gives.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenNetwork {
    /// Arrival rate at each station, per second, from outside and from stations.
    pub arrival_rates: Vec<f64>,
    /// Mean sojourn time of a visit to each station, in seconds.
    pub sojourn_times: Vec<f64>,
    /// Mean sojourn time in the whole network, all visits of a request together, in seconds.
    pub mean_sojourn_time: f64,
}

/// Open network of M/M/c stations with Poisson arrivals.
///
/// The arrival rates solve `λ_j = γ_j + Σ_i λ_i p_ij`, each station is M/M/c with its rate, and
/// Little's law gives `Σ_j λ_j T_j / Σ_j γ_j` for the whole; Jackson (1957), Operations Research
/// 5(4). `None` if a station has no steady state, if requests never leave or if none arrive.
///
/// # Panics
/// If a station's routing has not one probability for each station.
pub fn open_network(stations: &[OpenStation]) -> Option<OpenNetwork> {
    let n = stations.len();
    assert!(
        stations.iter().all(|station| station.routing.len() == n),
        "routing needs {n} probabilities at every station"
    );
    let entry =
        |to: usize, from: usize| f64::from(u8::from(to == from)) - stations[from].routing[to];
    let matrix = (0..n)
        .map(|to| (0..n).map(|from| entry(to, from)).collect())
        .collect();
    let external = stations
        .iter()
        .map(|station| vec![station.external])
        .collect();
    let arrival_rates = solve(matrix, external)?.concat();
    let sojourn_times: Vec<f64> = stations
        .iter()
        .zip(&arrival_rates)
        .map(|(station, &lambda)| mmc_mean_sojourn_time(lambda, station.mu, station.c))
        .collect::<Option<_>>()?;
    let entering: f64 = stations.iter().map(|station| station.external).sum();
    let number: f64 = arrival_rates
        .iter()
        .zip(&sojourn_times)
        .map(|(lambda, t)| lambda * t)
        .sum();
    (entering > 0.0).then(|| OpenNetwork {
        arrival_rates,
        sojourn_times,
        mean_sojourn_time: number / entering,
    })
}

/// A station of a closed network.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ClosedStation {
    /// Servers with one waiting line, first come, first served with exponential service times; or
    /// processor sharing over them, at most one a request, with any.
    Queueing {
        /// Mean service time of a request in all its visits of a cycle together, in seconds.
        demand: f64,
        /// Number of servers.
        c: u32,
    },
    /// A delay without waiting, think time for one, of any distribution.
    Delay {
        /// Mean time of a request in all its visits of a cycle together, in seconds.
        demand: f64,
    },
}

impl ClosedStation {
    fn demand(self) -> f64 {
        match self {
            ClosedStation::Queueing { demand, .. } | ClosedStation::Delay { demand } => demand,
        }
    }

    /// Mean time between departures while `n` requests are here.
    fn pace(self, n: u32) -> f64 {
        match self {
            ClosedStation::Queueing { demand, c } => demand / f64::from(n.min(c)),
            ClosedStation::Delay { demand } => demand / f64::from(n),
        }
    }
}

/// What a closed network gives.
#[derive(Clone, PartialEq, Debug)]
pub struct ClosedNetwork {
    /// Cycles per second, of all requests together.
    pub throughput: f64,
    /// Mean sojourn time at each station, all visits of a cycle together, in seconds.
    pub residence_times: Vec<f64>,
    /// Mean number at each station.
    pub mean_numbers: Vec<f64>,
}

/// Closed network with product form, in which `population` requests of one class go round.
///
/// By convolution of `f_i(n) = Π_{m <= n} d_i / min(m, c_i)` over the stations: the throughput is
/// `G(N - 1) / G(N)`; Buzen (1973), Communications of the ACM 16(9); Reiser and Kobayashi (1975),
/// IBM Journal of Research and Development 19(3). It gives what exact mean value analysis gives
/// (Reiser and Lavenberg, 1980, Journal of the ACM 27(2)), without its differences of nearly equal
/// probabilities at stations of several servers. Time grows with the square of `population` and of
/// the number of stations. Nothing waits if `population` is zero: residence times are demands.
/// `None` if a station has no servers or all demands are zero.
pub fn closed_network(stations: &[ClosedStation], population: u32) -> Option<ClosedNetwork> {
    let demands: Vec<f64> = stations.iter().map(|station| station.demand()).collect();
    let total: f64 = demands.iter().sum();
    let without_servers =
        |station: &ClosedStation| matches!(station, ClosedStation::Queueing { c: 0, .. });
    if stations.iter().any(without_servers) || total <= 0.0 || !total.is_finite() {
        return None;
    }
    if population == 0 {
        let mean_numbers = vec![0.0; stations.len()];
        return Some(ClosedNetwork {
            throughput: 0.0,
            residence_times: demands,
            mean_numbers,
        });
    }
    // About the time between cycles, so that no product leaves the range of numbers.
    let scale = stations
        .iter()
        .map(|station| station.pace(population))
        .fold(total / f64::from(population), f64::max);
    let factors: Vec<Vec<f64>> = stations
        .iter()
        .map(|station| factor(*station, scale, population))
        .collect();
    let all = convolve_all(factors.iter(), population);
    let n = population as usize;
    let throughput = all[n - 1] / all[n] / scale;
    let mean_number = |station: usize| {
        let others = factors
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != station);
        let rest = convolve_all(others.map(|(_, factor)| factor), population);
        let weights = factors[station].iter().zip(rest.iter().rev());
        let (mut sum, mut number) = (0.0, 0.0);
        for (k, (own, others)) in (0_u32..).zip(weights) {
            sum += own * others;
            number += f64::from(k) * own * others;
        }
        number / sum
    };
    let mean_numbers: Vec<f64> = (0..stations.len()).map(mean_number).collect();
    let residence_times = mean_numbers
        .iter()
        .map(|number| number / throughput)
        .collect();
    Some(ClosedNetwork {
        throughput,
        residence_times,
        mean_numbers,
    })
}

/// Weights of `0..=population` requests at a station, in units of the largest.
fn factor(station: ClosedStation, scale: f64, population: u32) -> Vec<f64> {
    let mut logarithm = 0.0_f64;
    let mut logarithms = vec![logarithm];
    for n in 1..=population {
        logarithm += (station.pace(n) / scale).ln();
        logarithms.push(logarithm);
    }
    let largest = logarithms.iter().copied().fold(0.0, f64::max);
    logarithms.iter().map(|l| (l - largest).exp()).collect()
}

/// Convolution of the factors up to `population`, in units of its largest.
fn convolve_all<'a>(factors: impl Iterator<Item = &'a Vec<f64>>, population: u32) -> Vec<f64> {
    let mut result = vec![0.0; population as usize + 1];
    result[0] = 1.0;
    for factor in factors {
        let at = |n: usize| (0..=n).map(|k| result[k] * factor[n - k]).sum();
        let next: Vec<f64> = (0..result.len()).map(at).collect();
        let largest = next.iter().copied().fold(0.0, f64::max);
        result = next.iter().map(|weight| weight / largest).collect();
    }
    result
}

/// Throughput of two stations of one server each in a line, per second, when the first never lacks
/// requests and at most `buffer` wait between them; a request that finds the buffer full blocks the
/// first server after its service until there is room.
///
/// `μ1 (1 - ρ^n) / (1 - ρ^(n + 1))` with `ρ = μ1 / μ2` and `n = buffer + 2`, `μ n / (n + 1)` for
/// equal rates; Hunt (1956), Operations Research 4(6). With Poisson arrivals before the first
/// station there is a steady state below this rate.
pub fn saturated_pair_throughput(mu1: f64, mu2: f64, buffer: u32) -> f64 {
    let n = f64::from(buffer) + 2.0;
    // The same with the rates exchanged, and without overflow if ρ is at most one.
    let (slower, faster) = (mu1.min(mu2), mu1.max(mu2));
    let logarithm = (slower / faster).ln();
    let share = if utilization(slower / faster, 1.0).is_some() {
        (n * logarithm).exp_m1() / ((n + 1.0) * logarithm).exp_m1()
    } else {
        n / (n + 1.0)
    };
    slower * share
}
