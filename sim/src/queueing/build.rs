//! From the description of a network to its state at the start.

use std::collections::VecDeque;

use schema::arrivals::Gaps;
use schema::distribution::{Distribution, Sampler};
use schema::ids::{ClientId, Table};
use schema::random::{Seed, stream};
use schema::scenario::{Discipline, Next, Order, PlainKind, Station, WhenFull};
use schema::units::SimTime;
use schema::workload::{ClientPlan, Schedule};

use super::client::Client;
use super::engine::{ClassRow, Engine};
use super::line::Line;
use super::network::{Group, Network, Stage};
use super::node::{
    Breakdowns, Counts, Node, Pool, Role, Routing, Servers, Service, StationState, Visits,
};
use super::preemptive::Preemptive;
use super::sharing::Sharing;
use super::time_sliced::TimeSliced;
use super::waiting::WaitingLine;
use crate::stations::{Balancer, Orbit};
use crate::statistics::Gauge;

/// Classes of one name, whichever group they belong to, have one label.
pub(super) fn labels(network: &Network) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for class in network.classes.rows() {
        if !labels.contains(&class.name) {
            labels.push(class.name.clone());
        }
    }
    labels
}

/// The weights that there are.
fn weights(network: &Network) -> Vec<f64> {
    let mut weights: Vec<f64> = network.classes.rows().iter().map(|c| c.weight).collect();
    weights.sort_by(f64::total_cmp);
    weights.dedup();
    weights
}

fn sampler(distribution: &Distribution) -> Sampler {
    let sampler = distribution.sampler();
    sampler.expect("the network was checked")
}

impl Engine {
    /// The state at the start of a replication: `requests` seeds what is sent, `seed` all else.
    pub(super) fn start(
        network: &Network,
        schedule: Schedule,
        requests: Seed,
        seed: Seed,
        replication: u32,
    ) -> Engine {
        let labels = labels(network);
        let weights = weights(network);
        let stages = network.stages.rows().iter();
        let nodes = stages
            .map(|stage| node(stage, seed, &labels, &weights))
            .collect();
        let mut classes = Table::default();
        for class in network.classes.rows() {
            let known = |label: &String| *label == class.name;
            classes.push(ClassRow {
                group: 0,
                label: labels
                    .iter()
                    .position(known)
                    .expect("every class has a label") as u32,
                priority: class.priority,
                weight: weights.partition_point(|weight| *weight < class.weight) as u32,
            });
        }
        let mut clients: Table<ClientId, Client> = Table::default();
        for (index, group) in network.groups.iter().enumerate() {
            for class in &group.classes {
                classes[*class].group = index as u32;
            }
            for number in 0..group.count {
                let name = format!("client/{}/{number}", group.name);
                let id = schema::ids::Id::from_index(clients.len());
                clients.push(Client {
                    plan: plan(network, group, id, &name, requests),
                    next: None,
                    is_closed_loop: group.arrivals.is_closed_loop(),
                    last: SimTime::ZERO,
                    n_at_once: 0,
                    name,
                });
            }
        }
        let paths = network.groups.iter().map(|group| group.path.clone());
        Engine::new(
            nodes,
            clients,
            classes,
            paths.collect(),
            schedule,
            replication,
        )
    }
}

fn plan(network: &Network, group: &Group, id: ClientId, name: &str, seed: Seed) -> ClientPlan {
    let gaps = Gaps::new(&group.arrivals, group.replayed.clone(), seed, name);
    let gaps = gaps.expect("the network was checked");
    let kinds = stream(seed, &format!("{name}/class"));
    ClientPlan::of(id, gaps, kinds, &group.classes, &network.classes).in_a_row(group.in_a_row)
}

