//! From [`ScenarioFile`] to [`Scenario`]: every check, each with the key it is about.

use std::collections::BTreeMap;

use super::{
    ArrivalsFile, BatchFile, Class, ClassFile, Client, CoreSet, Extent, Group, Hop, Host,
    InputFile, Link, LocalFile, NetFile, Placement, PlacementFile, SCENARIO_FORMAT, Scenario,
    ScenarioFile, Serve, ServeFile, Source, Stage, StageFile, StageRole, Transport, Work,
};
use crate::error::{FileError, suggest};
use crate::ids::{ClassId, CoreSetId, HostId, Id, LinkId, StageId, Table};
use crate::nets::{NETS, NetInfo};
use crate::random::Seed;
use crate::units::SimDuration;

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
    let (hosts, core_sets) = check.hosts()?;
    let links = check.links()?;
    let stages = check.stages()?;
    let mut scenario = Scenario {
        name: file.name.clone(),
        seed: Seed(file.run.seed),
        warmup: file.run.warmup,
        measure: file.run.measure,
        placement: match file.placement {
            PlacementFile::Separate => Placement::Separate,
            PlacementFile::Local(_) => Placement::Local,
            PlacementFile::Netns(_) => Placement::Netns,
        },
        core_sets,
        hosts,
        links,
        stages,
        groups: Table::default(),
        clients: Table::default(),
        classes: Table::default(),
        file: file.clone(),
        source: source.clone(),
    };
    if file.clients.is_empty() {
        return Err(source.invalid("clients", "there must be at least one group of clients"));
    }
    for index in 0..file.clients.len() {
        check.group(index, &mut scenario)?;
    }
    Ok(scenario)
}

/// Writes out the defaults that depend on other keys, so that the resolved file says all.
fn fill_defaults(file: &mut ScenarioFile) {
    for (index, group) in file.clients.iter_mut().enumerate() {
        group.name.get_or_insert_with(|| format!("clients-{index}"));
    }
    for stage in file.stages.values_mut() {
        if let Some(serve) = &mut stage.serve {
            stage.instances.get_or_insert(1);
            stage.batch.get_or_insert(BatchFile {
                max: 1,
                delay: SimDuration::ZERO,
            });
            if let ServeFile::Net(net) = serve {
                let known = NetInfo::find(&net.name);
                net.side = net.side.or(known.map(|k| k.default_side));
            }
        }
    }
}

