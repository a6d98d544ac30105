//! From scenario and profile to [`Tables`]: names become ids, and every cost is looked up.

mod clients;
mod gpus;
mod hosts;
mod nics;
mod outages;
mod packets;
mod parts;
mod paths;
mod wires;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schema::arrivals::Gaps;
use schema::ids::{CoreSetId, GroupId, HostId, Id, LinkId, StageId, Table};
use schema::profile::{CostLaw, Driver, Part, Profile, cost, parameter};
use schema::scenario::{Placement, Scenario, Serve, StageRole, Work};

use crate::error::SimError;
use crate::fabric::Routes;
use crate::ids::{LawId, PoolId, RoleId, ServerId, SourceId};
use crate::stations::{CoreSetTable, Speed};
use crate::tables::{GroupRow, Law, OnCores, Role, ServerRow, SourceRow, Tables};
use gpus::Replica;
pub use gpus::gpu_of_part;
use paths::{replica_of, replicas};

/// Costs whose work has packets.
const PACKET_COSTS: [&str; 3] = [cost::SEGMENT, cost::REASSEMBLE, cost::FRAME];

/// What a host takes with placement `device`, which leaves hosts out.
static NOTHING: LazyLock<CostLaw> =
    LazyLock::new(|| CostLaw::exact(Driver::Requests, 0.0, 0.0, "placement `device`"));

/// The words for there and back in names of streams.
const LEGS: [&str; 2] = ["request", "reply"];

impl<'a> Tables<'a> {
    /// The tables of `scenario` with the costs of `profile`.
    pub(crate) fn compile(
        scenario: &'a Scenario,
        profile: &'a Profile,
    ) -> Result<Tables<'a>, SimError> {
        let wires = wires::wires(scenario, profile)?;
        let mut compiler = Compiler {
            routes: Routes::new(&wires.graph),
            scenario,
            profile,
            role_of_stage: vec![None; scenario.stages.len()],
            role_of_clients: vec![None; scenario.hosts.len()],
            pool_of: BTreeMap::new(),
            tables: Tables {
                scenario,
                core_sets: core_sets(scenario, profile)?,
                laws: Table::default(),
                sources: Table::default(),
                roles: Table::default(),
                wires,
                groups: Table::default(),
                paths: Table::default(),
                balancers: Table::default(),
                pools: Table::default(),
                clients: Table::default(),
                hop_sources: Vec::new(),
                call_draws: Vec::new(),
                outages: Vec::new(),
                connections: Table::default(),
                n_queue_pairs: 0,
                companions: Vec::new(),
                servers: Table::default(),
                host_specs: Table::default(),
                gpus: Table::default(),
                nets: Table::default(),
                instances: Table::default(),
                nics: Table::default(),
            },
        };
        for (id, group) in scenario.groups.iter() {
            Gaps::new(&group.arrivals, group.replayed.clone(), scenario.seed, "")?;
            compiler.group(id)?;
        }
        for client in scenario.clients.ids() {
            compiler.client(client)?;
        }
        for client in scenario.clients.ids() {
            compiler.branches(client)?;
        }
        compiler.companions();
        compiler.outages()?;
        compiler.check_memory()?;
        compiler.tables.host_specs = compiler.host_specs()?;
        Ok(compiler.tables)
    }
}

/// Where the scenario names `key`, for messages.
fn place(scenario: &Scenario, key: &str) -> String {
    let empty = scenario.source().invalid(key, "").to_string();
    empty.trim_end_matches(": ").to_owned()
}

fn core_sets(scenario: &Scenario, profile: &Profile) -> Result<Vec<CoreSetTable>, SimError> {
    let sets = scenario.core_sets.iter().map(|(id, set)| {
        let others: Vec<CoreSetId> = scenario
            .core_sets
            .iter()
            .filter(|(other, row)| *other != id && row.machine == set.machine)
            .map(|(other, _)| other)
            .collect();
        let n_other: usize = others
            .iter()
            .map(|other| scenario.core_sets[*other].cores.len())
            .sum();
        let contention = contention(scenario, profile, &set.part)?;
        let speeds = if contention > 0.0 && n_other > 0 {
            (0..=n_other)
                .map(|busy| Speed::slowed_by(contention * busy as f64 / n_other as f64))
                .collect()
        } else {
            vec![Speed::FULL]
        };
        Ok(CoreSetTable {
            cores: u32::try_from(set.cores.len()).expect("cores are counted in 32 bits"),
            speeds,
            others,
        })
    });
    sets.collect()
}

/// The contention of `part`: zero if it is not given, or if no host that works is of that part.
fn contention(scenario: &Scenario, profile: &Profile, part: &str) -> Result<f64, SimError> {
    let found = profile
        .parts
        .get(part)
        .and_then(|row: &Part| row.parameters.get(parameter::CONTENTION))
        .map_or(0.0, |parameter| parameter.value);
    if found >= 0.0 && found.is_finite() {
        return Ok(found);
    }
    let host = (scenario.hosts.rows().iter())
        .find(|host| host.part == part)
        .expect("a core set is some host's");
    Err(SimError::Contention {
        wanted_by: place(scenario, &format!("hosts.{}.part", host.key)),
        part: part.to_owned(),
        found,
    })
}

