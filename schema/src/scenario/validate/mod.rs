//! From [`ScenarioFile`] to [`Scenario`]: every check, each with the key it is about.

mod calls;
mod clients;
mod gpus;
mod hops;
mod hosts;
mod links;
mod outages;
mod plain;
mod proxies;
mod replicas;
mod tcp;
mod verbs;

use super::{
    BatchClose, BatchFile, BatchPolicy, Extent, FabricFile, InputFile, NetFile, Placement,
    PlacementFile, Proxy, SCENARIO_FORMAT, Scenario, ScenarioFile, Serve, ServeFile, Source, Stage,
    StageFile, StageRole, Work,
};
use crate::error::{FileError, suggest};
use crate::ids::{HostId, Id, StageId, Table};
use crate::nets::{NETS, NetInfo};
use crate::random::Seed;
use crate::units::SimDuration;

/// The greatest number of a priority.
const LOWEST_PRIORITY: u32 = 1_000_000;

/// Checks `file` and resolves its names.
pub(super) fn validate(mut file: ScenarioFile, source: Source) -> Result<Scenario, FileError> {
    if file.format != SCENARIO_FORMAT {
        return Err(source.unknown_format(file.format, "1"));
    }
    fill_defaults(&mut file);
    let check = Check {
        file: &file,
        source: &source,
    };
    check.extents()?;
    check.rate_tolerance()?;
    let (hosts, core_sets) = check.table_of_hosts()?;
    let network = check.network()?;
    let faults = check.faults(&network)?;
    let stages = check.stages()?;
    check.processes(&stages)?;
    let mut resolved = file.clone();
    for (name, switch) in network.attached {
        let host = resolved.hosts.get_mut(&name).expect("it was attached");
        host.attach = Some(switch);
    }
    let mut scenario = Scenario {
        name: file.name.clone(),
        seed: Seed(file.run.seed),
        warmup: file.run.warmup,
        measure: file.run.measure,
        rate_tolerance: file.run.rate_tolerance,
        placement: match file.placement {
            PlacementFile::Separate => Placement::Separate,
            PlacementFile::Local(_) => Placement::Local,
            PlacementFile::Netns(_) => Placement::Netns,
            PlacementFile::Device {} => Placement::Device,
        },
        core_sets,
        hosts,
        switches: network.switches,
        links: network.links,
        access: network.access,
        faults,
        outages: Vec::new(),
        stages,
        groups: Table::default(),
        clients: Table::default(),
        classes: Table::default(),
        file: resolved,
        source: source.clone(),
    };
    if file.clients.is_empty() {
        return Err(source.invalid("clients", "there must be at least one group of clients"));
    }
    check.steps(&mut scenario)?;
    for index in 0..file.clients.len() {
        check.group(index, &mut scenario)?;
    }
    scenario.outages = check.outages(&scenario)?;
    Ok(scenario)
}

/// Writes out the defaults that depend on other keys, so that the resolved file says all.
fn fill_defaults(file: &mut ScenarioFile) {
    for (index, group) in file.clients.iter_mut().enumerate() {
        group.name.get_or_insert_with(|| format!("clients-{index}"));
    }
    if let Some(FabricFile::LeafSpine(racks)) = &mut file.fabric {
        racks.uplink_delay.get_or_insert(racks.delay);
    }
    if let Some(FabricFile::MultiRack(file)) = &mut file.fabric {
        file.racks.uplink_delay.get_or_insert(file.racks.delay);
    }
    for stage in file.stages.values_mut() {
        if let Some(serve) = &mut stage.serve {
            if stage.gpu.is_none() {
                stage.instances.get_or_insert(1);
            }
            stage.batch.get_or_insert_with(|| BatchFile {
                max: 1,
                delay: SimDuration::ZERO,
                preferred: Vec::new(),
                close: BatchClose::default(),
            });
            if let ServeFile::Net(net) = serve {
                let known = NetInfo::find(&net.name);
                net.side = net.side.or(known.map(|k| k.default_side));
            }
        }
    }
}

/// Whether the stage is none that stands on a host.
fn is_plain(stage: &StageFile) -> bool {
    stage.serve.is_none() && stage.proxy.is_none()
}

