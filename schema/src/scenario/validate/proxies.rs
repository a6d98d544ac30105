//! Checks of proxies that pass messages on before they have all of them.

use super::Check;
use crate::error::FileError;
use crate::scenario::{CompletionBy, Forward, Hop, Proxy, Scenario, StageRole, Transport, Verb};

impl Check<'_> {
    /// When the stage passes messages on, if it is a proxy.
    pub(super) fn forward(&self, stage: &str) -> Forward {
        let stage = self.file.stages.get(stage);
        let proxy = stage.and_then(|stage| stage.proxy.as_ref());
        proxy.map_or(Forward::Store, |proxy| proxy.forward)
    }

    /// A proxy can pass on the first of a message that comes over the one hop and goes over the other
    /// before it has the rest, and back.
    pub(super) fn cut_through(
        &self,
        [before, after]: [&Hop; 2],
        scenario: &Scenario,
    ) -> Result<(), FileError> {
        let stage = &scenario.stages[before.to];
        let verbs = |hop: &Hop, is_it: fn(CompletionBy, Verb) -> bool| {
            hop.verbs
                .is_some_and(|verbs| is_it(verbs.completion, verbs.verb))
        };
        let hops = [before, after];
        let is_any =
            |is_it: fn(CompletionBy, Verb) -> bool| hops.iter().any(|hop| verbs(hop, is_it));
        let problem = if hops.iter().any(|hop| hop.over == Transport::Local) {
            "shared memory, which is handed over whole".to_owned()
        } else if before.over.is_verbs() != after.over.is_verbs() {
            let names = hops.map(|hop| hop.over.name());
            format!("`{}` on one side and `{}` on the other", names[0], names[1])
        } else if is_any(|_, verb| verb == Verb::Read) {
            "a side with `verb = \"read\"`, which asks for whole messages".to_owned()
        } else if is_any(|completion, _| completion == CompletionBy::Poll) {
            "a side with `completion = \"poll\"`".to_owned()
        } else if stage.receive_threads.is_some() {
            "`receive-threads`, which take whole messages".to_owned()
        } else if matches!(stage.role, StageRole::Proxy(Proxy { pool: Some(_) })) {
            "a `pool`, for whose connections whole messages wait".to_owned()
        } else if !stage.steps.is_empty() {
            "`steps`, before which it has the whole message".to_owned()
        } else if stage.replicas > 1 || scenario.stages[after.to].replicas > 1 {
            "stages on several hosts, among which it chooses for whole messages".to_owned()
        } else if after.forward == Forward::CutThrough {
            "another such proxy behind it".to_owned()
        } else {
            return Ok(());
        };
        let key = format!("stages.{}.proxy.forward", stage.name);
        let problem = format!("cannot be `cut-through` with {problem} (allowed: store)");
        Err(self.source.invalid(&key, problem))
    }
}
