//! Who of several serves a request.

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
    next: usize,
    rng: ChaCha8Rng,
}

impl<T: Copy> Balancer<T> {
    /// Chooses among `to` by `policy`; what is random is drawn from `rng`.
    pub(crate) fn new(policy: PolicyName, to: Vec<T>, weights: &[f64], rng: ChaCha8Rng) -> Self {
        assert!(!to.is_empty(), "somebody must serve");
        Balancer {
            policy,
            outstanding: vec![0; to.len()],
            weights: match policy {
                PolicyName::Weighted => weights.iter().map(|w| (*w, 0.0)).collect(),
                _ => Vec::new(),
            },
            to,
            next: 0,
            rng,
        }
    }

    /// The number of the one that the next request goes to, and which that is; `present` gives the
    /// number of requests at any.
    pub(crate) fn choose(&mut self, present: impl Fn(T) -> u32) -> (usize, T) {
        let n = self.to.len();
        let indices = 0..n;
        let chosen = match self.policy {
            PolicyName::RoundRobin => {
                let chosen = self.next;
                self.next = (chosen + 1) % n;
                chosen
            }
            PolicyName::Random => draw_index(&mut self.rng, n),
            PolicyName::LeastOutstanding => indices
                .min_by_key(|index| self.outstanding[*index])
                .expect("a balancer has a choice"),
            PolicyName::JoinShortestQueue => indices
                .min_by_key(|index| present(self.to[*index]))
                .expect("a balancer has a choice"),
            PolicyName::PowerOfTwo => {
                let first = draw_index(&mut self.rng, n);
                // One of the others: those from the first on count one further.
                let second = draw_index(&mut self.rng, n - 1);
                let second = second + usize::from(second >= first);
                if present(self.to[second]) < present(self.to[first]) {
                    second
                } else {
                    first
                }
            }
            PolicyName::Weighted => self.choose_weighted(),
        };
        self.outstanding[chosen] += 1;
        (chosen, self.to[chosen])
    }

    /// A request has left the one of that number.
    pub(crate) fn left(&mut self, index: usize) {
        self.outstanding[index] -= 1;
    }

    /// Smooth weighted round robin (as nginx has it): each earns its weight, the richest is chosen and
    /// pays the sum of all.
    fn choose_weighted(&mut self) -> usize {
        let mut total = 0.0;
        let mut richest = 0;
        for index in 0..self.weights.len() {
            let (weight, credit) = &mut self.weights[index];
            *credit += *weight;
            total += *weight;
            if self.weights[index].1 > self.weights[richest].1 {
                richest = index;
            }
        }
        self.weights[richest].1 -= total;
        richest
    }
}

fn draw_index(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((uniform(rng) * n as f64) as usize).min(n - 1)
}
