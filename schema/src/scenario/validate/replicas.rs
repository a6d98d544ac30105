//! Checks of how senders choose among the replicas of a stage.

use super::Check;
use crate::error::FileError;
use crate::ids::HostId;
use crate::scenario::{Balancing, HopFile, PolicyName, Stage};

impl Check<'_> {
    /// How the hop at `key` chooses among the replicas of its stage: as the proxy `sender` says that
    /// it comes from, or as it says itself. A hop that stays on a host has no choice.
    pub(super) fn balancing(
        &self,
        key: &str,
        hop: &HopFile,
        sender: Option<&String>,
        from: HostId,
        to: &Stage,
    ) -> Result<Option<Balancing>, FileError> {
        let proxy = sender.and_then(|name| Some((name, self.file.stages[name].proxy.as_ref()?)));
        let (key, policy, weights) = match proxy {
            Some((name, proxy)) => {
                if let Some(found) = hop.balance {
                    let problem = format!(
                        "is of the proxy that the hop comes from, found `{}`; write `stages.{name}.proxy.balance`",
                        found.name()
                    );
                    return Err(self.source.invalid(&format!("{key}.balance"), problem));
                }
                let key = format!("stages.{name}.proxy");
                (key, proxy.balance, &proxy.weights)
            }
            None => (key.to_owned(), hop.balance, &hop.weights),
        };
        let policy = policy.unwrap_or(PolicyName::RoundRobin);
        let n_wanted = match policy {
            PolicyName::Weighted => to.replicas as usize,
            _ => 0,
        };
        let weights_key = format!("{key}.weights");
        if n_wanted == 0 && !weights.is_empty() {
            let problem = format!(
                "go only with `balance = \"weighted\"`, found `{}`",
                policy.name()
            );
            return Err(self.source.invalid(&weights_key, problem));
        }
        if weights.len() != n_wanted {
            let problem = format!(
                "must be one for each of the {n_wanted} replicas of `{}`, found {}",
                to.name,
                weights.len()
            );
            return Err(self.source.invalid(&weights_key, problem));
        }
        for (index, weight) in weights.iter().enumerate() {
            self.positive(&format!("{weights_key}.{index}"), *weight)?;
        }
        let chooses = to.replicas > 1 && from != to.host;
        Ok(chooses.then(|| Balancing {
            policy,
            weights: weights.clone(),
        }))
    }
}