fn node(stage: &Stage, seed: Seed, labels: &[String], weights: &[f64]) -> Node {
    let name = |what: &str| format!("stage/{}/{what}", stage.name);
    let role = match &stage.kind {
        PlainKind::Station(spec) => {
            Role::Station(Box::new(station(spec, seed, name, labels, weights)))
        }
        PlainKind::Fork(to) => Role::Fork(to.clone()),
        PlainKind::Join => Role::Join,
        PlainKind::Balance(balance) => {
            let rng = stream(seed, &name("balance"));
            let (to, weights) = (balance.to.clone(), &balance.weights);
            Role::Balance(Box::new(Balancer::new(balance.policy, to, weights, rng)))
        }
        PlainKind::Tokens(tokens) => Role::Tokens(Box::new(Pool {
            free: tokens.count,
            take: tokens.take,
            waiting: WaitingLine::Fifo(VecDeque::new()),
        })),
        PlainKind::Release(pool) => Role::Release(*pool),
    };
    let n_labels = if labels.len() > 1 { labels.len() } else { 0 };
    Node {
        name: stage.name.clone(),
        role,
        next: routing(&stage.next, || Box::new(stream(seed, &name("next")))),
        gauge: Gauge::default(),
        counts: Counts::default(),
        visits: vec![Visits::default(); 1 + n_labels],
        sojourn_ps: 0,
    }
}

fn routing(next: &[Next], rng: impl FnOnce() -> Box<rand::rngs::ChaCha8Rng>) -> Routing {
    match next {
        [] => Routing::Path,
        [only] if only.probability >= 1.0 => Routing::To(only.to),
        _ => {
            let mut until = 0.0;
            let choices = next.iter().map(|choice| {
                until += choice.probability;
                // What is meant to be one may be rounded to less.
                let is_all = (until - 1.0f64).abs() < 1e-9;
                (if is_all { 1.0 } else { until }, choice.to)
            });
            Routing::Draw(choices.collect(), rng())
        }
    }
}

fn station(
    spec: &Station,
    seed: Seed,
    name: impl Fn(&str) -> String,
    labels: &[String],
    weights: &[f64],
) -> StationState {
    let discipline = match &spec.discipline {
        Discipline::Line { order, batch } => {
            Servers::Line(Line::new(spec.servers, *order, batch.clone()))
        }
        Discipline::Preemptive(order) => Servers::Preemptive(Preemptive::new(spec.servers, *order)),
        Discipline::Sharing { cap, limit } => {
            Servers::Sharing(Sharing::new(spec.servers, *cap, *limit, weights))
        }
        Discipline::TimeSliced { slice, switch } => {
            Servers::TimeSliced(TimeSliced::new(spec.servers, *slice, *switch))
        }
        Discipline::Delay => Servers::Delay,
    };
    let order = match &spec.discipline {
        Discipline::Line { order, .. } | Discipline::Preemptive(order) => *order,
        _ => Order::Fifo,
    };
    let mut samplers = vec![sampler(&spec.service)];
    let mut by_label = Vec::new();
    if !spec.services.is_empty() {
        for label in labels {
            by_label.push(match spec.services.get(label) {
                Some(service) => {
                    samplers.push(sampler(service));
                    samplers.len() - 1
                }
                None => 0,
            });
        }
    }
    StationState {
        discipline,
        service: Service {
            rng: stream(seed, &name("service")),
            samplers,
            by_label,
        },
        order,
        capacity: spec.capacity.unwrap_or(u32::MAX),
        blocks: spec.capacity.is_some() && spec.when_full == WhenFull::Block,
        blocked: VecDeque::new(),
        patience: (spec.patience.as_ref())
            .map(|patience| Box::new((sampler(patience), stream(seed, &name("patience"))))),
        retry: spec.retry.as_ref().map(|retry| {
            Box::new(Orbit {
                attempts: retry.attempts,
                backoff: sampler(&retry.backoff),
                factor: retry.factor,
                rng: stream(seed, &name("backoff")),
            })
        }),
        breakdown: spec.breakdown.as_ref().map(|breakdown| {
            let rngs =
                (0..spec.servers).map(|server| stream(seed, &name(&format!("breakdown/{server}"))));
            Box::new(Breakdowns {
                up: sampler(&breakdown.up),
                down: sampler(&breakdown.down),
                rngs: rngs.collect(),
            })
        }),
    }
}
