//! From clients to their connections, those of their requests' branches, and the sources of costs.

use schema::ids::{ClientId, HostId, Id};
use schema::profile::cost;
use schema::scenario::{Branch, Hop, Scenario, StageRole, Verb, Way};

use super::{Compiler, LEGS, wires};
use crate::error::SimError;
use crate::fabric::packets::Format;
use crate::ids::{ConnectionId, PathId, SourceId};
use crate::tables::{ClientRow, ConnectionRow, HopSources, RetryRow};

impl Compiler<'_> {
    pub(super) fn client(&mut self, id: ClientId) -> Result<(), SimError> {
        let scenario = self.scenario;
        let row = &scenario.clients[id];
        let group = &scenario.groups[row.group];
        let label = format!("client/{}/{}", group.name, row.index);
        let name = |what: &str| format!("{label}/{what}");
        let path = self.tables.groups[row.group].path;
        let sources = self.sources_of_path(path, (&group.path, group.reply.as_ref()), &label)?;
        let client = ClientRow {
            role: self.role_of_clients(row.host),
            connections: (0..scenario.connections(id))
                .map(|nth| {
                    self.tables.connections.push(ConnectionRow {
                        client: id,
                        branch: 0,
                        first_branch: 0,
                        parent: None,
                        path,
                        ordinal: row.index * scenario.connections(id) + nth,
                        sources,
                    })
                })
                .collect(),
            wakeup: self.of_host_if_any(group.host, cost::WAKEUP, name("wakeup"))?,
            prepare: self.of_host(group.host, cost::PREPARE, name("prepare"))?,
            postprocess: self.of_host(group.host, cost::POSTPROCESS, name("postprocess"))?,
            bookkeeping: self.of_host_if_any(
                group.host,
                cost::BOOKKEEPING_CLIENT,
                name("bookkeeping"),
            )?,
            retry: group.retry.as_ref().map(|retry| RetryRow {
                attempts: retry.attempts,
                backoff: (retry.backoff.sampler()).expect("the scenario was checked"),
                factor: retry.factor,
                elsewhere: retry.elsewhere,
                name: name("retry"),
            }),
            first_site: 0,
        };
        self.tables.clients.push(client);
        Ok(())
    }

    /// What the branches of a client's requests need: a connection each, and sources.
    pub(super) fn branches(&mut self, id: ClientId) -> Result<(), SimError> {
        let scenario = self.scenario;
        let row = &scenario.clients[id];
        let group = &scenario.groups[row.group];
        let mut labels = vec![format!("client/{}/{}", group.name, row.index)];
        let mut sources = Vec::with_capacity(group.branches.len());
        let path = self.tables.groups[row.group].path;
        for (number, branch) in (1..).zip(&group.branches) {
            let call = scenario.call(branch);
            let id = PathId::from_index(path.index() + number);
            let (parent, of) = (&labels[branch.parent as usize], call_of(scenario, branch));
            let label = format!("{parent}/{of}.{}", branch.index);
            sources.push(self.sources_of_path(id, (&call.path, call.reply.as_ref()), &label)?);
            labels.push(label);
        }
        self.tables.clients[id].first_site = self.tables.call_draws.len();
        for (number, label) in labels.iter().enumerate() {
            let path = PathId::from_index(path.index() + number);
            for hop in &self.tables.paths[path].hops {
                let of_stage = &scenario.stages[hop.to].name;
                for (step, calls) in hop.steps.iter().enumerate() {
                    for (call, row) in calls.calls.iter().enumerate() {
                        let name = format!("{label}/{of_stage}.{step}.{call}");
                        self.tables.call_draws.push(row.draws().then_some(name));
                    }
                }
            }
        }
        for nth in 0..self.tables.clients[id].connections.len() {
            let root = self.tables.clients[id].connections[nth];
            let first = self.tables.connections.len();
            self.tables.connections[root].first_branch = first;
            for (index, branch) in group.branches.iter().enumerate() {
                let parent = (branch.parent as usize).checked_sub(1);
                self.tables.connections.push(ConnectionRow {
                    client: id,
                    branch: index as u32 + 1,
                    first_branch: first,
                    parent: Some(parent.map_or(root, |of| ConnectionId::from_index(first + of))),
                    path: PathId::from_index(path.index() + index + 1),
                    ordinal: self.tables.connections[root].ordinal,
                    sources: sources[index],
                });
            }
        }
        Ok(())
    }

    /// The sources of a client's costs on the hops of a path; where the first is in the table.
    fn sources_of_path(
        &mut self,
        id: PathId,
        (path, reply): (&[Hop], Option<&Hop>),
        label: &str,
    ) -> Result<usize, SimError> {
        let first = self.tables.hop_sources.len();
        for (index, hop) in path.iter().enumerate() {
            let next = path.get(index + 1);
            let name = format!("{label}/hop/{index}");
            let mut sources = self.hop_sources(hop, next, self.format(id, index), &name)?;
            if let StageRole::Serve(_) = self.scenario.stages[hop.to].role {
                let name = match next {
                    None => format!("{label}/notify"),
                    Some(_) => format!("{name}/notify"),
                };
                let host = self.scenario.stages[hop.to].host;
                sources.notify = Some(self.of_host(host, cost::NOTIFY, name)?);
            }
            self.tables.hop_sources.push(sources);
        }
        if let Some(hop) = reply {
            let name = format!("{label}/hop/{}", path.len());
            let format = self.format(id, path.len());
            let sources = self.hop_sources(hop, None, format, &name)?;
            self.tables.hop_sources.push(sources);
        }
        Ok(first)
    }

    /// The packets of a hop of a path.
    fn format(&self, path: PathId, hop: usize) -> Format {
        self.tables.paths[path].hops[hop].tcp.format
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
        let [send, receive] = cost::of_message(hop);
        let reads = hop.verbs.is_some_and(|verbs| verbs.verb == Verb::Read);
        let both = |this: &mut Self, make: &dyn Fn(&mut Self, usize) -> Result<_, SimError>| {
            Ok::<[SourceId; 2], SimError>([make(this, 0)?, make(this, 1)?])
        };
        let packets = self.packet_sources(hop, format, ends, name)?;
        let is_proxy = matches!(self.scenario.stages[hop.to].role, StageRole::Proxy(_));
        let is_shared = hop.over.is_verbs() && next.is_some_and(|next| next.over.is_verbs());
        Ok(HopSources {
            name: name.to_owned(),
            ends: ends[0].into(),
            notify: None,
            bookkeeping: self.of_host_if_any(
                to,
                if is_proxy {
                    cost::BOOKKEEPING_PROXY
                } else {
                    cost::BOOKKEEPING_SERVER
                },
                format!("{name}/bookkeeping"),
            )?,
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
            translate: self.translate(to, is_proxy || next.is_some(), is_shared, name)?,
            is_shared,
        })
    }

    /// What it costs a proxy on `host`, or a stage that hands replies through, to get a message from one side to the other.
    fn translate(
        &mut self,
        host: HostId,
        hands_on: bool,
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
        if !hands_on || is_free {
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
        let (meant, instead) = cost::between(hop);
        let key_of = |part: Option<&String>| {
            let part = part.and_then(|part| self.profile.parts.get(part));
            let is_there = |key: &&str| part.is_some_and(|part| part.costs.contains_key(*key));
            meant.filter(is_there).unwrap_or(&instead).to_owned()
        };
        let link = match hop.way {
            Way::Inside => {
                let key = key_of(Some(&self.scenario.hosts[hop.from].part));
                return self.of_host_if_any(hop.from, &key, name);
            }
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
        let key = key_of(self.scenario.links[link].part.as_ref());
        self.of_link(link, &key, name)
    }
}

/// A call in names of streams: its stage, step and number.
fn call_of(scenario: &Scenario, branch: &Branch) -> String {
    let stage = &scenario.stages[branch.stage].name;
    format!("{stage}.{}.{}", branch.step, branch.call)
}
