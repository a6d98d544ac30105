//! What is measured in each round: probes, the points of studies, and the first point again.

use std::collections::BTreeMap;
use std::path::Path;

use schema::random::{Seed, stream, uniform};
use schema::scenario::{InputFile, Scenario, StageRole, Transport, Work, to_toml};
use schema::study::Study;

use super::super::probe::{Builtin, builtin, load, stem};
use super::super::sweep::{Cores, tasks};
use crate::cli::{Common, Judge};
use crate::failure::{Failure, Usage};
use crate::placing::placed_here;

/// The probe of messages over TCP and of a proxy.
const WIRE: Builtin = builtin!("probes/wire-proxied.toml");
/// That of messages through shared memory.
const LOCAL: Builtin = builtin!("probes/wire-local.toml");
/// That of a net, of its raw input, and of a core beside a busy one.
const NET: Builtin = builtin!("probes/net.toml");
const RAW: Builtin = builtin!("probes/net-raw.toml");
const CONTENTION: Builtin = builtin!("probes/contention.toml");
/// The net of a probe in its file.
const KEY: &str = "stages.classify.serve.net";

/// Something that is measured once a round.
pub(super) struct Load {
    /// Of its run directories.
    pub(super) name: String,
    pub(super) scenario: Scenario,
}

/// All that is measured.
pub(super) struct Plan {
    /// What the profile is fitted to.
    pub(super) probes: Vec<Load>,
    /// What it never sees: every point once, however many studies have it.
    pub(super) loads: Vec<Load>,
    /// Of each study the place of its points among the loads.
    pub(super) points: Vec<Vec<usize>>,
}

/// A measurement of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item {
    Probe(usize),
    Load(usize),
}

impl Plan {
    /// Reads all of it, so that a study with a mistake measures nothing: loads with the options `common`,
    /// probes with those of `probing`.
    pub(super) fn new(
        common: &Common,
        probing: &Common,
        arguments: &Judge,
        studies: &[Study],
    ) -> Result<Plan, Failure> {
        let mut loads: Vec<Load> = Vec::new();
        let mut known = BTreeMap::new();
        let mut points = Vec::new();
        for study in studies {
            let mut places = Vec::new();
            for (index, task) in tasks(common, study, Cores::Here)?.into_iter().enumerate() {
                let place = *known
                    .entry(to_toml(task.scenario.file()))
                    .or_insert(loads.len());
                if place == loads.len() {
                    loads.push(Load {
                        name: format!("{}-{}", study.name, index + 1),
                        scenario: task.scenario,
                    });
                }
                places.push(place);
            }
            points.push(places);
        }
        let probes = match arguments.probes.is_empty() {
            true => probes_of(probing, &loads)?,
            false => {
                let given = arguments.probes.iter();
                given
                    .map(|path| given_probe(probing, path))
                    .collect::<Result<_, _>>()?
            }
        };
        Ok(Plan {
            probes,
            loads,
            points,
        })
    }

    /// Number of measurements of a round.
    pub(super) fn n_items(&self) -> usize {
        self.probes.len() + self.loads.len() + 1
    }

    /// All but the first load, which begins and ends a round, in an order that differs from round to round:
    /// a machine that drifts favours none of them.
    pub(super) fn order(&self, round: u32) -> Vec<Item> {
        let probes = (0..self.probes.len()).map(Item::Probe);
        let loads = (1..self.loads.len()).map(Item::Load);
        let mut rng = stream(Seed(u64::from(round)), "judge/order");
        let keyed = probes.chain(loads).map(|item| (uniform(&mut rng), item));
        let mut keyed: Vec<(f64, Item)> = keyed.collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        keyed.into_iter().map(|(_, item)| item).collect()
    }
}

/// The probes of what the loads are made of: transports, nets, their raw input.
fn probes_of(common: &Common, loads: &[Load]) -> Result<Vec<Load>, Failure> {
    let over = |transport: Transport| {
        let hops = loads
            .iter()
            .flat_map(|load| load.scenario.groups.rows())
            .flat_map(|group| &group.path);
        hops.into_iter().any(|hop| hop.over == transport)
    };
    for transport in [Transport::Rdma, Transport::Gdr] {
        if over(transport) {
            let problem = format!(
                "a study has hops over `{}`, whose probes depend on the adapters; give all probes with --probe",
                transport.name()
            );
            return Err(Usage(problem).into());
        }
    }
    let mut planned = vec![(stem(WIRE.path), WIRE, Vec::new())];
    if over(Transport::Local) {
        planned.push((stem(LOCAL.path), LOCAL, Vec::new()));
    }
    let nets = nets(loads);
    for (net, input) in &nets {
        let mut overrides = net.overrides();
        let (probe, name) = match input {
            InputFile::Preprocessed => (NET, net.label()),
            InputFile::Raw { width, height } => {
                let raw = format!("{{ raw = {{ width = {width}, height = {height} }} }}");
                overrides.push(format!("{KEY}.input={raw}"));
                (RAW, format!("{}-{width}x{height}", net.label()))
            }
        };
        planned.push((format!("{}-{name}", stem(probe.path)), probe, overrides));
    }
    // Contention is one number a host: any net shows it, and without one that of the file.
    let first = nets.first().map(|(net, _)| net.overrides());
    planned.push((stem(CONTENTION.path), CONTENTION, first.unwrap_or_default()));
    let probes = planned.into_iter().map(|(name, probe, mut overrides)| {
        overrides.push(format!("name=\"{name}\""));
        let scenario = load(common, probe, &overrides)?;
        Ok(Load { name, scenario })
    });
    probes.collect()
}

/// A net and the side of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Net {
    name: &'static str,
    side: u32,
}

impl Net {
    fn label(&self) -> String {
        format!("{}@{}", self.name, self.side)
    }

    fn overrides(&self) -> Vec<String> {
        vec![
            format!("{KEY}.name=\"{}\"", self.name),
            format!("{KEY}.side={}", self.side),
        ]
    }
}

/// Each net with each input that the loads have, once.
fn nets(loads: &[Load]) -> Vec<(Net, InputFile)> {
    let mut nets = Vec::new();
    let stages = loads.iter().flat_map(|load| load.scenario.stages.rows());
    for stage in stages {
        let StageRole::Serve(serve) = &stage.role else {
            continue;
        };
        if let Work::Net {
            net, side, input, ..
        } = &serve.work
        {
            let (name, side) = (net.name, *side);
            let found = (Net { name, side }, *input);
            if !nets.contains(&found) {
                nets.push(found);
            }
        }
    }
    nets
}

/// The probe in a file, placed on this machine's cores.
fn given_probe(common: &Common, path: &Path) -> Result<Load, Failure> {
    let mut overrides = common.overrides.clone();
    overrides.extend(common.seed.map(|seed| format!("run.seed={seed}")));
    let scenario = Scenario::load(path, &overrides)?;
    overrides.extend(placed_here(scenario.file())?);
    let scenario = Scenario::load(path, &overrides)?;
    let name = scenario.name.clone();
    Ok(Load { name, scenario })
}
