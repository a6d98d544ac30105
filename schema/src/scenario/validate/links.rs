//! Checks of what is between hosts: switches, links, generated networks, ways and faults.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::error::{FileError, suggest};
use crate::ids::{HostId, Id, LinkId, SwitchId, Table};
use crate::scenario::{
    Access, Ethernet, FabricFile, FatTreeFile, Fault, FaultFile, LeafSpineFile, Link, Scenario,
    Switch, Vertex, Way,
};
use crate::units::{ByteRate, SimDuration};

/// Most links between the switches of a generated network.
const MOST_LINKS: u64 = 1_000_000;
/// Most ports of a switch of a fat-tree: 65,536 hosts.
const MOST_PORTS: u32 = 64;

/// What is between the hosts.
pub(super) struct Network {
    pub(super) switches: Table<SwitchId, Switch>,
    pub(super) links: Table<LinkId, Link>,
    pub(super) access: Option<Access>,
    /// The switch of a generated network to which each host is attached that is the only one of its
    /// kind, by its name.
    pub(super) attached: BTreeMap<String, String>,
}

/// Where hosts may be attached to a generated network.
struct Places {
    /// The switches of the racks, the first number and one more than the last.
    switches: [usize; 2],
    /// Most hosts of each.
    each: Option<u32>,
    cable: Cable,
    border: Option<(SwitchId, Cable)>,
}

/// A cable between a host or a switch and another.
#[derive(Clone)]
struct Cable {
    rate: Option<ByteRate>,
    delay: SimDuration,
    part: Option<String>,
    ethernet: Option<Ethernet>,
}

impl Network {
    fn add_switches(&mut self, name: &str, n: u32) -> Vec<SwitchId> {
        let names = (0..n).map(|index| format!("{name}-{index}"));
        names
            .map(|name| self.switches.push(Switch { name }))
            .collect()
    }

    fn connect(&mut self, key: &str, a: Vertex, b: Vertex, cable: &Cable) {
        self.links.push(Link {
            between: [a, b],
            key: key.to_owned(),
            part: cable.part.clone(),
            rate: cable.rate,
            delay: cable.delay,
            ethernet: cable.ethernet,
        });
    }
}

