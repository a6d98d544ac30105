//! Checks of paths over stages on hosts: of clients, and of calls that stages make.

use super::Check;
use crate::error::FileError;
use crate::ids::HostId;
use crate::scenario::{
    CompletionBy, Forward, Hop, HopFile, Placement, Scenario, StageRole, Transport, Way, Work,
};
use crate::units::Bytes;

/// A path as it stands in the file.
pub(super) struct PathFile<'a> {
    /// The key of what has it.
    pub(super) key: &'a str,
    pub(super) hops: &'a [HopFile],
    pub(super) reply_over: Option<Transport>,
    /// Size of its requests; that of their class if `None`.
    pub(super) payload: Option<Bytes>,
    /// Size of its replies, if given.
    pub(super) reply: Option<Bytes>,
    /// Whether a stage sends over it, and no client.
    pub(super) is_call: bool,
}

impl Check<'_> {
    /// A path of stages on hosts, and the hop of its replies if they go straight to the sender, which
    /// is on `host`.
    pub(super) fn path(
        &self,
        file: &PathFile<'_>,
        host: HostId,
        scenario: &Scenario,
    ) -> Result<(Vec<Hop>, Option<Hop>), FileError> {
        let key = file.key;
        if file.hops.is_empty() {
            return Err(self.source.invalid(
                &format!("{key}.path"),
                "must have at least one hop, found none",
            ));
        }
        let mut from = host;
        let mut sender: Option<&String> = None;
        let mut hops: Vec<Hop> = Vec::new();
        for (index, hop) in file.hops.iter().enumerate() {
            let key = format!("{key}.path.{index}");
            let to = self.stage(&format!("{key}.to"), &hop.to)?;
            if hops.iter().any(|earlier| earlier.to == to) {
                let names: Vec<&str> = (file.hops[..=index].iter())
                    .map(|h| h.to.as_str())
                    .collect();
                let problem = format!("the pipeline has a cycle: {}", names.join(" -> "));
                return Err(self.source.invalid(&format!("{key}.to"), problem));
            }
            let is_last = index + 1 == file.hops.len();
            let calls = !self.file.stages[&hop.to].steps.is_empty();
            let stage = &scenario.stages[to];
            if matches!(stage.role, StageRole::Proxy(_)) && is_last && !calls {
                let problem = format!(
                    "a path must end at a stage that serves, or calls others in `steps`; `{}` is a proxy",
                    hop.to
                );
                return Err(self.source.invalid(&format!("{key}.to"), problem));
            }
            let over = hop.over.ok_or_else(|| {
                let problem =
                    "must be given, since the stage is not a plain one (allowed: tcp, local, rdma, gdr)";
                self.source.invalid(&format!("{key}.over"), problem)
            })?;
            let way = self.way_of_hop(
                &format!("{key}.over"),
                &key,
                [from, stage.host],
                over,
                scenario,
            )?;
            hops.push(Hop {
                from,
                to,
                over,
                way,
                forward: self.forward(&hop.to),
                tcp: self.tcp(&key, hop, over, way)?,
                verbs: self.verbs(&key, hop, over, [from, stage.host], scenario)?,
                balance: self.balancing(&key, hop, sender, from, stage)?,
                payload: None,
                reply: None,
            });
            if over == Transport::Gdr {
                self.leads_to_a_gpu(&key, hop, stage)?;
                if !is_last || calls {
                    let problem = "`gdr` is for the last hop of a path, to a stage without `steps` (allowed here: tcp, local, rdma)";
                    return Err(self.source.invalid(&format!("{key}.over"), problem));
                }
            }
            sender = Some(&hop.to);
            from = stage.host;
        }
        for pair in hops.windows(2) {
            if pair[0].forward == Forward::CutThrough {
                self.cut_through([&pair[0], &pair[1]], scenario)?;
            }
        }
        self.sizes(file, &mut hops, scenario)?;
        let reply = self.straight_reply(file, host, &hops, scenario)?;
        Ok((hops, reply))
    }

    /// Fills in the sizes of messages: a proxy sends on what it has received, a stage that serves its
    /// output, unless a hop says otherwise.
    fn sizes(
        &self,
        file: &PathFile<'_>,
        hops: &mut [Hop],
        scenario: &Scenario,
    ) -> Result<(), FileError> {
        let key = file.key;
        let n = hops.len();
        let mut payload = file.payload;
        for (index, hop) in hops.iter_mut().enumerate() {
            let key = format!("{key}.path.{index}");
            payload = file.hops[index].payload.or(payload);
            hop.payload = payload;
            let StageRole::Serve(serve) = &scenario.stages[hop.to].role else {
                continue;
            };
            let input = serve.work.input_bytes();
            let is_fixed = matches!(serve.work, Work::Net { .. } | Work::Kernels(_));
            if let (true, Some(found)) = (is_fixed, payload)
                && found != input
            {
                let problem = format!(
                    "must be the input of `{}`, {input}; found {found}",
                    scenario.stages[hop.to].name
                );
                return Err(self.source.invalid(&format!("{key}.payload"), problem));
            }
            payload = Some(serve.work.output_bytes());
        }
        let ends_at_proxy = !matches!(scenario.stages[hops[n - 1].to].role, StageRole::Serve(_));
        let last = file.hops[n - 1].reply.or(file.reply);
        if ends_at_proxy && last.is_none() {
            let problem = format!(
                "must be given, since `{}` is a proxy and has no output of its own",
                file.hops[n - 1].to
            );
            let key = format!("{key}.path.{}.reply", n - 1);
            return Err(self.source.invalid(&key, problem));
        }
        // The output of the last stage is the reply of a class.
        let mut reply = match (file.is_call, last) {
            (true, None) => payload,
            _ => last,
        };
        for index in (0..n).rev() {
            reply = file.hops[index].reply.or(reply);
            hops[index].reply = reply;
        }
        Ok(())
    }

    /// The hop of replies that go straight from the last stage to the sender on `host`, if they do.
    fn straight_reply(
        &self,
        file: &PathFile<'_>,
        host: HostId,
        hops: &[Hop],
        scenario: &Scenario,
    ) -> Result<Option<Hop>, FileError> {
        let Some(over) = file.reply_over else {
            return Ok(None);
        };
        let key = format!("{}.reply-over", file.key);
        let last = hops.last().expect("a path has a hop");
        if over == Transport::Gdr {
            let problem = "must be `tcp`, `local` or `rdma`, found `gdr`";
            return Err(self.source.invalid(&key, problem));
        }
        let is_polled = |hop: &Hop| {
            hop.verbs
                .is_some_and(|v| v.completion == CompletionBy::Poll)
        };
        if let Some(index) = hops.iter().position(is_polled) {
            let problem = format!(
                "does not go with `completion = \"poll\"` of `path.{index}`, where threads poll for replies"
            );
            return Err(self.source.invalid(&key, problem));
        }
        let file_of_hop = HopFile {
            to: scenario.stages[last.to].name.clone(),
            over: Some(over),
            completion: None,
            verb: None,
            registration: None,
            queue_pairs: None,
            setup: None,
            tcp: None,
            payload: None,
            reply: None,
            balance: None,
            weights: Vec::new(),
        };
        let ends = [host, scenario.stages[last.to].host];
        Ok(Some(Hop {
            from: host,
            to: last.to,
            over,
            way: self.way_of_hop(&key, &key, ends, over, scenario)?,
            forward: Forward::Store,
            tcp: None,
            verbs: self.verbs(&key, &file_of_hop, over, ends, scenario)?,
            balance: None,
            payload: last.payload,
            reply: last.reply,
        }))
    }

    /// How a hop gets to its stage.
    fn way_of_hop(
        &self,
        over_key: &str,
        key: &str,
        [from, to]: [HostId; 2],
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
            return Err(self.source.invalid(over_key, problem));
        }
        self.way(key, from, to, scenario)
    }
}
