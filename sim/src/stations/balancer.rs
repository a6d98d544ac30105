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
        let indices = (0..self.to.len()).filter(|index| is_in(&self.to, *index));
        let chosen = match self.policy {
            PolicyName::RoundRobin => {
                let n = self.to.len();
                let mut turns = (self.next..n).chain(0..self.next);
                let chosen = turns.find(|index| is_in(&self.to, *index));
                let chosen = chosen.expect("a balancer has a choice");
                self.next = (chosen + 1) % n;
                chosen
            }
            PolicyName::Random => nth(&self.to, draw_index(&mut self.rng, n)),
            PolicyName::LeastOutstanding => indices
                .min_by_key(|index| self.outstanding[*index])
                .expect("a balancer has a choice"),
            PolicyName::JoinShortestQueue => indices
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