impl Check<'_> {
    pub(super) fn network(&self) -> Result<Network, FileError> {
        let mut network = Network {
            switches: Table::default(),
            links: Table::default(),
            access: None,
            attached: BTreeMap::new(),
        };
        for name in &self.file.switches {
            network.switches.push(Switch { name: name.clone() });
        }
        let places = match &self.file.fabric {
            Some(fabric) => Some(self.generate(fabric, &mut network)?),
            None => None,
        };
        self.names_of_switches(&network)?;
        let generated = std::mem::take(&mut network.links);
        self.links(&mut network)?;
        for link in generated.rows() {
            network.links.push(link.clone());
        }
        match places {
            Some(places) => self.attach(&places, &mut network)?,
            None => self.attach_nowhere()?,
        }
        Ok(network)
    }

    /// A switch has another name than each host and each other switch.
    fn names_of_switches(&self, network: &Network) -> Result<(), FileError> {
        let mut known = BTreeSet::new();
        for (id, switch) in network.switches.iter() {
            let key = match (&self.file.fabric, self.file.switches.get(id.index())) {
                (_, Some(_)) => format!("switches.{}", id.index()),
                (Some(fabric), None) => format!("fabric.{}", fabric.kind()),
                (None, None) => unreachable!("switches are listed or generated"),
            };
            let name = &switch.name;
            let what = if self.each_host().any(|(_, host, _)| host == *name) {
                "host"
            } else if known.contains(name) {
                "switch"
            } else {
                known.insert(name);
                continue;
            };
            let problem = format!("has a switch `{name}`, and there is a {what} `{name}` already");
            return Err(self.source.invalid(&key, problem));
        }
        Ok(())
    }

    /// What links may join by that name: a switch, a host, or all hosts of a kind.
    fn vertices(&self, network: &Network, key: &str, name: &str) -> Result<Vec<Vertex>, FileError> {
        let mut switches = network.switches.iter();
        if let Some((id, _)) = switches.find(|(_, switch)| switch.name == name) {
            return Ok(vec![Vertex::Switch(id)]);
        }
        if let Some((first, count)) = self.hosts_called(name) {
            let hosts = (first.index()..).take(count as usize);
            return Ok(hosts.map(HostId::from_index).map(Vertex::Host).collect());
        }
        if let Some(index) = self.each_host().position(|(_, host, _)| host == name) {
            return Ok(vec![Vertex::Host(HostId::from_index(index))]);
        }
        let hosts = self.file.hosts.keys().map(String::as_str);
        let switches = network.switches.rows().iter().map(|s| s.name.as_str());
        let hint = suggest(name, hosts.chain(switches));
        let what = match network.switches.is_empty() {
            true => "host",
            false => "host or switch",
        };
        let problem = format!("there is no {what} `{name}`{hint}");
        Err(self.source.invalid(key, problem))
    }

    fn links(&self, network: &mut Network) -> Result<(), FileError> {
        let mut known = BTreeSet::new();
        for (index, link) in self.file.links.iter().enumerate() {
            let key = format!("links.{index}.between");
            let [a, b] = &link.between;
            let ends = [
                self.vertices(network, &key, a)?,
                self.vertices(network, &key, b)?,
            ];
            if link.part.is_none() && link.rate.is_none() {
                let problem = "must have a `part`, or a `rate` and a `delay`";
                return Err(self.source.invalid(&format!("links.{index}"), problem));
            }
            for between in pairs(&ends) {
                if between[0] == between[1] {
                    let what = match between[0] {
                        Vertex::Host(_) => "hosts",
                        Vertex::Switch(_) => "switches",
                    };
                    let problem = format!("a link joins two different {what}");
                    return Err(self.source.invalid(&key, problem));
                }
                if !known.insert(sorted(between)) {
                    let problem = format!("there is a link between `{a}` and `{b}` already");
                    return Err(self.source.invalid(&key, problem));
                }
                network.links.push(Link {
                    between,
                    key: format!("links.{index}"),
                    part: link.part.clone(),
                    rate: link.rate,
                    delay: link.delay.unwrap_or(SimDuration::ZERO),
                    ethernet: self.ethernet(&format!("links.{index}"), link.ethernet, link.rate)?,
                });
            }
        }
        Ok(())
    }

    fn generate(&self, fabric: &FabricFile, network: &mut Network) -> Result<Places, FileError> {
        let key = format!("fabric.{}", fabric.kind());
        match fabric {
            FabricFile::Star(star) => {
                let name = "switch".to_owned();
                let centre = network.switches.push(Switch { name });
                Ok(Places {
                    switches: [centre.index(), centre.index() + 1],
                    each: None,
                    cable: Cable {
                        rate: Some(star.rate),
                        delay: star.delay,
                        part: star.part.clone(),
                        ethernet: self.ethernet(&key, star.ethernet, Some(star.rate))?,
                    },
                    border: None,
                })
            }
            FabricFile::LeafSpine(racks) => {
                let (places, _) = self.leaf_spine(&key, racks, network)?;
                Ok(places)
            }
            FabricFile::FatTree(tree) => self.fat_tree(&key, tree, network),
            FabricFile::MultiRack(file) => {
                let (mut places, spines) =
                    self.leaf_spine(&format!("{key}.racks"), &file.racks, network)?;
                let access = &file.access;
                self.distribution(&format!("{key}.access.delay"), &access.delay)?;
                self.distribution(&format!("{key}.access.jitter"), &access.jitter)?;
                let name = "border".to_owned();
                let border = network.switches.push(Switch { name });
                let uplink = Cable {
                    rate: access.border_rate,
                    delay: access.border_delay,
                    part: None,
                    ethernet: None,
                };
                let key = format!("{key}.access");
                for spine in spines {
                    let ends = [border, spine].map(Vertex::Switch);
                    network.connect(&key, ends[0], ends[1], &uplink);
                }
                let cable = Cable {
                    rate: Some(access.rate),
                    delay: SimDuration::ZERO,
                    part: access.part.clone(),
                    ethernet: self.ethernet(&key, access.ethernet, Some(access.rate))?,
                };
                places.border = Some((border, cable));
                network.access = Some(Access {
                    hosts: Vec::new(),
                    delay: access.delay.clone(),
                    jitter: access.jitter.clone(),
                });
                Ok(places)
            }
        }
    }

    fn leaf_spine(
        &self,
        key: &str,
        file: &LeafSpineFile,
        network: &mut Network,
    ) -> Result<(Places, Vec<SwitchId>), FileError> {
        self.at_least_one(&format!("{key}.leaves"), file.leaves)?;
        self.at_least_one(&format!("{key}.hosts-per-leaf"), file.hosts_per_leaf)?;
        self.at_least_one(&format!("{key}.spines"), file.spines)?;
        let n_links = u64::from(file.leaves) * u64::from(file.spines);
        if n_links > MOST_LINKS {
            let problem = format!(
                "would have {n_links} links between leaves and spines (at most {MOST_LINKS})"
            );
            return Err(self.source.invalid(key, problem));
        }
        let over = self.positive(&format!("{key}.oversubscription"), file.oversubscription)?;
        let sent = f64::from(file.hosts_per_leaf) * file.rate.as_bytes_per_s() as f64;
        let uplink = sent / (over * f64::from(file.spines));
        let Some(rate) = ByteRate::from_bytes_per_s(uplink as u64) else {
            let problem =
                format!("leaves an uplink {uplink} B/s (allowed: at least 1), found {over}");
            return Err(self
                .source
                .invalid(&format!("{key}.oversubscription"), problem));
        };
        let leaves = network.add_switches("leaf", file.leaves);
        let spines = network.add_switches("spine", file.spines);
        let uplink = Cable {
            rate: Some(rate),
            delay: file.uplink_delay.expect("the default was filled in"),
            part: file.part.clone(),
            ethernet: self.ethernet(key, file.ethernet, Some(rate))?,
        };
        for leaf in &leaves {
            for spine in &spines {
                let ends = [*leaf, *spine].map(Vertex::Switch);
                network.connect(key, ends[0], ends[1], &uplink);
            }
        }
        let first = leaves[0].index();
        let places = Places {
            switches: [first, first + leaves.len()],
            each: Some(file.hosts_per_leaf),
            cable: Cable {
                rate: Some(file.rate),
                delay: file.delay,
                part: file.part.clone(),
                ethernet: file.ethernet,
            },
            border: None,
        };
        Ok((places, spines))
    }

    fn fat_tree(
        &self,
        key: &str,
        file: &FatTreeFile,
        network: &mut Network,
    ) -> Result<Places, FileError> {
        let k = file.k;
        if k == 0 || !k.is_multiple_of(2) || k > MOST_PORTS {
            let problem = format!("must be even and from 2 to {MOST_PORTS}, found {k}");
            return Err(self.source.invalid(&format!("{key}.k"), problem));
        }
        let half = k / 2;
        let edges = network.add_switches("edge", k * half);
        let aggregations = network.add_switches("aggregation", k * half);
        let cores = network.add_switches("core", half * half);
        let cable = Cable {
            rate: Some(file.rate),
            delay: file.delay,
            part: file.part.clone(),
            ethernet: self.ethernet(key, file.ethernet, Some(file.rate))?,
        };
        let width = half as usize;
        let pods = edges.chunks(width).zip(aggregations.chunks(width));
        for (edges, aggregations) in pods {
            for (aggregation, cores) in aggregations.iter().zip(cores.chunks(width)) {
                for below in edges {
                    let ends = [*below, *aggregation].map(Vertex::Switch);
                    network.connect(key, ends[0], ends[1], &cable);
                }
                for core in cores {
                    let ends = [*aggregation, *core].map(Vertex::Switch);
                    network.connect(key, ends[0], ends[1], &cable);
                }
            }
        }
        let first = edges[0].index();
        Ok(Places {
            switches: [first, first + edges.len()],
            each: Some(half),
            cable,
            border: None,
        })
    }

    /// Attaches the hosts that say where, and then the others in the order of their names.
    fn attach(&self, places: &Places, network: &mut Network) -> Result<(), FileError> {
        let [first, end] = places.switches;
        let mut left = vec![places.each.unwrap_or(u32::MAX); end - first];
        let fabric = self.file.fabric.as_ref().expect("it was generated");
        let key = format!("fabric.{}", fabric.kind());
        let mut chosen = Vec::new();
        for (key, _, host) in self.each_host() {
            let Some(attach) = &host.attach else {
                chosen.push(None);
                continue;
            };
            let place = format!("hosts.{key}.attach");
            let switch = self.place(&place, attach, places, network)?;
            if let Some(left) = left.get_mut(switch.index().wrapping_sub(first)) {
                *left = left.checked_sub(1).ok_or_else(|| {
                    let most = places
                        .each
                        .expect("places without a limit are never all taken");
                    let problem = format!("`{attach}` has places for {most} hosts");
                    self.source.invalid(&place, problem)
                })?;
            }
            chosen.push(Some(switch));
        }
        for (index, (name, _, file)) in self.each_host().enumerate() {
            let switch = match chosen[index] {
                Some(switch) => switch,
                None => {
                    let free = left.iter().position(|left| *left > 0).ok_or_else(|| {
                        let problem = format!(
                            "finds no place: {key} has {} for hosts",
                            left.len() as u64 * u64::from(places.each.unwrap_or(0))
                        );
                        self.source.invalid(&format!("hosts.{name}"), problem)
                    })?;
                    left[free] -= 1;
                    SwitchId::from_index(first + free)
                }
            };
            let host = HostId::from_index(index);
            let (cable, key) = match &places.border {
                Some((border, cable)) if *border == switch => {
                    let access = network.access.as_mut().expect("a border has one");
                    access.hosts.push(host);
                    (cable, format!("{key}.access"))
                }
                Some(_) => (&places.cable, format!("{key}.racks")),
                None => (&places.cable, key.clone()),
            };
            network.connect(&key, Vertex::Host(host), Vertex::Switch(switch), cable);
            if file.count == 1 {
                let switch = network.switches[switch].name.clone();
                network.attached.insert(name.clone(), switch);
            }
        }
        Ok(())
    }

    /// The switch of a generated network that a host names.
    fn place(
        &self,
        key: &str,
        name: &str,
        places: &Places,
        network: &Network,
    ) -> Result<SwitchId, FileError> {
        let [first, end] = places.switches;
        let border = places.border.as_ref().map(|(border, _)| *border);
        let racks = (first..end).map(SwitchId::from_index);
        let mut all = racks.chain(border);
        if let Some(found) = all.find(|id| network.switches[*id].name == name) {
            return Ok(found);
        }
        let of = |index: usize| &network.switches[SwitchId::from_index(index)].name;
        let mut allowed = match end - first {
            1 => of(first).clone(),
            _ => format!("{} to {}", of(first), of(end - 1)),
        };
        if let Some(border) = border {
            allowed += &format!(", {}", network.switches[border].name);
        }
        let problem = format!("no host can be attached to `{name}` (allowed: {allowed})");
        Err(self.source.invalid(key, problem))
    }

    fn attach_nowhere(&self) -> Result<(), FileError> {
        for (name, host) in &self.file.hosts {
            if let Some(attach) = &host.attach {
                let problem = format!("is only with `fabric`, found `{attach}`");
                return Err(self
                    .source
                    .invalid(&format!("hosts.{name}.attach"), problem));
            }
        }
        Ok(())
    }

    pub(super) fn faults(&self, network: &Network) -> Result<Vec<Fault>, FileError> {
        let mut faults: Vec<(usize, Fault)> = Vec::new();
        for (index, file) in self.file.faults.iter().enumerate() {
            for fault in self.faults_of_links(&format!("faults.{index}"), file, network)? {
                let overlaps = |(_, other): &(usize, Fault)| {
                    let ends = |fault: &Fault| fault.from + fault.length;
                    let is_meanwhile = other.from < ends(&fault) && fault.from < ends(other);
                    other.link == fault.link && is_meanwhile
                };
                if let Some((other, _)) = faults.iter().find(|other| overlaps(other)) {
                    let problem = format!("overlaps `faults.{other}`, which is of the same link");
                    return Err(self.source.invalid(&format!("faults.{index}"), problem));
                }
                faults.push((index, fault));
            }
        }
        Ok(faults.into_iter().map(|(_, fault)| fault).collect())
    }

    /// The faults that an entry stands for, one for each link between the two.
    fn faults_of_links(
        &self,
        key: &str,
        file: &FaultFile,
        network: &Network,
    ) -> Result<Vec<Fault>, FileError> {
        if self.is_plain() {
            let problem = "only stages on hosts use links, and those of this scenario are plain";
            return Err(self.source.invalid(key, problem));
        }
        self.one_kind_of_fault(key, file)?;
        let Some([a, b]) = &file.link else {
            return Ok(Vec::new());
        };
        let of_link = format!("{key}.link");
        let ends = [
            self.vertices(network, &of_link, a)?,
            self.vertices(network, &of_link, b)?,
        ];
        let mut faults = Vec::new();
        for pair in pairs(&ends) {
            let mut links = network.links.iter();
            let joins = |link: &Link| sorted(link.between) == sorted(pair);
            let Some((link, row)) = links.find(|(_, row)| joins(row)) else {
                let beside = self.beside(network, pair[0]);
                let problem =
                    format!("there is no link between `{a}` and `{b}` (from `{a}` to: {beside})");
                return Err(self.source.invalid(&of_link, problem));
            };
            if let Some(rate) = file.rate {
                let problem = match row.rate {
                    None => "the link has no `rate` that could be lower".to_owned(),
                    Some(whole) if rate >= whole => {
                        format!("must be less than the link's, {whole}, found {rate}")
                    }
                    Some(_) => String::new(),
                };
                if !problem.is_empty() {
                    return Err(self.source.invalid(&format!("{key}.rate"), problem));
                }
            }
            faults.push(Fault {
                link,
                from: file.from,
                length: file.length,
                rate: file.rate,
            });
        }
        Ok(faults)
    }

    /// The names of what links join with `vertex`.
    fn beside(&self, network: &Network, vertex: Vertex) -> String {
        let far = network.links.rows().iter().filter_map(|link| {
            let [a, b] = link.between;
            match (a == vertex, b == vertex) {
                (true, _) => Some(b),
                (_, true) => Some(a),
                _ => None,
            }
        });
        let hosts: Vec<String> = self.each_host().map(|(_, name, _)| name).collect();
        let names: Vec<&str> = far
            .map(|far| match far {
                Vertex::Host(host) => hosts[host.index()].as_str(),
                Vertex::Switch(switch) => network.switches[switch].name.as_str(),
            })
            .collect();
        match names.is_empty() {
            true => "nothing".to_owned(),
            false => names.join(", "),
        }
    }

    /// How a message gets from one host to another.
    pub(super) fn way(
        &self,
        key: &str,
        from: HostId,
        to: HostId,
        scenario: &Scenario,
    ) -> Result<Way, FileError> {
        let ends = [from, to].map(Vertex::Host);
        let mut links = scenario.links.iter();
        let direct = links.find(|(_, link)| sorted(link.between) == sorted(ends));
        if let Some((link, _)) = direct {
            return Ok(Way::Link(link));
        }
        if is_reachable(scenario, from, to) {
            return Ok(Way::Switched);
        }
        let listed: BTreeSet<String> = (self.file.links.iter())
            .map(|link| link.between.join(" - "))
            .collect();
        let listed: Vec<String> = listed.into_iter().collect();
        let [a, b] = [from, to].map(|host| &scenario.hosts[host].name);
        let what = if scenario.switches.is_empty() {
            format!("there is no link between `{a}` and `{b}`")
        } else {
            format!("no links lead from `{a}` over switches to `{b}`")
        };
        let listed = match listed.is_empty() {
            true => "none".to_owned(),
            false => listed.join(", "),
        };
        let problem = format!("{what} (links: {listed})");
        Err(self.source.invalid(key, problem))
    }
}

