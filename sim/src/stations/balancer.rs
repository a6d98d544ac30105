//! Who of several serves a request.
//!
//! Of several that are equal to a rule, a balancer takes the next after the one that it chose last,
//! as nginx and HAProxy do: least_conn tries equals "in turn using a weighted round-robin balancing
//! method" (`ngx_http_upstream_module`), and with leastconn "round-robin is performed within groups of
//! servers of the same load" (HAProxy's configuration manual, `balance`). Envoy's full scan for the
//! least requests draws one of the equals (`unweightedHostPickFullScan`): as even, but not one after
//! the other.
//!
//! Which is the first is drawn for each balancer, as gRPC does ("start at a random index", `roundrobin`
//! of grpc-go; grpc-java #4462 measured 3 to 4 times the load at the first servers before), Envoy
//! (`rr_indexes_` starts with `seed_`) and others, so that senders that start together do not all start
//! with the same one. nginx and HAProxy start with the first of their list; so does
//! [`Weighted`](PolicyName::Weighted), which is nginx's rule.

use rand::rngs::ChaCha8Rng;
use schema::random::uniform;
use schema::scenario::PolicyName;

/// Chooses, for one request after the other, one of several that could serve it.
#[derive(Debug)]
pub(crate) struct Balancer<T> {
    policy: PolicyName,
    to: Vec<T>,
    /// Requests sent to each that have not left it.
    outstanding: Vec<u32>,
    /// Weights, and the credit of each; empty unless weighted.
    weights: Vec<(f64, f64)>,
    /// Whose turn it is: that after the one chosen last, or at first whichever was drawn.
    next: usize,
    rng: ChaCha8Rng,
}

impl<T: Copy> Balancer<T> {
    /// Chooses among `to` by `policy`; what is random is drawn from `rng`.
    pub(crate) fn new(
        policy: PolicyName,
        to: Vec<T>,
        weights: &[f64],
        mut rng: ChaCha8Rng,
    ) -> Self {
        assert!(!to.is_empty(), "somebody must serve");
        let next = match policy {
            PolicyName::RoundRobin
            | PolicyName::LeastOutstanding
            | PolicyName::JoinShortestQueue => draw_index(&mut rng, to.len()),
            PolicyName::Random | PolicyName::PowerOfTwo | PolicyName::Weighted => 0,
        };
        Balancer {
            policy,
            outstanding: vec![0; to.len()],
            weights: match policy {
                PolicyName::Weighted => weights.iter().map(|w| (*w, 0.0)).collect(),
                _ => Vec::new(),
            },
            to,
            next,
            rng,
        }
    }

    /// The number of the one that the next request goes to, and which that is; `present` gives the
    /// number of requests at any, and `is_out` says which are left out, unless that are all.
    pub(crate) fn choose(
        &mut self,
        present: impl Fn(T) -> u32,
        is_out: impl Fn(T) -> bool,
    ) -> (usize, T) {
        let n_in = self.to.iter().filter(|to| !is_out(**to)).count();
        let all = n_in == 0;
        let is_in = |to: &[T], index: usize| all || !is_out(to[index]);
        let n = if all { self.to.len() } else { n_in };
        // The number of the one that is the `nth` of those that are not left out.
        let nth = |to: &[T], nth: usize| {
            let mut indices = (0..to.len()).filter(|index| is_in(to, *index));
            indices.nth(nth).expect("there are so many")
        };
        let mut turns = (self.next..self.to.len())
            .chain(0..self.next)
            .filter(|index| is_in(&self.to, *index));
        let chosen = match self.policy {
            PolicyName::RoundRobin => turns.next().expect("a balancer has a choice"),
            PolicyName::Random => nth(&self.to, draw_index(&mut self.rng, n)),
            // Of equals the first: that whose turn is next.
            PolicyName::LeastOutstanding => turns
                .min_by_key(|index| self.outstanding[*index])
                .expect("a balancer has a choice"),
            PolicyName::JoinShortestQueue => turns
                .min_by_key(|index| present(self.to[*index]))
                .expect("a balancer has a choice"),
            PolicyName::PowerOfTwo if n == 1 => nth(&self.to, 0),
            PolicyName::PowerOfTwo => {
                let first = draw_index(&mut self.rng, n);
                // One of the others: those from the first on count one further.
                let second = draw_index(&mut self.rng, n - 1);
                let second = second + usize::from(second >= first);
                let [first, second] = [first, second].map(|number| nth(&self.to, number));
                if present(self.to[second]) < present(self.to[first]) {
                    second
                } else {
                    first
                }
            }
            PolicyName::Weighted => self.choose_weighted(|to, index| all || !is_out(to[index])),
        };
        self.next = (chosen + 1) % self.to.len();
        self.outstanding[chosen] += 1;
        (chosen, self.to[chosen])
    }