/// The hosts, and the sets of cores that they run on.
type HostsAndCores = (Table<HostId, Host>, Table<CoreSetId, CoreSet>);

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
        };
        if empty {
            let problem = "must be more than zero, found zero";
            return Err(self.source.invalid("run.measure", problem));
        }
        match (run.warmup, run.measure) {
            (Extent::Requests(0), _)
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

    fn at_least_one(&self, key: &str, value: u32) -> Result<u32, FileError> {
        if value == 0 {
            return Err(self.source.invalid(key, "must be at least 1, found 0"));
        }
        Ok(value)
    }

    fn host(&self, key: &str, name: &str) -> Result<HostId, FileError> {
        self.file
            .hosts
            .keys()
            .position(|host| host == name)
            .map(HostId::from_index)
            .ok_or_else(|| {
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

    fn hosts(&self) -> Result<HostsAndCores, FileError> {
        let mut core_sets: Table<CoreSetId, CoreSet> = Table::default();
        let mut hosts = Table::default();
        let local = match &self.file.placement {
            PlacementFile::Separate => None,
            PlacementFile::Local(local) | PlacementFile::Netns(local) => Some(local),
        };
        for (index, (name, host)) in self.file.hosts.iter().enumerate() {
            self.at_least_one(&format!("hosts.{name}.cores"), host.cores)?;
            let set = CoreSet {
                cores: self.cores_of(name, host.cores, local)?,
                machine: if local.is_some() { 0 } else { index },
                part: host.part.clone(),
            };
            let known = core_sets
                .iter()
                .find(|(_, known)| **known == set)
                .map(|(id, _)| id);
            let core_set = known.unwrap_or_else(|| core_sets.push(set));
            let pinned = local.is_some_and(|l| l.pin.contains_key(name));
            hosts.push(Host {
                name: name.clone(),
                part: host.part.clone(),
                core_set,
                pinned,
            });
        }
        if let Some(local) = local {
            self.one_machine(local, &core_sets)?;
        }
        Ok((hosts, core_sets))
    }

    fn cores_of(
        &self,
        name: &str,
        n: u32,
        local: Option<&LocalFile>,
    ) -> Result<Vec<u32>, FileError> {
        let Some(pin) = local.and_then(|l| l.pin.get(name)) else {
            return Ok((0..n).collect());
        };
        let key = format!("placement.{}.pin.{name}", self.placement_name());
        let mut cores = pin.clone();
        cores.sort_unstable();
        cores.dedup();
        if cores.is_empty() || cores.len() != pin.len() {
            return Err(self
                .source
                .invalid(&key, "must name at least one core, each once"));
        }
        match cores.iter().find(|core| **core >= n) {
            Some(core) => Err(self.source.invalid(
                &key,
                format!(
                    "there is no core {core}, host `{name}` has {n} (allowed: 0 to {})",
                    n - 1
                ),
            )),
            None => Ok(cores),
        }
    }

    const fn placement_name(&self) -> &'static str {
        match self.file.placement {
            PlacementFile::Separate => "separate",
            PlacementFile::Local(_) => "local",
            PlacementFile::Netns(_) => "netns",
        }
    }

    /// The hosts of one machine have one part and one number of cores, and share all or none of
    /// the cores they are pinned to.
    fn one_machine(
        &self,
        local: &LocalFile,
        core_sets: &Table<CoreSetId, CoreSet>,
    ) -> Result<(), FileError> {
        let name = self.placement_name();
        for host in local.pin.keys() {
            self.host(&format!("placement.{name}.pin.{host}"), host)?;
        }
        let mut hosts = self.file.hosts.iter();
        if let Some((first, machine)) = hosts.next() {
            for (other, host) in hosts {
                if (host.cores, &host.part) != (machine.cores, &machine.part) {
                    return Err(self.source.invalid(
                        &format!("hosts.{other}"),
                        format!(
                            "with placement `{name}` all hosts are one machine, but `{first}` is {} with {} cores and `{other}` is {} with {}",
                            machine.part, machine.cores, host.part, host.cores
                        ),
                    ));
                }
            }
        }
        for (a, set) in core_sets.iter() {
            for (b, other) in core_sets.iter() {
                if a < b && set.cores.iter().any(|core| other.cores.contains(core)) {
                    let hosts = [set, other].map(|set| self.hosts_on(local, set).join(", "));
                    return Err(self.source.invalid(
                        &format!("placement.{name}.pin"),
                        format!(
                            "cores {:?} ({}) and {:?} ({}) overlap: two hosts must share all of their cores or none; a host that is not pinned has all",
                            set.cores, hosts[0], other.cores, hosts[1]
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Names of the hosts on the cores of `set`, with all hosts on one machine.
    fn hosts_on(&self, local: &LocalFile, set: &CoreSet) -> Vec<String> {
        let on = |(name, host): &(&String, &super::HostFile)| {
            self.cores_of(name, host.cores, Some(local))
                .is_ok_and(|cores| cores == set.cores)
        };
        let hosts = self.file.hosts.iter().filter(on);
        hosts.map(|(name, _)| name.clone()).collect()
    }

    fn links(&self) -> Result<Table<LinkId, Link>, FileError> {
        let mut links = Table::default();
        for (index, link) in self.file.links.iter().enumerate() {
            let key = format!("links.{index}.between");
            let between = [
                self.host(&key, &link.between[0])?,
                self.host(&key, &link.between[1])?,
            ];
            if between[0] == between[1] {
                return Err(self
                    .source
                    .invalid(&key, "a link joins two different hosts"));
            }
            if links
                .rows()
                .iter()
                .any(|known: &Link| joins(known, between[0], between[1]))
            {
                let [a, b] = &link.between;
                return Err(self.source.invalid(
                    &key,
                    format!("there is a link between `{a}` and `{b}` already"),
                ));
            }
            if link.part.is_none() && link.rate.is_none() {
                let problem = "must have a `part`, or a `rate` and a `delay`";
                return Err(self.source.invalid(&format!("links.{index}"), problem));
            }
            links.push(Link {
                between,
                part: link.part.clone(),
                rate: link.rate,
                delay: link.delay.unwrap_or(SimDuration::ZERO),
            });
        }
        Ok(links)
    }

    fn stages(&self) -> Result<Table<StageId, Stage>, FileError> {
        self.file
            .stages
            .iter()
            .map(|(name, stage)| {
                let key = format!("stages.{name}");
                let host = self.host(&format!("{key}.on"), &stage.on)?;
                let role = match (&stage.serve, &stage.proxy) {
                    (Some(serve), None) => StageRole::Serve(self.serve(&key, stage, serve)?),
                    (None, Some(_)) => self.proxy(&key, stage)?,
                    _ => {
                        return Err(self
                            .source
                            .invalid(&key, "must have `serve` or `proxy`, one of the two"));
                    }
                };
                Ok(Stage {
                    name: name.clone(),
                    host,
                    role,
                })
            })
            .collect()
    }

    fn proxy(&self, key: &str, stage: &StageFile) -> Result<StageRole, FileError> {
        if stage.instances.is_some() || stage.batch.is_some() {
            return Err(self.source.invalid(
                key,
                "`instances` and `batch` belong to `serve`, not to `proxy`",
            ));
        }
        Ok(StageRole::Proxy)
    }

    fn serve(&self, key: &str, stage: &StageFile, serve: &ServeFile) -> Result<Serve, FileError> {
        let batch = stage.batch.expect("the default was filled in");
        let instances = stage.instances.expect("the default was filled in");
        let work = match serve {
            ServeFile::Net(net) => self.net(&format!("{key}.serve.net"), net)?,
            ServeFile::Synthetic(synthetic) => Work::Synthetic(synthetic.clone()),
        };
        Ok(Serve {
            work,
            instances: self.at_least_one(&format!("{key}.instances"), instances)?,
            batch_max: self.at_least_one(&format!("{key}.batch.max"), batch.max)?,
            batch_delay: batch.delay,
        })
    }

    fn net(&self, key: &str, net: &NetFile) -> Result<Work, FileError> {
        let Some(info) = NetInfo::find(&net.name) else {
            let hint = suggest(&net.name, NETS.iter().map(|n| n.name));
            let problem = format!("there is no net `{}`{hint}", net.name);
            return Err(self.source.invalid(&format!("{key}.name"), problem));
        };
        let side = net.side.expect("the default was filled in");
        if !(info.min_side..=4096).contains(&side) {
            let problem = format!(
                "must be from {} to 4096 pixels, found {side}",
                info.min_side
            );
            return Err(self.source.invalid(&format!("{key}.side"), problem));
        }
        if let InputFile::Raw { width, height } = net.input
            && (width == 0 || height == 0 || width > 16_384 || height > 16_384)
        {
            let problem =
                format!("width and height must be from 1 to 16384, found {width} x {height}");
            return Err(self.source.invalid(&format!("{key}.input.raw"), problem));
        }
        Ok(Work::Net {
            net: info,
            side,
            input: net.input,
            weights: net.weights.clone(),
        })
    }

    fn group(&self, index: usize, scenario: &mut Scenario) -> Result<(), FileError> {
        let group = &self.file.clients[index];
        let key = format!("clients.{index}");
        let name = group.name.clone().expect("the default was filled in");
        if scenario
            .groups
            .rows()
            .iter()
            .any(|known| known.name == name)
        {
            return Err(self.source.invalid(
                &format!("{key}.name"),
                format!("there is a group `{name}` already"),
            ));
        }
        let host = self.host(&format!("{key}.on"), &group.on)?;
        self.at_least_one(&format!("{key}.count"), group.count)?;
        match &group.arrivals {
            ArrivalsFile::Poisson { connections, .. }
            | ArrivalsFile::Deterministic { connections, .. } => {
                self.at_least_one(&format!("{key}.arrivals.connections"), *connections)?;
            }
            ArrivalsFile::ClosedLoop { think } => {
                think.sampler().map_err(|(below, problem)| {
                    let key = format!("{key}.arrivals.closed-loop.think.{below}");
                    self.source.invalid(&key, problem)
                })?;
            }
        }
        let path = self.path(&key, host, scenario)?;
        let last = path.last().expect("a path has a hop").to;
        let StageRole::Serve(serve) = &scenario.stages[last].role else {
            unreachable!("a path ends at a stage that serves");
        };
        let work = serve.work.clone();
        let classes = self.classes(&key, &group.classes, &work, &mut scenario.classes)?;
        let id = scenario.groups.push(Group {
            name,
            host,
            arrivals: group.arrivals.clone(),
            classes,
            path,
        });
        for index in 0..group.count {
            scenario.clients.push(Client { group: id, index });
        }
        Ok(())
    }

    fn classes(
        &self,
        key: &str,
        classes: &[ClassFile],
        work: &Work,
        table: &mut Table<ClassId, Class>,
    ) -> Result<Vec<ClassId>, FileError> {
        let reply = work.output_bytes();
        if classes.is_empty() {
            let name = "default".to_owned();
            return Ok(vec![table.push(Class {
                name,
                share: 1.0,
                payload: work.input_bytes(),
                reply,
            })]);
        }
        let total: f64 = classes.iter().map(|class| class.share).sum();
        let mut ids = Vec::new();
        for (index, class) in classes.iter().enumerate() {
            let key = format!("{key}.classes.{index}");
            if !(class.share > 0.0 && class.share.is_finite()) {
                let problem = format!("must be more than zero, found {}", class.share);
                return Err(self.source.invalid(&format!("{key}.share"), problem));
            }
            if classes[..index]
                .iter()
                .any(|other| other.name == class.name)
            {
                let problem = format!("the group has a class `{}` already", class.name);
                return Err(self.source.invalid(&format!("{key}.name"), problem));
            }
            let payload = match (class.payload, work) {
                (None, _) => work.input_bytes(),
                (Some(payload), Work::Synthetic(_)) => payload,
                (Some(_), Work::Net { .. }) => {
                    let problem = "only a synthetic stage takes payloads of any size, a net's follow from its input";
                    return Err(self.source.invalid(&format!("{key}.payload"), problem));
                }
            };
            let share = class.share / total;
            ids.push(table.push(Class {
                name: class.name.clone(),
                share,
                payload,
                reply,
            }));
        }
        Ok(ids)
    }

    fn path(&self, key: &str, host: HostId, scenario: &Scenario) -> Result<Vec<Hop>, FileError> {
        let group = key
            .split('.')
            .nth(1)
            .and_then(|i| i.parse::<usize>().ok())
            .expect("a group's key");
        let file = &self.file.clients[group].path;
        if file.is_empty() {
            return Err(self
                .source
                .invalid(&format!("{key}.path"), "must have at least one hop"));
        }
        let mut from = host;
        let mut hops: Vec<Hop> = Vec::new();
        for (index, hop) in file.iter().enumerate() {
            let key = format!("{key}.path.{index}");
            let to = self.stage(&format!("{key}.to"), &hop.to)?;
            if hops.iter().any(|earlier| earlier.to == to) {
                let names: Vec<&str> = file[..=index].iter().map(|h| h.to.as_str()).collect();
                let problem = format!("the pipeline has a cycle: {}", names.join(" -> "));
                return Err(self.source.invalid(&format!("{key}.to"), problem));
            }
            let is_last = index + 1 == file.len();
            match (&scenario.stages[to].role, is_last) {
                (StageRole::Proxy, true) => {
                    let problem = format!(
                        "a path must end at a stage that serves, `{}` is a proxy",
                        hop.to
                    );
                    return Err(self.source.invalid(&format!("{key}.to"), problem));
                }
                (StageRole::Serve(_), false) => {
                    let problem = format!(
                        "only a path's last stage may serve, `{}` is followed by another",
                        hop.to
                    );
                    return Err(self.source.invalid(&format!("{key}.to"), problem));
                }
                _ => {}
            }
            let link = self.link(&key, from, scenario.stages[to].host, hop.over, scenario)?;
            hops.push(Hop {
                from,
                to,
                over: hop.over,
                link,
            });
            from = scenario.stages[to].host;
        }
        Ok(hops)
    }

    /// The link that a hop takes.
    fn link(
        &self,
        key: &str,
        from: HostId,
        to: HostId,
        over: Transport,
        scenario: &Scenario,
    ) -> Result<Option<LinkId>, FileError> {
        if from == to {
            return Ok(None);
        }
        if over == Transport::Local && scenario.placement != Placement::Local {
            let names = (&scenario.hosts[from].name, &scenario.hosts[to].name);
            let problem = format!(
                "`local` stays inside a machine, `{}` and `{}` are two",
                names.0, names.1
            );
            return Err(self.source.invalid(&format!("{key}.over"), problem));
        }
        let found = scenario
            .links
            .iter()
            .find(|(_, link)| joins(link, from, to))
            .map(|(id, _)| id);
        if found.is_none() {
            let links: BTreeMap<_, _> = self
                .file
                .links
                .iter()
                .map(|l| (l.between.join(" - "), ()))
                .collect();
            let links: Vec<String> = links.into_keys().collect();
            let problem = format!(
                "there is no link between `{}` and `{}` (links: {})",
                scenario.hosts[from].name,
                scenario.hosts[to].name,
                if links.is_empty() {
                    "none".to_owned()
                } else {
                    links.join(", ")
                }
            );
            return Err(self.source.invalid(key, problem));
        }
        Ok(found)
    }
}

fn joins(link: &Link, a: HostId, b: HostId) -> bool {
    link.between == [a, b] || link.between == [b, a]
}
