//! From scenario and profile to [`Tables`]: names become ids, and every cost is looked up.

mod gpus;
mod nics;
mod packets;
mod wires;

use schema::arrivals::Gaps;
use schema::ids::{ClientId, CoreSetId, GroupId, HostId, Id, LinkId, StageId, Table};
use schema::profile::{Driver, Part, Profile, cost, parameter};
use schema::scenario::{Forward, Hop, Scenario, StageRole, Transport, Verb, Way, Work};

use crate::error::SimError;
use crate::fabric::Routes;
use crate::fabric::packets::Format;
use crate::ids::{ConnectionId, LawId, RoleId, ServerId, SourceId};
use crate::stations::{CoreSetTable, Speed};
use crate::tables::{
    ClientRow, GroupRow, HopRow, HopSources, Law, OnCores, Role, ServerRow, SourceRow, Tables,
};

/// The words for there and back in names of streams.
const LEGS: [&str; 2] = ["request", "reply"];

/// Costs whose work has packets.
const PACKET_COSTS: [&str; 3] = [cost::SEGMENT, cost::REASSEMBLE, cost::FRAME];

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
            server_of: vec![None; scenario.stages.len()],
            role_of_stage: vec![None; scenario.stages.len()],
            role_of_clients: vec![None; scenario.hosts.len()],
            tables: Tables {
                scenario,
                core_sets: core_sets(scenario, profile)?,
                laws: Table::default(),
                sources: Table::default(),
                roles: Table::default(),
                wires,
                groups: Table::default(),
                clients: Table::default(),
                connections: Table::default(),
                ordinals: Vec::new(),
                n_queue_pairs: 0,
                companions: Vec::new(),
                servers: Table::default(),
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
        compiler.check_memory()?;
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
        wanted_by: place(scenario, &format!("hosts.{}.part", host.name)),
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
            Asker::Host(host) => format!("hosts.{}.part", scenario.hosts[host].name),
            Asker::Link(link) => format!("{}.part", scenario.links[link].key),
            Asker::Gpu(host, gpu) => {
                format!("hosts.{}.gpus.{gpu}.part", scenario.hosts[host].name)
            }
        }
    }
}

struct Compiler<'a> {
    scenario: &'a Scenario,
    profile: &'a Profile,
    server_of: Vec<Option<ServerId>>,
    role_of_stage: Vec<Option<RoleId>>,
    role_of_clients: Vec<Option<RoleId>>,
    routes: Routes,
    tables: Tables<'a>,
}

impl<'a> Compiler<'a> {
    fn group(&mut self, id: GroupId) -> Result<(), SimError> {
        let scenario = self.scenario;
        let group = &scenario.groups[id];
        if group.path.len() > usize::from(u8::MAX) {
            return Err(SimError::Unsupported {
                wanted_by: place(scenario, &format!("clients.{}.path", id.index())),
                what: format!("a path of {} hops (at most 255)", group.path.len()),
            });
        }
        let role = self.role_of_clients(group.host);
        let mut from_role = role;
        let mut path = Vec::with_capacity(group.path.len());
        for (index, hop) in group.path.iter().enumerate() {
            let key = format!("clients.{}.path.{index}", id.index());
            let to_role = self.role_of_stage(hop.to);
            path.push(HopRow {
                to: hop.to,
                over: hop.over,
                from_role,
                to_role,
                verbs: self.verbs(hop)?,
                tcp: self.tcp(&key, hop)?,
                forward: hop.forward,
            });
            from_role = to_role;
        }
        let stage = group.path.last().expect("a path has a hop").to;
        let server = self.server(stage)?;
        self.reach_gpus(server, path.last_mut().expect("a path has a hop"))?;
        self.note_polls(&path);
        self.tables.groups.push(GroupRow {
            role,
            is_closed_loop: group.arrivals.is_closed_loop(),
            path,
            server,
            stage,
        });
        Ok(())
    }

    fn role_of_clients(&mut self, host: HostId) -> RoleId {
        let name = &self.scenario.hosts[host].name;
        *self.role_of_clients[host.index()].get_or_insert_with(|| {
            self.tables.roles.push(Role {
                name: format!("client {name}"),
                host,
                set: self.scenario.hosts[host].core_set,
                machine: self.scenario.machine(host),
                receive_threads: None,
                polls: false,
            })
        })
    }