    /// Nothing that it has sent anywhere comes back.
    pub(crate) fn forget(&mut self) {
        self.outstanding.fill(0);
    }

    /// A request has left the one of that number.
    pub(crate) fn left(&mut self, index: usize) {
        self.outstanding[index] -= 1;
    }

    /// Smooth weighted round robin (as nginx has it): each earns its weight, the richest is chosen and
    /// pays the sum of all.
    fn choose_weighted(&mut self, is_in: impl Fn(&[T], usize) -> bool) -> usize {
        let mut total = 0.0;
        let mut richest: Option<usize> = None;
        for index in 0..self.weights.len() {
            if !is_in(&self.to, index) {
                continue;
            }
            let (weight, credit) = &mut self.weights[index];
            *credit += *weight;
            total += *weight;
            if richest.is_none_or(|richest| self.weights[index].1 > self.weights[richest].1) {
                richest = Some(index);
            }
        }
        let richest = richest.expect("a balancer has a choice");
        self.weights[richest].1 -= total;
        richest
    }
}

fn draw_index(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((uniform(rng) * n as f64) as usize).min(n - 1)
}

#[cfg(test)]
mod tests {
    use schema::random::{Seed, stream};

    use super::*;

    const N: usize = 4;

    fn balancer(policy: PolicyName, seed: u64) -> Balancer<usize> {
        let rng = stream(Seed(seed), "test");
        Balancer::new(policy, (0..N).collect(), &[1.0; N], rng)
    }

    /// The ones chosen for eight requests, of which each is served before the next comes.
    fn idle(policy: PolicyName, seed: u64) -> Vec<usize> {
        let mut balancer = balancer(policy, seed);
        let all = (0..8).map(|_| {
            let (index, chosen) = balancer.choose(|_| 0, |_| false);
            balancer.left(index);
            chosen
        });
        all.collect()
    }

    #[test]
    fn idle_servers_are_taken_in_turn_from_one_that_is_drawn() {
        for policy in [
            PolicyName::RoundRobin,
            PolicyName::LeastOutstanding,
            PolicyName::JoinShortestQueue,
        ] {
            let mut n_first = [0u32; N];
            for seed in 0..400 {
                let chosen = idle(policy, seed);
                let first = chosen[0];
                let turns: Vec<usize> = (first..first + 8).map(|turn| turn % N).collect();
                assert_eq!(chosen, turns, "{policy:?}");
                n_first[first] += 1;
            }
            // A hundred each, with a standard deviation of 8.7.
            assert!(
                n_first.iter().all(|n| (65..=135).contains(n)),
                "{policy:?}: {n_first:?}"
            );
        }
        let weighted = idle(PolicyName::Weighted, 1);
        assert_eq!(weighted, [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn only_equals_take_turns() {
        let mut balancer = balancer(PolicyName::JoinShortestQueue, 1);
        let mut at = |present: [u32; N], out: [bool; N]| {
            let (index, chosen) = balancer.choose(|to| present[to], |to| out[to]);
            balancer.left(index);
            chosen
        };
        let all_in = [false; N];
        assert_eq!(at([1, 1, 0, 1], all_in), 2);
        // The next of the equals is not the next of all, and comes before those that were passed over.
        assert_eq!(at([0, 0, 1, 1], all_in), 0);
        assert_eq!(at([0, 1, 0, 0], all_in), 2);
        assert_eq!(at([0, 0, 0, 0], [false, false, false, true]), 0);
        assert_eq!(at([2, 2, 2, 1], [false, false, false, true]), 1);
        assert_eq!(at([2, 2, 2, 2], [true; N]), 2);
    }
}
