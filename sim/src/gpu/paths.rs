//! How flows share ports that some of them pass one after the other.

/// The ports that a flow passes, in any order; none if nothing limits it but its demand.
pub(super) type Path = [Option<usize>; 4];

/// Max-min fair shares of flows, each of which passes up to four ports at one rate.
///
/// Nobody gets more than it asks for; whoever gets less passes a port that is full, and gets as much
/// there as anybody (Bertsekas and Gallager 1992, Data Networks, section 6.5.2). So what a flow
/// leaves at one port because another holds it up goes to others. With one port,
/// [`max_min`](super::progress::max_min).
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    ports: Vec<Port>,
    flows: Vec<Flow>,
    shares: Vec<f64>,
    /// Scratch: flows in ascending order of what they ask for.
    order: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Port {
    /// What it has for flows without a share.
    left: f64,
    /// All that is asked of it.
    asked: f64,
    /// Flows without a share.
    n: u32,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    demand: f64,
    path: Path,
    has_share: bool,
}

impl Port {
    fn fair(&self) -> f64 {
        self.left.max(0.0) / f64::from(self.n)
    }
}

impl Paths {
    /// Forgets all ports and flows.
    pub(super) fn clear(&mut self) {
        self.ports.clear();
        self.flows.clear();
    }

    /// Another port, of this capacity, which may be infinite.
    pub(super) fn add_port(&mut self, capacity: f64) {
        self.ports.push(Port {
            left: capacity,
            asked: 0.0,
            n: 0,
        });
    }

    /// Another flow, which asks for `demand`, maybe for infinitely much.
    pub(super) fn add(&mut self, demand: f64, path: Path) {
        for port in path.into_iter().flatten() {
            self.ports[port].asked += demand;
            self.ports[port].n += 1;
        }
        self.flows.push(Flow {
            demand,
            path,
            has_share: false,
        });
    }

    /// The share of each flow, in the order in which they were added.
    pub(super) fn divide(&mut self) -> &[f64] {
        self.shares.clear();
        self.shares
            .extend(self.flows.iter().map(|flow| flow.demand));
        if self.ports.iter().all(|port| port.asked <= port.left) {
            return &self.shares;
        }
        for port in &mut self.ports {
            if port.asked <= port.left {
                port.left = f64::INFINITY;
            }
        }
        let demand = |flow: &usize| self.flows[*flow].demand;
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..self.flows.len());
        order.sort_by(|a, b| demand(a).total_cmp(&demand(b)).then(a.cmp(b)));
        for next in 0..order.len() {
            while !self.flows[order[next]].has_share {
                let tightest = self.tightest();
                match tightest {
                    Some(port) if self.ports[port].fair() < self.flows[order[next]].demand => {
                        for flow in &order[next..] {
                            let Flow {
                                path, has_share, ..
                            } = self.flows[*flow];
                            if !has_share && path.contains(&Some(port)) {
                                self.give(*flow, self.ports[port].fair());
                            }
                        }
                    }
                    _ => self.give(order[next], self.flows[order[next]].demand),
                }
            }
        }
        self.order = order;
        &self.shares
    }

    /// The port that has least for each flow that has no share yet.
    fn tightest(&self) -> Option<usize> {
        let waited_for = (0..self.ports.len()).filter(|port| self.ports[*port].n > 0);
        waited_for.min_by(|a, b| self.ports[*a].fair().total_cmp(&self.ports[*b].fair()))
    }

    fn give(&mut self, flow: usize, fair: f64) {
        let row = &mut self.flows[flow];
        let share = row.demand.min(fair);
        row.has_share = true;
        self.shares[flow] = share;
        for port in row.path.into_iter().flatten() {
            self.ports[port].left -= share;
            self.ports[port].n -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::max_min;
    use super::*;
    use proptest::prelude::*;

    fn shares(capacities: &[f64], flows: &[(f64, Path)]) -> Vec<f64> {
        let mut paths = Paths::default();
        for capacity in capacities {
            paths.add_port(*capacity);
        }
        for (demand, path) in flows {
            paths.add(*demand, *path);
        }
        paths.divide().to_vec()
    }

    #[test]
    fn what_one_port_holds_up_leaves_the_rest_of_the_other() {
        // The first passes both, and gets a third of the second; so the other flow of the first port
        // has two thirds of it, not half.
        let both = (9.0, [Some(0), Some(1), None, None]);
        let (first, second) = (
            (9.0, [Some(0), None, None, None]),
            (9.0, [Some(1), None, None, None]),
        );
        let found = shares(&[6.0, 6.0], &[both, first, second, second]);
        assert_eq!(found, [2.0, 4.0, 2.0, 2.0]);
    }

    #[test]
    fn a_flow_without_ports_gets_what_it_asks_for() {
        let found = shares(
            &[1.0],
            &[(9.0, [None; 4]), (9.0, [Some(0), None, None, None])],
        );
        assert_eq!(found, [9.0, 1.0]);
    }

    proptest! {
        #[test]
        fn shares_of_one_port_are_those_of_one_resource(
            demands in proptest::collection::vec(0.0f64..10.0, 1..8),
            capacity in 0.0f64..30.0,
        ) {
            let flows: Vec<_> = demands.iter().map(|demand| (*demand, [Some(0), None, None, None])).collect();
            let mut expected = demands;
            max_min(&mut expected, capacity);
            for (found, expected) in shares(&[capacity], &flows).iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 1e-12);
            }
        }

        #[test]
        fn shares_are_max_min_fair(
            capacities in proptest::collection::vec(0.0f64..20.0, 5),
            flows in proptest::collection::vec(
                (
                    0.0f64..10.0,
                    proptest::option::of(0usize..2),
                    proptest::option::of(2usize..4),
                    proptest::option::of(Just(4usize)),
                ),
                1..9,
            ),
        ) {
            let flows: Vec<_> = flows.iter().map(|(demand, a, b, c)| (*demand, [*a, *b, *c, None])).collect();
            let found = shares(&capacities, &flows);
            let through = |port: usize| {
                let all = flows.iter().zip(&found);
                all.filter(move |((_, path), _)| path.contains(&Some(port))).map(|(_, share)| *share)
            };
            for (port, capacity) in capacities.iter().enumerate() {
                prop_assert!(through(port).sum::<f64>() <= capacity + 1e-9);
            }
            for ((demand, path), share) in flows.iter().zip(&found) {
                prop_assert!(*share <= *demand);
                let is_held_up = |port: usize| {
                    let is_full = through(port).sum::<f64>() >= capacities[port] - 1e-9;
                    is_full && through(port).all(|other| other <= share + 1e-9)
                };
                let is_satisfied = *share >= demand - 1e-9;
                prop_assert!(is_satisfied || path.iter().flatten().any(|port| is_held_up(*port)));
            }
        }
    }
}