/// Who asks the profile for a cost.
#[derive(Clone, Copy)]
enum Asker {
    Host(HostId),
    Link(LinkId),
    /// A GPU of a host, by its number.
    Gpu(HostId, u32),
}

impl Asker {
    /// The key that names its part.
    fn key(self, scenario: &Scenario) -> String {
        match self {
            Asker::Host(host) => format!("hosts.{}.part", scenario.hosts[host].key),
            Asker::Link(link) => format!("{}.part", scenario.links[link].key),
            Asker::Gpu(host, gpu) => {
                format!("hosts.{}.gpus.{gpu}.part", scenario.hosts[host].key)
            }
        }
    }
}

struct Compiler<'a> {
    scenario: &'a Scenario,
    profile: &'a Profile,
    /// The first of the replicas.
    role_of_stage: Vec<Option<RoleId>>,
    role_of_clients: Vec<Option<RoleId>>,
    /// By sender and receiver.
    pool_of: BTreeMap<(RoleId, RoleId), PoolId>,
    routes: Routes,
    tables: Tables<'a>,
}

impl<'a> Compiler<'a> {
    fn group(&mut self, id: GroupId) -> Result<(), SimError> {
        let scenario = self.scenario;
        let group = &scenario.groups[id];
        // The hop of replies that go straight counts too.
        if group.path.len() >= usize::from(u8::MAX) {
            return Err(SimError::Unsupported {
                wanted_by: place(scenario, &format!("clients.{}.path", id.index())),
                what: format!("a path of {} hops (at most 254)", group.path.len()),
            });
        }
        let mut senders = Vec::new();
        for client in scenario.clients.rows().iter().filter(|row| row.group == id) {
            let role = self.role_of_clients(client.host);
            if !senders.contains(&role) {
                senders.push(role);
            }
        }
        let path = self.paths(id, &senders)?;
        self.tables.groups.push(GroupRow {
            is_closed_loop: group.arrivals.is_closed_loop(),
            timeout: group.timeout,
            path,
            stage: group.path.last().expect("a path has a hop").to,
        });
        Ok(())
    }

    fn role_of_clients(&mut self, host: HostId) -> RoleId {
        let row = &self.scenario.hosts[host];
        *self.role_of_clients[host.index()].get_or_insert_with(|| {
            self.tables.roles.push(Role {
                name: format!("client {}", row.name),
                stage: None,
                host,
                set: row.core_set,
                machine: self.scenario.machine(host),
                replica: row.replica,
                server: None,
                nic: None,
                memory: None,
                receive_threads: None,
                polls: false,
            })
        })
    }

    /// The roles of the replicas of a stage: the first, and how many.
    fn roles_of_stage(&mut self, stage: StageId) -> Result<(RoleId, usize), SimError> {
        let row = &self.scenario.stages[stage];
        let n = row.replicas as usize;
        if let Some(known) = self.role_of_stage[stage.index()] {
            return Ok((known, n));
        }
        let kind = match row.role {
            StageRole::Proxy(_) => "proxy",
            StageRole::Serve(_) => "server",
            StageRole::Plain(_) => unreachable!("plain stages are no pipeline's"),
        };
        let first = RoleId::from_index(self.tables.roles.len());
        for replica in 0..row.replicas {
            let host = self.scenario.host_of(stage, replica);
            self.tables.roles.push(Role {
                name: format!("{kind} {}", replica_of(row, replica)),
                stage: Some(stage),
                host,
                set: self.scenario.hosts[host].core_set,
                machine: self.scenario.machine(host),
                replica: replica as usize,
                server: None,
                nic: None,
                memory: None,
                receive_threads: row.receive_threads,
                polls: false,
            });
        }
        self.role_of_stage[stage.index()] = Some(first);
        Ok((first, n))
    }

    /// A serving stage: a server for each replica.
    fn servers(&mut self, stage: StageId) -> Result<(), SimError> {
        let row = &self.scenario.stages[stage];
        let StageRole::Serve(serve) = &row.role else {
            return Ok(());
        };
        let (first, n) = self.roles_of_stage(stage)?;
        if self.tables.roles[first].server.is_some() {
            return Ok(());
        }
        for role in replicas(first, n) {
            let server = self.server(stage, serve, role)?;
            self.tables.roles[role].server = Some(self.tables.servers.push(server));
        }
        Ok(())
    }

