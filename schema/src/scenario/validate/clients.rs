//! Checks of the clients, their classes and their paths over stages on hosts.

use super::hops::PathFile;
use super::{Check, LOWEST_PRIORITY, allowed};
use crate::error::FileError;
use crate::ids::{ClassId, HostId, Id, Table};
use crate::scenario::{
    Class, ClassFile, Client, ClientsFile, Group, Hop, Scenario, Serve, StageRole, Transport, Work,
};
use crate::units::Bytes;

/// What serves the requests of a group.
struct Served {
    /// The first stage of its path that serves.
    first: Option<Serve>,
    /// The last stage of its path, if it serves.
    last: Option<Serve>,
    /// Sizes of its requests and of its replies that the ends of its path give.
    sizes: [Option<Bytes>; 2],
    /// Whether any stage that its requests reach is on a GPU.
    on_gpu: bool,
}

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
        self.patience(&key, group)?;
        let (path, reply) = if self.is_plain() {
            (self.plain_path(&key, group)?, None)
        } else {
            let file = PathFile {
                key: &key,
                hops: &group.path,
                reply_over: group.reply_over,
                payload: None,
                reply: None,
                is_call: false,
            };
            self.path(&file, host, scenario)?
        };
        let serve = |hop: &Hop| match &scenario.stages[hop.to].role {
            StageRole::Serve(serve) => Some(serve.clone()),
            _ => None,
        };
        let served = Served {
            first: path.iter().find_map(serve),
            last: path.last().and_then(serve),
            sizes: [
                path.first().and_then(|hop| hop.payload),
                path.last().and_then(|hop| hop.reply),
            ],
            on_gpu: self.reaches_a_gpu(&path, scenario),
        };
        let classes = self.classes(&key, &group.classes, &served, &mut scenario.classes)?;
        if !(group.in_a_row >= 1.0 && group.in_a_row.is_finite()) {
            let problem = format!("is {}, and must be a number from 1", group.in_a_row);
            return Err(self.source.invalid(&format!("{key}.in-a-row"), &problem));
        }
        if let Some(hop) = path.iter().find(|hop| hop.over == Transport::Gdr) {
            self.connection_buffer(hop, &classes, scenario)?;
        }
        let branches = self.branches(&key, &path, scenario)?;
        let id = scenario.groups.push(Group {
            name,
            host,
            arrivals: group.arrivals.clone(),
            replayed: None,
            classes,
            in_a_row: group.in_a_row,
            timeout: group.timeout,
            retry: group.retry.clone(),
            path,
            reply,
            branches,
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

    /// The classes of a group whose path leads to such stages.
    fn classes(
        &self,
        key: &str,
        classes: &[ClassFile],
        served: &Served,
        table: &mut Table<ClassId, Class>,
    ) -> Result<Vec<ClassId>, FileError> {
        let work = served.first.as_ref().map(|serve| &serve.work);
        let output = served.last.as_ref().map(|serve| serve.work.output_bytes());
        let base = Class {
            name: "default".to_owned(),
            share: 1.0,
            payload: (served.sizes[0]).unwrap_or_else(|| work.map_or(Bytes(0), Work::input_bytes)),
            reply: served.sizes[1].or(output).unwrap_or(Bytes(0)),
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
            if let (false, Some((name, found))) = (self.is_plain(), of_stations) {
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
                if !served.on_gpu {
                    let problem = format!(
                        "is only for paths that lead to a stage with `gpu`, found {priority}"
                    );
                    return Err(self.source.invalid(&key, problem));
                }
                self.stream_priority(&key, priority)?;
            }
            if let (Some(found), Some(given)) = (class.payload, served.sizes[0]) {
                let problem = format!(
                    "must not be given, since the first hop has a payload, {given}; found {found}"
                );
                return Err(self.source.invalid(&format!("{key}.payload"), problem));
            }
            let payload = match (class.payload, work) {
                (None, _) => base.payload,
                (Some(payload), Some(Work::Synthetic(_) | Work::Profiled(_))) => payload,
                (Some(payload), None) if !self.is_plain() => payload,
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
}
