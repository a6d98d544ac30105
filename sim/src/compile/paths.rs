//! From the paths of a scenario to the tables of hops: whom each leads to, and who chooses.

use schema::ids::{Id, StageId};
use schema::scenario::{CompletionBy, Hop, Proxy, Stage, StageRole};

use super::{Compiler, place};
use crate::error::SimError;
use crate::ids::{PathId, PoolId, RoleId};
use crate::tables::{BalancerRow, Choice, HopRow, PathRow, Role};

impl Compiler<'_> {
    /// The table's row of a path that `senders` send over, of which the first is the first of its kind.
    pub(super) fn path(&mut self, hops: &[Hop], senders: &[RoleId]) -> Result<PathId, SimError> {
        let mut senders = senders.to_vec();
        let mut from = None;
        let mut rows = Vec::with_capacity(hops.len());
        let mut n_ways = 0;
        for hop in hops {
            let (first_role, n_roles) = self.roles_of_stage(hop.to)?;
            self.servers(hop.to)?;
            let receivers: Vec<RoleId> = replicas(first_role, n_roles).collect();
            self.adapters(hop, &senders, &receivers)?;
            let choice = self.choice(hop, &senders, (first_role, n_roles));
            rows.push(HopRow {
                to: hop.to,
                over: hop.over,
                verbs: hop.verbs,
                choice,
                pools: self.pools(from, &senders, &receivers),
                first_role,
                n_roles,
                first_way: n_ways,
            });
            let most = senders.iter().map(|role| self.tables.roles[*role].replica);
            n_ways += (most.max().unwrap_or(0) + 1) * n_roles;
            senders = receivers;
            from = Some(hop.to);
        }
        Ok(self.tables.paths.push(PathRow { hops: rows }))
    }

    /// Which replica a hop from `senders` leads to.
    fn choice(&mut self, hop: &Hop, senders: &[RoleId], to: (RoleId, usize)) -> Choice {
        let Some(balance) = &hop.balance else {
            return match to.1 {
                1 => Choice::Only,
                _ => Choice::Same,
            };
        };
        let mut balancers = Vec::new();
        for sender in senders {
            let Role { name, replica, .. } = &self.tables.roles[*sender];
            let (name, replica) = (name.clone(), *replica);
            let stage = &self.scenario.stages[hop.to].name;
            let row = BalancerRow {
                sender: *sender,
                to,
                policy: balance.policy,
                weights: balance.weights.clone(),
                name: format!("balance/{name}/{stage}"),
            };
            let mut all = self.tables.balancers.iter();
            let known = all.find(|(_, other)| **other == row).map(|(id, _)| id);
            drop(all);
            let id = known.unwrap_or_else(|| self.tables.balancers.push(row));
            // Only replicas that send have one; the others' places are never looked at.
            balancers.resize(balancers.len().max(replica + 1), id);
            balancers[replica] = id;
        }
        Choice::Balanced(balancers)
    }

    /// The pools of connections between the replicas of a proxy `from` and those of the next stage.
    fn pools(&mut self, from: Option<StageId>, senders: &[RoleId], to: &[RoleId]) -> Vec<PoolId> {
        let role = from.map(|from| &self.scenario.stages[from].role);
        let Some(StageRole::Proxy(Proxy { pool: Some(n) })) = role else {
            return Vec::new();
        };
        let pairs = senders.iter().flat_map(|a| to.iter().map(|b| (*a, *b)));
        let pairs: Vec<(RoleId, RoleId)> = pairs.collect();
        let mut pools = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let known = self.pool_of.get(&pair).copied();
            let pool = known.unwrap_or_else(|| self.tables.pools.push(*n));
            self.pool_of.insert(pair, pool);
            pools.push(pool);
        }
        pools
    }

    /// What is needed of the ends of a hop over network adapters.
    fn adapters(
        &mut self,
        hop: &Hop,
        senders: &[RoleId],
        receivers: &[RoleId],
    ) -> Result<(), SimError> {
        let Some(verbs) = hop.verbs else {
            return Ok(());
        };
        for role in senders.iter().chain(receivers) {
            let nic = self.nic(self.tables.roles[*role].host)?;
            self.tables.roles[*role].nic = Some(nic);
        }
        for role in receivers {
            self.reach_gpus(*role, hop)?;
        }
        if verbs.completion == CompletionBy::Poll {
            if receivers.len() > 1 {
                let stage = &self.scenario.stages[hop.to];
                let key = format!("hosts.{}.count", self.scenario.hosts[stage.host].key);
                return Err(SimError::Unsupported {
                    wanted_by: place(self.scenario, &key),
                    what: format!(
                        "threads that poll for messages to `{}` on {} hosts",
                        stage.name,
                        receivers.len()
                    ),
                });
            }
            for role in senders.iter().chain(receivers) {
                self.tables.roles[*role].polls = true;
            }
        }
        Ok(())
    }
}

/// The roles of so many replicas from the first on.
pub(super) fn replicas(first: RoleId, n: usize) -> impl Iterator<Item = RoleId> {
    (first.index()..first.index() + n).map(RoleId::from_index)
}

/// A replica of a stage, in names of roles and streams.
pub(super) fn replica_of(stage: &Stage, replica: u32) -> String {
    match stage.replicas {
        1 => stage.name.clone(),
        _ => format!("{}/{replica}", stage.name),
    }
}
