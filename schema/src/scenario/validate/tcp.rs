//! Checks of packets on links and of what paces TCP.

use super::Check;
use crate::error::FileError;
use crate::scenario::{Ethernet, HopFile, LinkMode, Tcp, Transport, Way};
use crate::units::{ByteRate, Bytes, SimDuration};

impl Check<'_> {
    /// The Ethernet of the link or the network at `key`, whose rate is `rate`.
    pub(super) fn ethernet(
        &self,
        key: &str,
        ethernet: Option<Ethernet>,
        rate: Option<ByteRate>,
    ) -> Result<Option<Ethernet>, FileError> {
        let Some(found) = ethernet else {
            return Ok(None);
        };
        let invalid = |below: &str, problem: String| {
            let key = format!("{key}.ethernet.{below}");
            Err(self.source.invalid(&key, problem))
        };
        let [smallest, largest] = Ethernet::MTUS;
        if !(smallest..=largest).contains(&found.mtu) {
            let problem = format!("must be from {smallest} to {largest}, found {}", found.mtu);
            return invalid("mtu", problem);
        }
        if found.mode == LinkMode::Packets && rate.is_none() {
            let problem = "must be `fluid` where the link has no `rate`, found `packets`";
            return invalid("mode", problem.to_owned());
        }
        if let Some(buffer) = found.buffer {
            if found.mode != LinkMode::Packets {
                let problem = format!(
                    "is only with `mode = \"packets\"`, since nothing waits in a fluid; found {buffer}"
                );
                return invalid("buffer", problem);
            }
            let frame = Bytes(found.mtu.0 + Ethernet::FRAME_HEADER.0);
            if buffer < frame {
                let problem = format!("must hold a frame, {frame}; found {buffer}");
                return invalid("buffer", problem);
            }
        }
        Ok(ethernet)
    }

    /// What paces the hop at `key`.
    pub(super) fn tcp(
        &self,
        key: &str,
        hop: &HopFile,
        over: Transport,
        way: Way,
    ) -> Result<Option<Tcp>, FileError> {
        let Some(tcp) = hop.tcp else {
            return Ok(None);
        };
        if over != Transport::Tcp {
            self.no_tcp(key, hop, &format!("one over `{}`", over.name()))?;
        }
        if way == Way::Inside {
            self.no_tcp(key, hop, "one inside a host")?;
        }
        let is_zero = [
            ("send-buffer", tcp.send_buffer == Some(Bytes(0))),
            ("receive-buffer", tcp.receive_buffer == Some(Bytes(0))),
            ("initial-window", tcp.initial_window == Some(0)),
            ("min-rto", tcp.min_rto == SimDuration::ZERO),
        ];
        match is_zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((option, _)) => {
                let key = format!("{key}.tcp.{option}");
                Err(self
                    .source
                    .invalid(&key, "must be more than zero, found zero"))
            }
            None => Ok(Some(tcp)),
        }
    }

    /// The hop at `key`, which is `which`, has no options of TCP.
    pub(super) fn no_tcp(&self, key: &str, hop: &HopFile, which: &str) -> Result<(), FileError> {
        match hop.tcp {
            None => Ok(()),
            Some(_) => {
                let problem =
                    format!("is for hops over `tcp` from one host to another, found on {which}");
                Err(self.source.invalid(&format!("{key}.tcp"), problem))
            }
        }
    }
}
