//! Checks of the hosts and their cores.

use super::Check;
use crate::error::FileError;
use crate::ids::{CoreSetId, HostId, Id, Table};
use crate::scenario::{CoreSet, Host, HostFile, LocalFile, Nic, PlacementFile};

/// The name of the host on which plain stages, and clients of nothing else, stand in tables.
const NOWHERE: &str = "-";

/// Most hosts of a kind.
const MOST_HOSTS: u32 = 65_536;

/// The hosts, and the sets of cores that they run on.
type HostsAndCores = (Table<HostId, Host>, Table<CoreSetId, CoreSet>);

impl Check<'_> {
    pub(super) fn table_of_hosts(&self) -> Result<HostsAndCores, FileError> {
        let mut core_sets: Table<CoreSetId, CoreSet> = Table::default();
        let mut hosts = Table::default();
        let local = match &self.file.placement {
            PlacementFile::Separate | PlacementFile::Device {} => None,
            PlacementFile::Local(local) | PlacementFile::Netns(local) => Some(local),
        };
        self.counts_of_hosts()?;
        for (index, (key, name, host)) in self.each_host().enumerate() {
            self.at_least_one(&format!("hosts.{key}.cores"), host.cores)?;
            let set = CoreSet {
                cores: self.cores_of(key, host.cores, local)?,
                machine: if local.is_some() { 0 } else { index },
                part: host.part.clone(),
            };
            let known = core_sets
                .iter()
                .find(|(_, known)| **known == set)
                .map(|(id, _)| id);
            let core_set = known.unwrap_or_else(|| core_sets.push(set));
            let (first, _) = self.hosts_called(key).expect("it is one of them");
            let replica = index - first.index();
            let pinned = local.is_some_and(|l| l.pin.contains_key(key));
            hosts.push(Host {
                name,
                key: key.clone(),
                replica,
                part: host.part.clone(),
                core_set,
                pinned,
                gpus: self.gpus(&format!("hosts.{key}"), host)?,
                nic: host.nic.as_ref().map(|nic| Nic {
                    part: nic.part.clone(),
                    socket: nic.socket.unwrap_or_default(),
                }),
            });
        }
        if let Some(local) = local {
            self.one_machine(local, &core_sets)?;
        }
        if self.is_plain() {
            let core_set = core_sets.push(CoreSet {
                cores: Vec::new(),
                machine: hosts.len(),
                part: NOWHERE.to_owned(),
            });
            hosts.push(Host {
                name: NOWHERE.to_owned(),
                key: NOWHERE.to_owned(),
                replica: 0,
                part: NOWHERE.to_owned(),
                core_set,
                pinned: false,
                gpus: Vec::new(),
                nic: None,
            });
        }
        Ok((hosts, core_sets))
    }

    /// The host of plain stages, the last in the table.
    pub(super) fn nowhere(&self) -> HostId {
        HostId::from_index(self.each_host().count())
    }

    /// Every host, with its key and its name: those that share a key follow one another.
    pub(super) fn each_host(&self) -> impl Iterator<Item = (&String, String, &HostFile)> {
        let hosts = self.file.hosts.iter();
        hosts.flat_map(|(key, host)| {
            (0..host.count).map(move |replica| (key, name_of(key, replica, host.count), host))
        })
    }

    /// The first of the hosts that the file calls `key`, and how many they are.
    pub(super) fn hosts_called(&self, key: &str) -> Option<(HostId, u32)> {
        let count = self.file.hosts.get(key)?.count;
        let before = self
            .file
            .hosts
            .iter()
            .take_while(|(other, _)| other.as_str() < key);
        let first: usize = before.map(|(_, host)| host.count as usize).sum();
        Some((HostId::from_index(first), count))
    }

    /// How many hosts there are of each kind.
    fn counts_of_hosts(&self) -> Result<(), FileError> {
        for (key, host) in &self.file.hosts {
            let key = format!("hosts.{key}.count");
            let count = self.at_least_one(&key, host.count)?;
            if count > MOST_HOSTS {
                let problem = format!("must be at most {MOST_HOSTS}, found {count}");
                return Err(self.source.invalid(&key, problem));
            }
            if count > 1 && !matches!(self.file.placement, PlacementFile::Separate) {
                let problem = format!(
                    "must be 1 with placement `{}`, where hosts are parts of one machine, found {count}",
                    self.placement_name()
                );
                return Err(self.source.invalid(&key, problem));
            }
        }
        let several = self.each_host().filter(|(key, name, _)| *key != name);
        for (key, name, _) in several {
            if self.file.hosts.contains_key(&name) {
                let problem = format!("has a host `{name}`, and there is a host `{name}` already");
                return Err(self.source.invalid(&format!("hosts.{key}.count"), problem));
            }
        }
        Ok(())
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
            PlacementFile::Device {} => "device",
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
        let on = |(name, host): &(&String, &HostFile)| {
            self.cores_of(name, host.cores, Some(local))
                .is_ok_and(|cores| cores == set.cores)
        };
        let hosts = self.file.hosts.iter().filter(on);
        hosts.map(|(name, _)| name.clone()).collect()
    }
}

/// The name of a host of which there are `count`.
fn name_of(key: &str, replica: u32, count: u32) -> String {
    match count {
        1 => key.to_owned(),
        _ => format!("{key}-{replica}"),
    }
}