/// Whether links lead from one host over switches to another.
fn is_reachable(scenario: &Scenario, from: HostId, to: HostId) -> bool {
    let mut beside: Vec<Vec<Vertex>> = vec![Vec::new(); scenario.switches.len()];
    let mut next = Vec::new();
    for link in scenario.links.rows() {
        let [a, b] = link.between;
        for (near, far) in [(a, b), (b, a)] {
            match near {
                Vertex::Switch(switch) => beside[switch.index()].push(far),
                Vertex::Host(host) if host == from => next.push(far),
                Vertex::Host(_) => {}
            }
        }
    }
    while let Some(vertex) = next.pop() {
        match vertex {
            Vertex::Host(host) if host == to => return true,
            Vertex::Host(_) => {}
            Vertex::Switch(switch) => next.append(&mut beside[switch.index()]),
        }
    }
    false
}

/// Each of the first with each of the second.
fn pairs([a, b]: &[Vec<Vertex>; 2]) -> impl Iterator<Item = [Vertex; 2]> {
    let of = |a: &Vertex| {
        let a = *a;
        b.iter().map(move |b| [a, *b])
    };
    a.iter().flat_map(of)
}

fn sorted(mut ends: [Vertex; 2]) -> [Vertex; 2] {
    ends.sort_unstable();
    ends
}