    fn role_of_stage(&mut self, stage: StageId) -> RoleId {
        let row = &self.scenario.stages[stage];
        let kind = match row.role {
            StageRole::Proxy => "proxy",
            StageRole::Serve(_) => "server",
            StageRole::Plain(_) => unreachable!("plain stages are no pipeline's"),
        };
        *self.role_of_stage[stage.index()].get_or_insert_with(|| {
            self.tables.roles.push(Role {
                name: format!("{kind} {}", row.name),
                host: row.host,
                set: self.scenario.hosts[row.host].core_set,
                machine: self.scenario.machine(row.host),
                receive_threads: row.receive_threads,
                polls: false,
            })
        })
    }

    fn server(&mut self, stage: StageId) -> Result<ServerId, SimError> {
        if let Some(known) = self.server_of[stage.index()] {
            return Ok(known);
        }
        let row = &self.scenario.stages[stage];
        let StageRole::Serve(serve) = &row.role else {
            unreachable!("a path ends at a stage that serves")
        };
        let key = serve.work.key();
        let host = row.host;
        let name = |what: &str| format!("stage/{}/{what}", row.name);
        let seconds = match &serve.work {
            Work::Net { .. } | Work::Profiled(_) | Work::Kernels(_) => 0.0,
            Work::Synthetic(synthetic) => synthetic.time.as_secs_f64(),
        };
        let id = ServerId::from_index(self.tables.servers.len());
        let instances = (0..serve.instances).map(|_| self.tables.instances.push(id));
        let server = ServerRow {
            stage,
            role: self.role_of_stage[stage.index()].expect("the path was walked before"),
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
                Some(gpu) => Some(self.gpu_server(stage, serve, gpu)?),
                None => None,
            },
        };
        self.server_of[stage.index()] = Some(id);
        Ok(self.tables.servers.push(server))
    }

    fn client(&mut self, id: ClientId) -> Result<(), SimError> {
        let scenario = self.scenario;
        let row = &scenario.clients[id];
        let group = &scenario.groups[row.group];
        let name = |what: &str| format!("client/{}/{}/{what}", group.name, row.index);
        let mut hops = Vec::with_capacity(group.path.len());
        for (index, hop) in group.path.iter().enumerate() {
            let next = group.path.get(index + 1);
            let format = self.tables.groups[row.group].path[index].tcp.format;
            hops.push(self.hop_sources(hop, next, format, &name(&format!("hop/{index}")))?);
        }
        let server = scenario.stages[self.tables.groups[row.group].stage].host;
        let connections = (0..scenario.connections(id)).map(|_| self.tables.connections.push(id));
        let connections: Vec<ConnectionId> = connections.collect();
        let first = row.index * scenario.connections(id);
        let numbers = (first..).take(connections.len());
        self.tables.ordinals.extend(numbers);
        let is_cut = |hop: &Hop| hop.forward == Forward::CutThrough;
        if group.path.iter().any(is_cut) {
            for connection in &connections {
                let companion = self.tables.connections.push(id);
                self.tables
                    .ordinals
                    .push(self.tables.ordinals[connection.index()]);
                self.tables.companions.push([*connection, companion]);
            }
        }
        let client = ClientRow {
            connections,
            wakeup: self.of_host_if_any(group.host, cost::WAKEUP, name("wakeup"))?,
            prepare: self.of_host(group.host, cost::PREPARE, name("prepare"))?,
            postprocess: self.of_host(group.host, cost::POSTPROCESS, name("postprocess"))?,
            notify: self.of_host(server, cost::NOTIFY, name("notify"))?,
            hops,
        };
        self.tables.clients.push(client);
        Ok(())
    }

    /// The sources of a hop with packets of that format; a proxy to which it leads goes on to `next`.
    fn hop_sources(
        &mut self,
        hop: &Hop,
        next: Option<&Hop>,
        format: Format,
        name: &str,
    ) -> Result<HopSources, SimError> {
        let to = self.scenario.stages[hop.to].host;
        let ends = [(hop.from, to), (to, hop.from)];
        let leg = |leg: usize, what: &str| format!("{name}/{}/{what}", LEGS[leg]);
        let (send, receive) = match hop.verbs {
            Some(verbs) => (cost::POST.to_owned(), cost::completion(verbs.completion)),
            None => (cost::send(hop.over), cost::receive(hop.over)),
        };
        let reads = hop.verbs.is_some_and(|verbs| verbs.verb == Verb::Read);
        let both = |this: &mut Self, make: &dyn Fn(&mut Self, usize) -> Result<_, SimError>| {
            Ok::<[SourceId; 2], SimError>([make(this, 0)?, make(this, 1)?])
        };
        let packets = self.packet_sources(hop, format, ends, name)?;
        let is_shared = hop.over.is_verbs() && next.is_some_and(|next| next.over.is_verbs());
        Ok(HopSources {
            send: both(self, &|this, i| {
                this.of_host(ends[i].0, &send, leg(i, "send"))
            })?,
            receive: both(self, &|this, i| {
                this.of_host(ends[i].1, &receive, leg(i, "receive"))
            })?,
            delay: [
                self.delay(hop, ends[0], leg(0, "delay"))?,
                self.delay(hop, ends[1], leg(1, "delay"))?,
            ],
            ask: (reads.then(|| {
                both(self, &|this, i| {
                    this.of_host(ends[i].1, cost::POST, leg(i, "ask"))
                })
            }))
            .transpose()?,
            register: self.register_sources(hop, ends, name)?,
            segment: packets.segment,
            reassemble: packets.reassemble,
            frame: packets.frame,
            translate: self.translate(to, next.is_some(), is_shared, name)?,
            is_shared,
        })
    }

    /// What it costs a proxy on `host`, if it is one, to get a message from one side to the other.
    fn translate(
        &mut self,
        host: HostId,
        is_proxy: bool,
        is_shared: bool,
        name: &str,
    ) -> Result<Option<[SourceId; 2]>, SimError> {
        let part = self.profile.parts.get(&self.scenario.hosts[host].part);
        let (cost, what) = if is_shared {
            (cost::FORWARD, "forward")
        } else {
            (cost::TRANSLATE, "translate")
        };
        let is_free = is_shared && part.is_some_and(|part| !part.costs.contains_key(cost));
        if !is_proxy || is_free {
            return Ok(None);
        }
        let [there, back] = LEGS.map(|leg| format!("{name}/{leg}/{what}"));
        Ok(Some([
            self.of_host(host, cost, there)?,
            self.of_host(host, cost, back)?,
        ]))
    }

    /// The delay of a message beyond the propagation delay of its links: that of the part of the last
    /// of them; inside one host that of the host's part, if it has one.
    fn delay(
        &mut self,
        hop: &Hop,
        (from, to): (HostId, HostId),
        name: String,
    ) -> Result<Option<SourceId>, SimError> {
        let key = cost::delay(match hop.over {
            Transport::Gdr => Transport::Rdma,
            over => over,
        });
        let link = match hop.way {
            Way::Inside => return self.of_host_if_any(hop.from, &key, name),
            Way::Link(link) => link,
            Way::Switched => {
                let wires = &self.tables.wires;
                let [from, to] = [from, to].map(|host| wires.hosts[host.index()]);
                // As the first connection of the client, which is numbered next.
                let label = self.tables.connections.len() as u64;
                let path = self.routes.path(&wires.graph, from, to, label);
                let path = path.expect("the scenario was checked");
                wires::link_of(*path.last().expect("two hosts are not one"))
            }
        };
        self.of_link(link, &key, name)
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
        let is_known = |row: &Law<'_>| row.part == *part && row.cost == cost;
        if let Some((id, _)) = self.tables.laws.iter().find(|(_, row)| is_known(row)) {
            return Ok(id);
        }
        let wanted_by = place(self.scenario, &asker.key(self.scenario));
        let law = self.profile.cost(part, cost, &wanted_by)?;
        Ok(self.tables.laws.push(Law {
            law,
            part: part.clone(),
            cost: cost.to_owned(),
        }))
    }
}