/// What a stage may do, and whether this one does.
const fn roles(stage: &StageFile) -> [(&'static str, bool); 8] {
    [
        ("serve", stage.serve.is_some()),
        ("proxy", stage.proxy.is_some()),
        ("station", stage.station.is_some()),
        ("fork", stage.fork.is_some()),
        ("join", stage.join.is_some()),
        ("balance", stage.balance.is_some()),
        ("tokens", stage.tokens.is_some()),
        ("release", stage.release.is_some()),
    ]
}

/// The keys that only go with `serve`, and whether each is given.
const fn options_of_serve(stage: &StageFile) -> [(&'static str, bool); 4] {
    [
        ("instances", stage.instances.is_some()),
        ("batch", stage.batch.is_some()),
        ("hand-back", stage.hand_back.is_some()),
        ("gpu", stage.gpu.is_some()),
    ]
}

struct Check<'a> {
    file: &'a ScenarioFile,
    source: &'a Source,
}

impl Check<'_> {
    fn extents(&self) -> Result<(), FileError> {
        let run = &self.file.run;
        let empty = match run.measure {
            Extent::Requests(n) => n == 0,
            Extent::Time(time) => time == SimDuration::ZERO,
            Extent::Auto => {
                let problem = "only a warm-up can be `auto` (allowed: requests, time)";
                return Err(self.source.invalid("run.measure", problem));
            }
        };
        if empty {
            let problem = "must be more than zero, found zero";
            return Err(self.source.invalid("run.measure", problem));
        }
        match (run.warmup, run.measure) {
            (Extent::Requests(0) | Extent::Auto, _)
            | (Extent::Requests(_), Extent::Requests(_))
            | (Extent::Time(_), Extent::Time(_)) => Ok(()),
            (warmup, measure) => Err(self.source.invalid(
                "run.warmup",
                format!(
                    "is given as `{}` and `measure` as `{}`; both must be `requests`, or both `time`",
                    warmup.kind(),
                    measure.kind()
                ),
            )),
        }
    }

    fn rate_tolerance(&self) -> Result<(), FileError> {
        let found = self.file.run.rate_tolerance;
        if (0.0..=1.0).contains(&found) {
            return Ok(());
        }
        let problem = format!("must be from 0 to 1, found {found}");
        Err(self.source.invalid("run.rate-tolerance", problem))
    }

    fn at_least_one(&self, key: &str, value: u32) -> Result<u32, FileError> {
        if value == 0 {
            return Err(self.source.invalid(key, "must be at least 1, found 0"));
        }
        Ok(value)
    }

    fn host(&self, key: &str, name: &str) -> Result<HostId, FileError> {
        self.hosts(key, name).map(|(first, _)| first)
    }

    /// The first of the hosts called `name`, and how many they are.
    fn hosts(&self, key: &str, name: &str) -> Result<(HostId, u32), FileError> {
        self.hosts_called(name).ok_or_else(|| {
            let hint = suggest(name, self.file.hosts.keys().map(String::as_str));
            self.source
                .invalid(key, format!("there is no host `{name}`{hint}"))
        })
    }

    fn stage(&self, key: &str, name: &str) -> Result<StageId, FileError> {
        self.file
            .stages
            .keys()
            .position(|stage| stage == name)
            .map(StageId::from_index)
            .ok_or_else(|| {
                let hint = suggest(name, self.file.stages.keys().map(String::as_str));
                self.source
                    .invalid(key, format!("there is no stage `{name}`{hint}"))
            })
    }

    fn stages(&self) -> Result<Table<StageId, Stage>, FileError> {
        for (name, stage) in &self.file.stages {
            self.one_role(&format!("stages.{name}"), stage)?;
        }
        self.one_kind_of_stages()?;
        self.file
            .stages
            .iter()
            .map(|(name, stage)| {
                let key = format!("stages.{name}");
                if is_plain(stage) {
                    return self.plain_stage(&key, name, stage);
                }
                let on = stage.on.as_ref().ok_or_else(|| {
                    let hint = allowed(self.file.hosts.keys());
                    let problem =
                        format!("must be given, since the stage is not a plain one{hint}");
                    self.source.invalid(&format!("{key}.on"), problem)
                })?;
                let (host, replicas) = self.hosts(&format!("{key}.on"), on)?;
                let role = match &stage.serve {
                    Some(serve) => StageRole::Serve(self.serve(&key, host, stage, serve)?),
                    None => StageRole::Proxy(self.proxy(&key, stage)?),
                };
                if !stage.next.is_empty() {
                    let problem = "only a plain stage has `next`; a path leads on from others";
                    return Err(self.source.invalid(&format!("{key}.next"), problem));
                }
                let threads = format!("{key}.receive-threads");
                Ok(Stage {
                    name: name.clone(),
                    host,
                    replicas,
                    receive_threads: (stage.receive_threads)
                        .map(|n| self.at_least_one(&threads, n))
                        .transpose()?,
                    role,
                    steps: Vec::new(),
                })
            })
            .collect()
    }

    fn one_role(&self, key: &str, stage: &StageFile) -> Result<(), FileError> {
        let quoted = |name: &str| format!("`{name}`");
        let all = roles(stage);
        let given: Vec<String> = all.iter().filter(|r| r.1).map(|r| quoted(r.0)).collect();
        if given.len() == 1 {
            return Ok(());
        }
        let found = if given.is_empty() {
            "none".to_owned()
        } else {
            given.join(" and ")
        };
        let allowed = all.map(|(name, _)| name).join(", ");
        let problem = format!("must have one role, found {found} (allowed: {allowed})");
        Err(self.source.invalid(key, problem))
    }

    fn proxy(&self, key: &str, stage: &StageFile) -> Result<Proxy, FileError> {
        for (option, is_given) in options_of_serve(stage) {
            if is_given {
                let problem = "belongs to `serve`, not to `proxy`";
                return Err(self.source.invalid(&format!("{key}.{option}"), problem));
            }
        }
        let file = stage.proxy.as_ref().expect("the stage is a proxy");
        let pool = format!("{key}.proxy.pool");
        Ok(Proxy {
            pool: (file.pool)
                .map(|n| self.at_least_one(&pool, n))
                .transpose()?,
        })
    }

    fn serve(
        &self,
        key: &str,
        host: HostId,
        stage: &StageFile,
        serve: &ServeFile,
    ) -> Result<Serve, FileError> {
        let gpu = self.gpu_use(key, host, stage)?;
        let work = match serve {
            ServeFile::Net(net) => self.net(&format!("{key}.serve.net"), net)?,
            ServeFile::Synthetic(synthetic) => Work::Synthetic(synthetic.clone()),
            ServeFile::Profiled(net) => Work::Profiled(net.clone()),
            ServeFile::Kernels(kernels) => {
                let key = format!("{key}.serve.kernels");
                Work::Kernels(self.kernels(&key, host, kernels, gpu.as_ref())?)
            }
        };
        let instances = match &gpu {
            Some(gpu) => gpu.contexts(),
            None => stage.instances.expect("the default was filled in"),
        };
        Ok(Serve {
            work,
            instances: self.at_least_one(&format!("{key}.instances"), instances)?,
            batch: self.batch(key, stage)?,
            hand_back: stage.hand_back.unwrap_or_default(),
            gpu,
        })
    }

    fn batch(&self, key: &str, stage: &StageFile) -> Result<BatchPolicy, FileError> {
        let batch = stage.batch.as_ref().expect("the default was filled in");
        let key = format!("{key}.batch");
        let max = self.at_least_one(&format!("{key}.max"), batch.max)?;
        for (index, size) in batch.preferred.iter().enumerate() {
            let key = format!("{key}.preferred.{index}");
            if !(1..=max).contains(size) {
                let problem = format!("must be from 1 to `max`, {max}; found {size}");
                return Err(self.source.invalid(&key, problem));
            }
            if let Some(before) = index.checked_sub(1).map(|before| batch.preferred[before])
                && before >= *size
            {
                let problem =
                    format!("must be more than the one before it, {before}; found {size}");
                return Err(self.source.invalid(&key, problem));
            }
        }
        Ok(BatchPolicy {
            max,
            delay: batch.delay,
            preferred: batch.preferred.clone(),
            close: batch.close,
        })
    }

    fn net(&self, key: &str, net: &NetFile) -> Result<Work, FileError> {
        let Some(info) = NetInfo::find(&net.name) else {
            let hint = suggest(&net.name, NETS.iter().map(|n| n.name));
            let problem = format!("there is no net `{}`{hint}", net.name);
            return Err(self.source.invalid(&format!("{key}.name"), problem));
        };
        let side = net.side.expect("the default was filled in");
        if let Some(problem) = info.side_problem(side) {
            return Err(self.source.invalid(&format!("{key}.side"), problem));
        }
        if let InputFile::Raw { width, height } = net.input {
            self.raw_size(&format!("{key}.input.raw"), width, height)?;
        }
        Ok(Work::Net {
            net: info,
            side,
            input: net.input,
            weights: net.weights.clone(),
        })
    }

    /// The size of a raw image, in pixels.
    fn raw_size(&self, key: &str, width: u32, height: u32) -> Result<(), FileError> {
        let allowed = 1..=16_384;
        if allowed.contains(&width) && allowed.contains(&height) {
            return Ok(());
        }
        let problem = format!("width and height must be from 1 to 16384, found {width} x {height}");
        Err(self.source.invalid(key, problem))
    }

    fn positive(&self, key: &str, value: f64) -> Result<f64, FileError> {
        if value > 0.0 && value.is_finite() {
            return Ok(value);
        }
        let problem = format!("must be more than zero, found {value}");
        Err(self.source.invalid(key, problem))
    }
}

/// The names allowed, as the end of a message.
fn allowed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    format!(" (allowed: {names})")
}
