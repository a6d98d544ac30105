//! The description of a network of plain stages.

use std::sync::Arc;

use schema::ids::{ClassId, Id, StageId, Table};
use schema::scenario::{ArrivalsFile, Class, Next, PlainKind, Scenario, StageRole, Station};
use schema::units::{Bytes, SimDuration};

/// Stages, and the clients whose requests go through them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Network {
    pub(super) stages: Table<StageId, Stage>,
    pub(super) groups: Vec<Group>,
    pub(super) classes: Table<ClassId, Class>,
}

/// A stage.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) kind: PlainKind,
    pub(super) next: Vec<Next>,
}

/// A group of like clients.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) count: u32,
    pub(super) arrivals: ArrivalsFile,
    pub(super) replayed: Option<Arc<[SimDuration]>>,
    pub(super) classes: Vec<ClassId>,
    pub(super) in_a_row: f64,
    pub(super) path: Vec<StageId>,
}

/// A group of like clients that is to be added to a network.
#[derive(Clone, PartialEq, Debug)]
pub struct Clients {
    /// Name of the group, unique; its random streams are named after it.
    pub name: String,
    /// Number of clients.
    pub count: u32,
    /// When each client sends.
    pub arrivals: ArrivalsFile,
    /// The gaps of the trace, if the arrivals replay one.
    pub replayed: Option<Arc<[SimDuration]>>,
    /// Name, share and priority of each kind of request; empty for one kind, `default`.
    pub classes: Vec<Kind>,
    /// The stages that its requests pass in order, as far as the stages' own routing does not say
    /// otherwise.
    pub path: Vec<StageId>,
}

impl Clients {
    /// One client that sends requests of one kind along `path`.
    pub fn one(name: &str, arrivals: ArrivalsFile, path: Vec<StageId>) -> Clients {
        Clients {
            name: name.to_owned(),
            count: 1,
            arrivals,
            replayed: None,
            classes: Vec::new(),
            path,
        }
    }
}

/// A kind of requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Kind {
    /// Its name; kinds of one name in several groups are one in the results.
    pub name: String,
    /// Its share of the group's requests, relative to the other kinds'.
    pub share: f64,
    /// The lowest is served first by stations with priorities.
    pub priority: u32,
    /// Its weight at stations that share their servers.
    pub weight: f64,
}

impl Network {
    /// A network without stages.
    pub fn new() -> Network {
        Network::default()
    }

    /// Adds a station; requests that leave it go on along their path.
    pub fn station(&mut self, name: &str, station: Station) -> StageId {
        self.stage(name, PlainKind::Station(Box::new(station)))
    }

    /// Adds a stage of any kind; requests that leave it go on along their path.
    pub fn stage(&mut self, name: &str, kind: PlainKind) -> StageId {
        self.stages.push(Stage {
            name: name.to_owned(),
            kind,
            next: Vec::new(),
        })
    }

    /// Sends what leaves `from` to `to` with this probability.
    pub fn route(&mut self, from: StageId, to: StageId, probability: f64) {
        self.stages[from].next.push(Next { to, probability });
    }

    /// Adds a group of clients.
    pub fn clients(&mut self, clients: Clients) {
        let total: f64 = clients.classes.iter().map(|class| class.share).sum();
        let mut classes: Vec<ClassId> = (clients.classes.iter())
            .map(|kind| {
                self.classes.push(Class {
                    name: kind.name.clone(),
                    share: kind.share / total,
                    payload: Bytes(0),
                    reply: Bytes(0),
                    priority: kind.priority,
                    weight: kind.weight,
                    stream_priority: None,
                })
            })
            .collect();
        if classes.is_empty() {
            classes.push(self.classes.push(Class {
                name: "default".to_owned(),
                share: 1.0,
                payload: Bytes(0),
                reply: Bytes(0),
                priority: 0,
                weight: 1.0,
                stream_priority: None,
            }));
        }
        self.groups.push(Group {
            name: clients.name,
            count: clients.count,
            arrivals: clients.arrivals,
            replayed: clients.replayed,
            classes,
            in_a_row: 1.0,
            path: clients.path,
        });
    }

    /// The network of a scenario of plain stages; `None` if its stages stand on hosts.
    pub fn of(scenario: &Scenario) -> Option<Network> {
        let mut network = Network {
            classes: scenario.classes.clone(),
            ..Network::default()
        };
        for stage in scenario.stages.rows() {
            let StageRole::Plain(plain) = &stage.role else {
                return None;
            };
            network.stages.push(Stage {
                name: stage.name.clone(),
                kind: plain.kind.clone(),
                next: plain.next.clone(),
            });
        }
        let mut counts = vec![0; scenario.groups.len()];
        for client in scenario.clients.rows() {
            counts[client.group.index()] += 1;
        }
        for (id, group) in scenario.groups.iter() {
            network.groups.push(Group {
                name: group.name.clone(),
                count: counts[id.index()],
                arrivals: group.arrivals.clone(),
                replayed: group.replayed.clone(),
                classes: group.classes.clone(),
                in_a_row: group.in_a_row,
                path: group.path.iter().map(|hop| hop.to).collect(),
            });
        }
        Some(network)
    }
}
