//! Checks of plain stages and of paths over them.

use std::collections::BTreeSet;

use super::{Check, allowed, is_plain, options_of_serve};
use crate::distribution::Distribution;
use crate::error::{FileError, suggest};
use crate::ids::{HostId, StageId};
use crate::scenario::{
    Balance, BalanceFile, ClientsFile, Discipline, DisciplineName, Forward, Hop, Lot, Next, Order,
    PlainKind, PlainStage, PolicyName, Stage, StageFile, StageRole, Station, StationFile,
    TokensFile, Transport, Way,
};
use crate::units::SimDuration;

/// Most hops of a path: the engine counts them in a byte.
const MAX_HOPS: usize = 255;

impl Check<'_> {
    /// Whether the scenario is of plain stages.
    pub(super) fn is_plain(&self) -> bool {
        self.file.stages.values().any(is_plain)
    }

    /// Plain stages and those on hosts do not go together.
    pub(super) fn one_kind_of_stages(&self) -> Result<(), FileError> {
        let find = |plain: bool| {
            let mut stages = self.file.stages.iter();
            stages.find(|(_, stage)| is_plain(stage) == plain)
        };
        match (find(true), find(false)) {
            (Some((plain, _)), Some((other, _))) => Err(self.source.invalid(
                &format!("stages.{other}"),
                format!("is not a plain stage as `{plain}` is; all stages of a scenario are plain, or none"),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn plain_stage(
        &self,
        key: &str,
        name: &str,
        stage: &StageFile,
    ) -> Result<Stage, FileError> {
        for (option, is_given) in options_of_serve(stage) {
            if is_given {
                let problem = "belongs to `serve`; a station has `servers` and a `batch` of its own, and no GPU";
                return Err(self.source.invalid(&format!("{key}.{option}"), problem));
            }
        }
        if stage.receive_threads.is_some() {
            let key = format!("{key}.receive-threads");
            let problem = "belongs to `serve` and `proxy`; a station has `servers`";
            return Err(self.source.invalid(&key, problem));
        }
        if !stage.steps.is_empty() {
            let problem = "belongs to `serve` and `proxy`; plain stages have `fork` and `join`";
            return Err(self.source.invalid(&format!("{key}.steps"), problem));
        }
        let kind = if let Some(station) = &stage.station {
            let key = format!("{key}.station");
            PlainKind::Station(Box::new(self.station(&key, station)?))
        } else if let Some(fork) = &stage.fork {
            PlainKind::Fork(self.targets(&format!("{key}.fork.to"), &fork.to)?)
        } else if let Some(balance) = &stage.balance {
            PlainKind::Balance(self.balance(&format!("{key}.balance"), balance)?)
        } else if let Some(tokens) = &stage.tokens {
            PlainKind::Tokens(self.tokens(&format!("{key}.tokens"), *tokens)?)
        } else if let Some(release) = &stage.release {
            PlainKind::Release(self.pool(&format!("{key}.release.to"), &release.to)?)
        } else {
            PlainKind::Join
        };
        let host = match &stage.on {
            Some(on) => self.host(&format!("{key}.on"), on)?,
            None => self.nowhere(),
        };
        let next = self.next(key, stage, &kind)?;
        Ok(Stage {
            name: name.to_owned(),
            host,
            replicas: 1,
            receive_threads: None,
            role: StageRole::Plain(PlainStage { kind, next }),
            steps: Vec::new(),
        })
    }

    fn targets(&self, key: &str, names: &[String]) -> Result<Vec<StageId>, FileError> {
        if names.is_empty() {
            let problem = "must name at least one stage, found none";
            return Err(self.source.invalid(key, problem));
        }
        let stages = names.iter().enumerate();
        stages
            .map(|(index, name)| self.stage(&format!("{key}.{index}"), name))
            .collect()
    }

    /// The stage that holds the tokens called `name`.
    fn pool(&self, key: &str, name: &str) -> Result<StageId, FileError> {
        let stage = self.stage(key, name)?;
        if self.file.stages[name].tokens.is_none() {
            let stages = self.file.stages.iter();
            let pools = stages.filter(|(_, stage)| stage.tokens.is_some());
            let pools = allowed(pools.map(|(name, _)| name));
            let problem = format!("`{name}` is no stage with `tokens`{pools}");
            return Err(self.source.invalid(key, problem));
        }
        Ok(stage)
    }

    fn tokens(&self, key: &str, tokens: TokensFile) -> Result<TokensFile, FileError> {
        self.at_least_one(&format!("{key}.take"), tokens.take)?;
        if tokens.count < tokens.take {
            let problem = format!(
                "must be at least what each request takes, {}; found {}",
                tokens.take, tokens.count
            );
            return Err(self.source.invalid(&format!("{key}.count"), problem));
        }
        Ok(tokens)
    }

    fn balance(&self, key: &str, balance: &BalanceFile) -> Result<Balance, FileError> {
        let to = self.targets(&format!("{key}.to"), &balance.to)?;
        for (index, stage) in to.iter().enumerate() {
            let name = &balance.to[index];
            if to[..index].contains(stage) {
                let problem = format!("`{name}` is named twice");
                return Err(self.source.invalid(&format!("{key}.to.{index}"), problem));
            }
            if self.file.stages[name].station.is_none() {
                let stages = self.file.stages.iter();
                let stations = stages.filter(|(_, stage)| stage.station.is_some());
                let stations = allowed(stations.map(|(name, _)| name));
                let problem =
                    format!("`{name}` is no station; a balancer chooses among stations{stations}");
                return Err(self.source.invalid(&format!("{key}.to.{index}"), problem));
            }
        }
        let weights = format!("{key}.weights");
        if balance.policy != PolicyName::Weighted && !balance.weights.is_empty() {
            let found = balance.policy.name();
            let problem = format!("go only with the policy `weighted`, found `{found}`");
            return Err(self.source.invalid(&weights, problem));
        }
        let n_wanted = match balance.policy {
            PolicyName::Weighted => to.len(),
            _ => 0,
        };
        if balance.weights.len() != n_wanted {
            let problem = format!(
                "must be one for each of the {n_wanted} stations, found {}",
                balance.weights.len()
            );
            return Err(self.source.invalid(&weights, problem));
        }
        for (index, weight) in balance.weights.iter().enumerate() {
            self.positive(&format!("{weights}.{index}"), *weight)?;
        }
        if balance.policy == PolicyName::PowerOfTwo && to.len() < 2 {
            let problem = "must be at least two stations with the policy `power-of-two`, found one";
            return Err(self.source.invalid(&format!("{key}.to"), problem));
        }
        Ok(Balance {
            policy: balance.policy,
            to,
            weights: balance.weights.clone(),
        })
    }

    fn next(&self, key: &str, stage: &StageFile, kind: &PlainKind) -> Result<Vec<Next>, FileError> {
        let chooses = matches!(kind, PlainKind::Fork(_) | PlainKind::Balance(_));
        if chooses && !stage.next.is_empty() {
            let problem = "a fork or a balancer has `to`, and no `next`; leave it out";
            return Err(self.source.invalid(&format!("{key}.next"), problem));
        }
        let mut total = 0.0;
        let mut next = Vec::with_capacity(stage.next.len());
        for (index, entry) in stage.next.iter().enumerate() {
            let key = format!("{key}.next.{index}");
            let to = self.stage(&format!("{key}.to"), &entry.to)?;
            let probability = self.positive(&format!("{key}.probability"), entry.probability)?;
            total += probability;
            if total > 1.0 + 1e-9 {
                let problem = format!("the probabilities up to here sum to {total}, more than 1");
                return Err(self.source.invalid(&format!("{key}.probability"), problem));
            }
            next.push(Next { to, probability });
        }
        Ok(next)
    }

    pub(super) fn distribution(
        &self,
        key: &str,
        distribution: &Distribution,
    ) -> Result<(), FileError> {
        let checked = distribution.sampler().map(|_| ());
        checked.map_err(|(below, problem)| {
            let key = if below.is_empty() {
                key.to_owned()
            } else {
                format!("{key}.{below}")
            };
            self.source.invalid(&key, problem)
        })
    }

    fn station(&self, key: &str, file: &StationFile) -> Result<Station, FileError> {
        self.distribution(&format!("{key}.service"), &file.service)?;
        for (class, service) in &file.services {
            let key = format!("{key}.services.{class}");
            let classes = self.file.clients.iter().flat_map(|group| &group.classes);
            let classes: BTreeSet<&str> = classes.map(|class| class.name.as_str()).collect();
            if !classes.contains(class.as_str()) {
                let hint = suggest(class, classes);
                let problem = format!("no group of clients has a class `{class}`{hint}");
                return Err(self.source.invalid(&key, problem));
            }
            self.distribution(&key, service)?;
        }
        let discipline = self.discipline(key, file)?;
        let is_line = matches!(discipline, Discipline::Line { .. });
        let is_delay = matches!(discipline, Discipline::Delay);
        if let (Some(servers), true) = (file.servers, is_delay) {
            let problem = format!(
                "must not be given, since a `delay` has a server for each request, found {servers}"
            );
            return Err(self.source.invalid(&format!("{key}.servers"), problem));
        }
        if let Some(breakdown) = &file.breakdown {
            self.distribution(&format!("{key}.breakdown.up"), &breakdown.up)?;
            self.distribution(&format!("{key}.breakdown.down"), &breakdown.down)?;
            self.only(key, file, "breakdown", "fifo, lifo, priority", is_line)?;
            if breakdown.up.is_zero() {
                let problem = "must not always be zero: the server would never work";
                let key = format!("{key}.breakdown.up");
                return Err(self.source.invalid(&key, problem));
            }
        }
        if let Some(patience) = &file.patience {
            self.distribution(&format!("{key}.patience"), patience)?;
            self.only(key, file, "patience", "any but delay", !is_delay)?;
        }
        if let Some(retry) = &file.retry {
            self.at_least_one(&format!("{key}.retry.attempts"), retry.attempts)?;
            self.distribution(&format!("{key}.retry.backoff"), &retry.backoff)?;
            self.positive(&format!("{key}.retry.factor"), retry.factor)?;
            if file.capacity.is_none() && file.patience.is_none() {
                let problem =
                    "needs a `capacity` or a `patience`, without which nothing is retried";
                return Err(self.source.invalid(&format!("{key}.retry"), problem));
            }
        }
        if let Some(capacity) = file.capacity {
            self.at_least_one(&format!("{key}.capacity"), capacity)?;
        } else if file.when_full.is_some() {
            let problem = "needs a `capacity`, without which the station is never full";
            return Err(self.source.invalid(&format!("{key}.when-full"), problem));
        }
        Ok(Station {
            servers: self.at_least_one(&format!("{key}.servers"), file.servers.unwrap_or(1))?,
            discipline,
            service: file.service.clone(),
            services: file.services.clone(),
            capacity: file.capacity,
            when_full: file.when_full.unwrap_or_default(),
            patience: file.patience.clone(),
            retry: file.retry.clone(),
            breakdown: file.breakdown.clone(),
        })
    }

    /// Refuses `option` unless the discipline is one that has it.
    fn only(
        &self,
        key: &str,
        file: &StationFile,
        option: &str,
        which: &str,
        has: bool,
    ) -> Result<(), FileError> {
        if has {
            return Ok(());
        }
        let found = file.discipline.name();
        let problem =
            format!("does not go with the discipline `{found}` (allowed disciplines: {which})");
        Err(self.source.invalid(&format!("{key}.{option}"), problem))
    }

    fn discipline(&self, key: &str, file: &StationFile) -> Result<Discipline, FileError> {
        let name = file.discipline;
        let is_line = matches!(
            name,
            DisciplineName::Fifo | DisciplineName::Lifo | DisciplineName::Priority
        );
        let of = |wanted| name == wanted;
        let options = [
            ("cap", file.cap.is_some(), of(DisciplineName::Ps), "ps"),
            ("limit", file.limit.is_some(), of(DisciplineName::Ps), "ps"),
            (
                "slice",
                file.slice.is_some(),
                of(DisciplineName::TimeSliced),
                "time-sliced",
            ),
            (
                "switch",
                file.switch.is_some(),
                of(DisciplineName::TimeSliced),
                "time-sliced",
            ),
            (
                "batch",
                file.batch.is_some(),
                is_line,
                "fifo, lifo, priority",
            ),
        ];
        for (option, is_given, has, which) in options {
            self.only(key, file, option, which, has || !is_given)?;
        }
        Ok(match name {
            DisciplineName::Fifo => self.line(key, Order::Fifo, file)?,
            DisciplineName::Lifo => self.line(key, Order::Lifo, file)?,
            DisciplineName::Priority => self.line(key, Order::Priority, file)?,
            DisciplineName::PreemptiveLifo => Discipline::Preemptive(Order::Lifo),
            DisciplineName::PreemptivePriority => Discipline::Preemptive(Order::Priority),
            DisciplineName::Ps => Discipline::Sharing {
                cap: self.positive(&format!("{key}.cap"), file.cap.unwrap_or(1.0))?,
                limit: match file.limit {
                    Some(limit) => Some(self.at_least_one(&format!("{key}.limit"), limit)?),
                    None => None,
                },
            },
            DisciplineName::TimeSliced => {
                let slice = file.slice.unwrap_or(SimDuration::ZERO);
                if slice == SimDuration::ZERO {
                    let found = file.slice.map_or("none", |_| "zero");
                    let problem = format!(
                        "must be given, and more than zero, with `time-sliced`, found {found}"
                    );
                    return Err(self.source.invalid(&format!("{key}.slice"), problem));
                }
                let switch = file.switch.unwrap_or(SimDuration::ZERO);
                Discipline::TimeSliced { slice, switch }
            }
            DisciplineName::Delay => Discipline::Delay,
        })
    }

    fn line(&self, key: &str, order: Order, file: &StationFile) -> Result<Discipline, FileError> {
        if let Some(Lot { max, .. }) = file.batch {
            self.at_least_one(&format!("{key}.batch.max"), max)?;
        }
        let batch = file.batch.clone();
        Ok(Discipline::Line { order, batch })
    }

    /// The path of a group of clients over plain stages.
    pub(super) fn plain_path(&self, key: &str, group: &ClientsFile) -> Result<Vec<Hop>, FileError> {
        if group.path.is_empty() {
            let problem = "must have at least one hop, found none";
            return Err(self.source.invalid(&format!("{key}.path"), problem));
        }
        if let Some(over) = group.reply_over {
            let problem = format!(
                "no transport leads from a plain stage, found `{}`; leave it out",
                over.name()
            );
            return Err(self.source.invalid(&format!("{key}.reply-over"), problem));
        }
        let n_hops = group.path.len();
        if n_hops > MAX_HOPS {
            let problem = format!("must have at most {MAX_HOPS} hops, found {n_hops}");
            return Err(self.source.invalid(&format!("{key}.path"), problem));
        }
        let from: HostId = self.nowhere();
        let hops = group.path.iter().enumerate();
        hops.map(|(index, hop)| {
            let key = format!("{key}.path.{index}");
            if let Some(over) = hop.over {
                let problem = format!(
                    "no transport leads to a plain stage, found `{}`; leave it out",
                    over.name()
                );
                return Err(self.source.invalid(&format!("{key}.over"), problem));
            }
            self.no_verbs(&key, hop, "to a plain stage")?;
            self.no_tcp(&key, hop, "one to a plain stage")?;
            for (option, size) in [("payload", hop.payload), ("reply", hop.reply)] {
                if let Some(found) = size {
                    let problem = format!("no messages go to a plain stage, found {found}");
                    return Err(self.source.invalid(&format!("{key}.{option}"), problem));
                }
            }
            if let Some(found) = hop.balance {
                let problem = format!(
                    "is for stages on several hosts, found `{}`; among plain stages a stage with `balance` chooses",
                    found.name()
                );
                return Err(self.source.invalid(&format!("{key}.balance"), problem));
            }
            Ok(Hop {
                from,
                to: self.stage(&format!("{key}.to"), &hop.to)?,
                over: Transport::Local,
                way: Way::Inside,
                forward: Forward::Store,
                verbs: None,
                tcp: None,
                balance: None,
                payload: None,
                reply: None,
            })
        })
        .collect()
    }
}