    fn server(
        &mut self,
        stage: StageId,
        serve: &'a Serve,
        role: RoleId,
    ) -> Result<ServerRow<'a>, SimError> {
        let row = &self.scenario.stages[stage];
        let key = serve.work.key();
        let Role { host, replica, .. } = self.tables.roles[role];
        let at = Replica {
            stage,
            host,
            name: replica_of(row, replica as u32),
        };
        let name = |what: &str| format!("stage/{}/{what}", at.name);
        let seconds = match &serve.work {
            Work::Net { .. } | Work::Profiled(_) | Work::Kernels(_) => 0.0,
            Work::Synthetic(synthetic) => synthetic.time.as_secs_f64(),
        };
        let id = ServerId::from_index(self.tables.servers.len());
        let instances = (0..serve.instances).map(|_| self.tables.instances.push(id));
        Ok(ServerRow {
            stage,
            role,
            replica: replica as u32,
            replicas: row.replicas,
            batch: serve.batch.clone(),
            hand_back: serve.hand_back,
            instances: instances.collect(),
            seconds,
            dispatch: self.of_host(host, cost::DISPATCH, name("dispatch"))?,
            on_cores: match &serve.gpu {
                Some(_) => None,
                None => Some(OnCores {
                    h2d: self.of_host(host, cost::H2D, name("h2d"))?,
                    preprocess: (serve.work.is_raw())
                        .then(|| self.of_host(host, &cost::preprocess(&key), name("preprocess")))
                        .transpose()?,
                    inference: self.inference(host, &serve.work, name("inference"))?,
                    d2h: self.of_host(host, cost::D2H, name("d2h"))?,
                }),
            },
            gpu: match &serve.gpu {
                Some(gpu) => Some(self.gpu_server(&at, serve, gpu)?),
                None => None,
            },
        })
    }

    fn of_link(
        &mut self,
        link: LinkId,
        cost: &str,
        name: String,
    ) -> Result<Option<SourceId>, SimError> {
        if self.scenario.links[link].part.is_none() {
            return Ok(None);
        }
        self.counted_source(Asker::Link(link), cost, name).map(Some)
    }

    /// A source of a cost that a profile need not have.
    fn of_host_if_any(
        &mut self,
        host: HostId,
        cost: &str,
        name: String,
    ) -> Result<Option<SourceId>, SimError> {
        let part = &self.scenario.hosts[host].part;
        let has = (self.profile.parts.get(part)).is_some_and(|p| p.costs.contains_key(cost));
        has.then(|| self.of_host(host, cost, name)).transpose()
    }

    fn of_host(&mut self, host: HostId, cost: &str, name: String) -> Result<SourceId, SimError> {
        self.counted_source(Asker::Host(host), cost, name)
    }

    /// A source whose law counts nothing that its work does not have: seconds asked for, or kernels
    /// where none are launched.
    fn counted_source(
        &mut self,
        asker: Asker,
        cost: &str,
        name: String,
    ) -> Result<SourceId, SimError> {
        let source = self.source(asker, cost, name)?;
        let law = &self.tables.laws[self.tables.sources[source].law];
        let per = match law.law.per {
            Driver::Seconds => "second of work asked for, which only synthetic inference has",
            Driver::Kernels if cost != cost::LAUNCH => "kernel, which only `launch` has",
            Driver::Packets if !PACKET_COSTS.contains(&cost) => {
                "packet, which only `segment`, `reassemble` and `frame` have"
            }
            Driver::Bytes | Driver::Requests | Driver::Kernels | Driver::Packets => {
                return Ok(source);
            }
        };
        Err(SimError::Driver {
            wanted_by: place(self.scenario, &asker.key(self.scenario)),
            part: law.part.clone(),
            cost: law.cost.clone(),
            per,
        })
    }

    fn inference(&mut self, host: HostId, work: &Work, name: String) -> Result<SourceId, SimError> {
        let key = cost::inference(&work.key());
        match work {
            Work::Net { .. } | Work::Profiled(_) | Work::Kernels(_) => {
                self.of_host(host, &key, name)
            }
            Work::Synthetic(_) => self.source(Asker::Host(host), &key, name),
        }
    }

    fn source(&mut self, asker: Asker, cost: &str, name: String) -> Result<SourceId, SimError> {
        let law = self.law(asker, cost)?;
        let machine = match asker {
            Asker::Host(host) => Some(self.scenario.machine(host)),
            Asker::Link(_) | Asker::Gpu(..) => None,
        };
        Ok(self.tables.sources.push(SourceRow { law, machine, name }))
    }

    /// The law of a cost of the asker's part.
    fn law(&mut self, asker: Asker, cost: &str) -> Result<LawId, SimError> {
        let part = match asker {
            Asker::Host(host) => &self.scenario.hosts[host].part,
            Asker::Link(link) => (self.scenario.links[link].part.as_ref())
                .expect("a link without a part asks for nothing"),
            Asker::Gpu(host, gpu) => &self.scenario.hosts[host].gpus[gpu as usize].part,
        };
        let takes_no_time =
            matches!(asker, Asker::Host(_)) && self.scenario.placement == Placement::Device;
        let is_known = |row: &Law<'_>| row.part == *part && row.cost == cost;
        if let Some((id, _)) = self.tables.laws.iter().find(|(_, row)| is_known(row)) {
            return Ok(id);
        }
        let wanted_by = place(self.scenario, &asker.key(self.scenario));
        let law = match takes_no_time {
            true => &NOTHING,
            false => self.profile.cost(part, cost, &wanted_by)?,
        };
        Ok(self.tables.laws.push(Law {
            law,
            part: part.clone(),
            cost: cost.to_owned(),
        }))
    }
}
