//! Checks of the clients, their classes and their paths over stages on hosts.

use super::{Check, LOWEST_PRIORITY, allowed};
use crate::error::FileError;
use crate::ids::{ClassId, HostId, Id, Table};
use crate::scenario::{
    Class, ClassFile, Client, ClientsFile, Group, Hop, Placement, Scenario, Serve, StageRole,
    Transport, Way, Work,
};
use crate::units::Bytes;

impl Check<'_> {
    pub(super) fn group(&self, index: usize, scenario: &mut Scenario) -> Result<(), FileError> {
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
        let (host, n_hosts) = self.hosts_of_clients(&key, group)?;
        self.at_least_one(&format!("{key}.count"), group.count)?;
        group.arrivals.check().map_err(|(below, problem)| {
            let key = format!("{key}.arrivals.{below}");
            self.source.invalid(&key, problem)
        })?;
        let path = if self.is_plain() {
            self.plain_path(&key, group)?
        } else {
            self.path(&key, host, scenario)?
        };
        let last = path.last().expect("a path has a hop").to;
        let serve = match &scenario.stages[last].role {
            StageRole::Serve(serve) => Some(serve.clone()),
            _ => None,
        };
        let classes = self.classes(&key, &group.classes, serve.as_ref(), &mut scenario.classes)?;
        if path.last().is_some_and(|hop| hop.over == Transport::Gdr) {
            self.connection_buffer(last, &classes, scenario)?;
        }
        let id = scenario.groups.push(Group {
            name,
            host,
            arrivals: group.arrivals.clone(),
            replayed: None,
            classes,
            path,
        });
        for index in 0..group.count {
            let host = HostId::from_index(host.index() + (index % n_hosts) as usize);
            scenario.clients.push(Client {
                group: id,
                index,
                host,
            });
        }
        Ok(())
    }

    /// The hosts of the clients of a group: the first and how many.
    fn hosts_of_clients(&self, key: &str, group: &ClientsFile) -> Result<(HostId, u32), FileError> {
        match &group.on {
            Some(on) => self.hosts(&format!("{key}.on"), on),
            None if self.is_plain() => Ok((self.nowhere(), 1)),
            None => {
                let hint = allowed(self.file.hosts.keys());
                let problem = format!("must be given, since the path is not of plain stages{hint}");
                Err(self.source.invalid(&format!("{key}.on"), problem))
            }
        }
    }

    /// The classes of a group whose path ends at a stage that serves like `serve`; without it at a
    /// plain stage.
    fn classes(
        &self,
        key: &str,
        classes: &[ClassFile],
        serve: Option<&Serve>,
        table: &mut Table<ClassId, Class>,
    ) -> Result<Vec<ClassId>, FileError> {
        let work = serve.map(|serve| &serve.work);
        let base = Class {
            name: "default".to_owned(),
            share: 1.0,
            payload: work.map_or(Bytes(0), Work::input_bytes),
            reply: work.map_or(Bytes(0), Work::output_bytes),
            priority: 0,
            weight: 1.0,
            stream_priority: None,
        };
        if classes.is_empty() {
            return Ok(vec![table.push(base)]);
        }
        let total: f64 = classes.iter().map(|class| class.share).sum();
        let mut ids = Vec::new();
        for (index, class) in classes.iter().enumerate() {
            let key = format!("{key}.classes.{index}");
            self.positive(&format!("{key}.share"), class.share)?;
            self.positive(&format!("{key}.weight"), class.weight.unwrap_or(1.0))?;
            if classes[..index]
                .iter()
                .any(|other| other.name == class.name)
            {
                let problem = format!("the group has a class `{}` already", class.name);
                return Err(self.source.invalid(&format!("{key}.name"), problem));
            }
            let priority = class.priority.map(|p| ("priority", f64::from(p)));
            let of_stations = priority.or(class.weight.map(|w| ("weight", w)));
            if let (Some(_), Some((name, found))) = (work, of_stations) {
                let problem = format!("is only for paths over plain stages, found {found}");
                return Err(self.source.invalid(&format!("{key}.{name}"), problem));
            }
            let priority = class.priority.unwrap_or(0);
            if priority > LOWEST_PRIORITY {
                let problem = format!("must be at most {LOWEST_PRIORITY}, found {priority}");
                return Err(self.source.invalid(&format!("{key}.priority"), problem));
            }
            if let Some(priority) = class.stream_priority {
                let key = format!("{key}.stream-priority");
                if serve.is_none_or(|serve| serve.gpu.is_none()) {
                    let problem = format!(
                        "is only for paths that end at a stage with `gpu`, found {priority}"
                    );
                    return Err(self.source.invalid(&key, problem));
                }
                self.stream_priority(&key, priority)?;
            }
            let payload = match (class.payload, work) {
                (None, _) => base.payload,
                (Some(payload), Some(Work::Synthetic(_) | Work::Profiled(_))) => payload,
                (Some(_), _) => {
                    let problem = "only a synthetic stage or a profiled net takes payloads of any size; those of others follow from their input, and a plain stage has none";
                    return Err(self.source.invalid(&format!("{key}.payload"), problem));
                }
            };
            ids.push(table.push(Class {
                name: class.name.clone(),
                share: class.share / total,
                payload,
                priority,
                weight: class.weight.unwrap_or(1.0),
                stream_priority: class.stream_priority,
                ..base
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
            return Err(self.source.invalid(
                &format!("{key}.path"),
                "must have at least one hop, found none",
            ));
        }
        let mut from = host;
        let mut sender: Option<&String> = None;
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
                (StageRole::Proxy(_), true) => {
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
            let over = hop.over.ok_or_else(|| {
                let problem =
                    "must be given, since the stage is not a plain one (allowed: tcp, local, rdma, gdr)";
                self.source.invalid(&format!("{key}.over"), problem)
            })?;
            let way = self.way_of_hop(&key, from, scenario.stages[to].host, over, scenario)?;
            hops.push(Hop {
                from,
                to,
                over,
                way,
                verbs: self.verbs(&key, hop, over, [from, scenario.stages[to].host], scenario)?,
                balance: self.balancing(&key, hop, sender, from, &scenario.stages[to])?,
            });
            sender = Some(&hop.to);
            if over == Transport::Gdr {
                self.leads_to_a_gpu(&key, hop, &scenario.stages[to])?;
            }
            from = scenario.stages[to].host;
        }
        Ok(hops)
    }

    /// How a hop gets to its stage.
    fn way_of_hop(
        &self,
        key: &str,
        from: HostId,
        to: HostId,
        over: Transport,
        scenario: &Scenario,
    ) -> Result<Way, FileError> {
        if from == to {
            return Ok(Way::Inside);
        }
        if over == Transport::Local && scenario.placement != Placement::Local {
            let names = (&scenario.hosts[from].name, &scenario.hosts[to].name);
            let problem = format!(
                "`local` stays inside a machine, `{}` and `{}` are two",
                names.0, names.1
            );
            return Err(self.source.invalid(&format!("{key}.over"), problem));
        }
        self.way(key, from, to, scenario)
    }
}
