//! Checks of hops over network adapters.

use super::Check;
use crate::error::FileError;
use crate::ids::{ClassId, HostId};
use crate::scenario::{
    CompletionBy, GpuUse, Hop, HopFile, QueuePairs, Registration, Scenario, Serve, SetUp, Stage,
    StageRole, Transport, Verb, Verbs,
};

impl Check<'_> {
    /// How the hop at `key` between two hosts works over its transport.
    pub(super) fn verbs(
        &self,
        key: &str,
        hop: &HopFile,
        over: Transport,
        ends: [HostId; 2],
        scenario: &Scenario,
    ) -> Result<Option<Verbs>, FileError> {
        if !over.is_verbs() {
            self.no_verbs(key, hop, &format!("over `{}`", over.name()))?;
            return Ok(None);
        }
        for host in ends.map(|host| &scenario.hosts[host]) {
            if host.nic.is_none() {
                let problem = format!(
                    "must be given, since `{key}` goes over `{}` and `{}` is one of its ends; write `nic = {{ part = \"PART\" }}`",
                    over.name(),
                    host.key
                );
                let key = format!("hosts.{}.nic", host.key);
                return Err(self.source.invalid(&key, problem));
            }
        }
        Ok(Some(Verbs {
            completion: hop.completion.unwrap_or_default(),
            verb: hop.verb.unwrap_or_default(),
            registration: self.registration(key, hop, over)?,
            queue_pairs: self.queue_pairs(key, hop)?,
            setup: hop.setup.unwrap_or_default(),
        }))
    }

    /// The queue pairs that connections of the hop at `key` share.
    fn queue_pairs(&self, key: &str, hop: &HopFile) -> Result<Option<QueuePairs>, FileError> {
        if let Some(pairs) = hop.queue_pairs {
            let key = |below: &str| format!("{key}.queue-pairs.{below}");
            self.at_least_one(&key("count"), pairs.count)?;
            self.at_least_one(&key("outstanding"), pairs.outstanding)?;
        }
        Ok(hop.queue_pairs)
    }

    /// When the hop at `key` registers what it sends; the memory of GPUs once.
    fn registration(
        &self,
        key: &str,
        hop: &HopFile,
        over: Transport,
    ) -> Result<Registration, FileError> {
        let found = hop.registration.unwrap_or_default();
        if over == Transport::Gdr && found == Registration::Each {
            let problem = "must be `once` over `gdr`, which registers buffers of the GPU for each connection; found `each`";
            return Err(self.source.invalid(&format!("{key}.registration"), problem));
        }
        Ok(found)
    }

    /// The hop at `key`, which has another transport, has no options of verbs.
    pub(super) fn no_verbs(&self, key: &str, hop: &HopFile, which: &str) -> Result<(), FileError> {
        let completion = hop.completion.map(CompletionBy::name);
        let given = [
            ("completion", completion),
            ("verb", hop.verb.map(Verb::name)),
            ("registration", hop.registration.map(Registration::name)),
            ("queue-pairs", hop.queue_pairs.map(|_| "a table")),
            ("setup", hop.setup.map(SetUp::name)),
        ];
        for (option, value) in given {
            if let Some(found) = value {
                let problem =
                    format!("is for hops over `rdma` or `gdr`, found `{found}` on one {which}");
                return Err(self.source.invalid(&format!("{key}.{option}"), problem));
            }
        }
        Ok(())
    }

    /// The hop at `key` over `gdr` leads to a stage whose device is known before a request arrives.
    pub(super) fn leads_to_a_gpu(
        &self,
        key: &str,
        hop: &HopFile,
        stage: &Stage,
    ) -> Result<(), FileError> {
        let key = format!("{key}.over");
        let Some(gpu) = gpu_of(stage) else {
            let problem = format!(
                "`gdr` leads to the memory of a GPU, and `{}` has no `gpu` (allowed: tcp, local, rdma)",
                hop.to
            );
            return Err(self.source.invalid(&key, problem));
        };
        if gpu.devices.len() != 1 {
            let problem = format!(
                "`gdr` leads to the memory of one device, and `{}` has {}; make a stage for each",
                hop.to,
                gpu.devices.len()
            );
            return Err(self.source.invalid(&key, problem));
        }
        Ok(())
    }

    /// The buffer of a connection over `gdr` to the stage holds requests and replies of `classes`.
    pub(super) fn connection_buffer(
        &self,
        hop: &Hop,
        classes: &[ClassId],
        scenario: &Scenario,
    ) -> Result<(), FileError> {
        let needed = scenario.largest(hop, classes);
        let row = &scenario.stages[hop.to];
        match gpu_of(row).and_then(|gpu| gpu.connection_buffer) {
            Some(found) if found < needed => {
                let problem = format!(
                    "must hold a request and its reply of those that come over `gdr`, {needed}; found {found}"
                );
                let key = format!("stages.{}.gpu.connection-buffer", row.name);
                Err(self.source.invalid(&key, problem))
            }
            _ => Ok(()),
        }
    }
}

/// How the stage uses GPUs, if it does.
fn gpu_of(stage: &Stage) -> Option<&GpuUse> {
    match &stage.role {
        StageRole::Serve(Serve { gpu, .. }) => gpu.as_ref(),
        _ => None,
    }
}
