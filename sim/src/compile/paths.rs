//! From the paths of a scenario to the tables of hops: whom each leads to, and who chooses.

use std::ops::Range;

use schema::ids::{GroupId, Id, StageId};
use schema::scenario::{
    Call, CompletionBy, Forward, Group, Hop, Proxy, Scenario, Stage, StageRole,
};

use super::{Compiler, place};
use crate::error::SimError;
use crate::ids::{PathId, PoolId, RoleId};
use crate::tables::{BalancerRow, CallRow, Choice, HopRow, PathRow, Role, StepRow};

impl Compiler<'_> {
    /// The tables' rows of a group's path and of its branches' paths, in their order.
    pub(super) fn paths(&mut self, id: GroupId, senders: &[RoleId]) -> Result<PathId, SimError> {
        let scenario = self.scenario;
        let group = &scenario.groups[id];
        let mut steps = steps_of(scenario, group).into_iter();
        let mut next = || steps.next().expect("each branch has steps");
        let key = format!("clients.{}", id.index());
        let reply = group.reply.as_ref();
        let first = self.path(&key, &group.path, reply, (None, senders), next())?;
        for branch in &group.branches {
            let call = scenario.call(branch);
            let (role, n) = self.roles_of_stage(branch.stage)?;
            let senders: Vec<RoleId> = replicas(role, n).collect();
            let from = (Some(branch.stage), &senders[..]);
            let stage = &scenario.stages[branch.stage].name;
            let key = format!("stages.{stage}.steps.{}.calls.{}", branch.step, branch.call);
            self.path(&key, &call.path, call.reply.as_ref(), from, next())?;
        }
        Ok(first)
    }

    /// The table's row of a path that `senders` send over; its stages call by `steps`. What has it is
    /// at `key`.
    fn path(
        &mut self,
        key: &str,
        hops: &[Hop],
        reply: Option<&Hop>,
        (mut from, senders): (Option<StageId>, &[RoleId]),
        steps: Vec<Vec<StepRow>>,
    ) -> Result<PathId, SimError> {
        let origin = senders;
        let mut senders = senders.to_vec();
        let mut rows = Vec::with_capacity(hops.len() + 1);
        let mut n_ways = 0;
        for (index, (hop, steps)) in hops.iter().zip(steps).enumerate() {
            let (first_role, n_roles) = self.roles_of_stage(hop.to)?;
            self.servers(hop.to)?;
            let receivers: Vec<RoleId> = replicas(first_role, n_roles).collect();
            self.adapters(hop, &senders, &receivers)?;
            let choice = self.choice(hop, &senders, (first_role, n_roles));
            let n_senders = self.n_replicas(&senders);
            let pools = self.pools(from, &senders, &receivers);
            let key = format!("{key}.path.{index}");
            let ways = n_ways..n_ways + n_senders * n_roles;
            rows.push(self.hop(&key, hop, (first_role, n_roles), &ways)?);
            let row = rows.last_mut().expect("it was added");
            (row.choice, row.pools, row.steps) = (choice, pools, steps);
            n_ways = ways.end;
            senders = receivers;
            from = Some(hop.to);
        }
        if let Some(hop) = reply {
            self.adapters(hop, origin, &senders)?;
            let roles = self.roles_of_stage(hop.to)?;
            let ways = n_ways..n_ways + self.n_replicas(origin) * roles.1;
            rows.push(self.hop(key, hop, roles, &ways)?);
        }
        Ok(self.tables.paths.push(PathRow {
            hops: rows,
            n_hops: hops.len(),
        }))
    }

    /// A hop over so many ways, without choices, pools and calls.
    fn hop(
        &mut self,
        key: &str,
        hop: &Hop,
        (first_role, n_roles): (RoleId, usize),
        ways: &Range<usize>,
    ) -> Result<HopRow, SimError> {
        Ok(HopRow {
            to: hop.to,
            over: hop.over,
            payload: hop.payload,
            reply: hop.reply,
            serves: matches!(self.scenario.stages[hop.to].role, StageRole::Serve(_)),
            steps: Vec::new(),
            verbs: self.verbs(hop, ways.len())?,
            tcp: self.tcp(key, hop)?,
            forward: hop.forward,
            first_role,
            n_roles,
            choice: Choice::Only,
            pools: Vec::new(),
            first_way: ways.start,
        })
    }

    /// Adds the companions of all connections whose messages some proxy passes on before it has all of
    /// them.
    pub(super) fn companions(&mut self) {
        for id in self.tables.connections.ids() {
            let row = self.tables.connections[id];
            let hops = &self.tables.paths[row.path].hops;
            if hops.iter().any(|hop| hop.forward == Forward::CutThrough) {
                let companion = self.tables.connections.push(row);
                self.tables.companions.push([id, companion]);
            }
        }
    }

    /// How many replicas there may be of those who send.
    fn n_replicas(&self, senders: &[RoleId]) -> usize {
        let most = senders.iter().map(|role| self.tables.roles[*role].replica);
        most.max().unwrap_or(0) + 1
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

/// By branch of a group's requests, the first being the request itself, and hop of its path: what the
/// stage there calls.
fn steps_of(scenario: &Scenario, group: &Group) -> Vec<Vec<Vec<StepRow>>> {
    let row = |call: &Call| CallRow {
        branches: Vec::new(),
        site: 0,
        probability: call.probability,
        at_most: (call.count.iter())
            .scan(0.0, |sum, probability| {
                *sum += probability;
                Some(*sum)
            })
            .collect(),
    };
    let of_stage = |hop: &Hop| {
        let steps = scenario.stages[hop.to].steps.iter();
        let steps = steps.map(|step| StepRow {
            calls: step.calls.iter().map(row).collect(),
        });
        steps.collect::<Vec<_>>()
    };
    let of_path = |path: &[Hop]| path.iter().map(of_stage).collect::<Vec<_>>();
    let branches = group.branches.iter();
    let branches = branches.map(|branch| of_path(&scenario.call(branch).path));
    let mut all: Vec<_> = std::iter::once(of_path(&group.path))
        .chain(branches)
        .collect();
    for (number, branch) in (1..).zip(&group.branches) {
        let stage = &mut all[branch.parent as usize][usize::from(branch.hop)];
        let call = &mut stage[usize::from(branch.step)].calls[usize::from(branch.call)];
        call.branches.push(number);
    }
    let steps = all.iter_mut().flatten().flatten();
    let mut calls: Vec<&mut CallRow> = steps.flat_map(|step| &mut step.calls).collect();
    for (site, call) in calls.iter_mut().enumerate() {
        call.site = site;
    }
    all
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
