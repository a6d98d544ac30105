//! Packets on links, and how TCP paces what it sends.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, SimDuration};

/// That a link is an Ethernet: its rate is that of its bits, so that what packets have beside their
/// payload takes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ethernet {
    /// Most bytes of an IP packet, headers included; 1500 B if not given (IEEE 802.3).
    #[serde(default = "default_mtu")]
    pub mtu: Bytes,
    /// How what is on it shares it; as a fluid if not given.
    #[serde(default)]
    pub mode: LinkMode,
    /// What waits for it at most, where a switch sends: what comes when that is full is lost. Only in
    /// the mode `packets`; without it nothing is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Bytes>,
}

impl Ethernet {
    /// What a frame takes on a wire beside its IP packet: preamble 8, header 14, check sequence 4, gap
    /// 12 (IEEE 802.3-2022, clauses 3.1.1 and 4.4.2).
    pub const FRAME_HEADER: Bytes = Bytes(38);
    /// What is TCP's of an IP packet: IPv4 20 (RFC 791), TCP 20 (RFC 9293), timestamps 12 with their
    /// padding (RFC 7323).
    pub const TCP_HEADER: Bytes = Bytes(52);
    /// Smallest and largest MTU: what every host takes (RFC 791), and what an IPv4 header can say.
    pub const MTUS: [Bytes; 2] = [Bytes(576), Bytes(65_536)];
}

/// How what is on a link shares it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkMode {
    /// Max-min fairly, all at once.
    #[default]
    Fluid,
    /// Packet by packet, first come first served.
    Packets,
}

/// How TCP paces the messages of a hop, each of its connections and directions for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tcp {
    /// Most bytes that the sender's thread has handed over and that are not acknowledged; without it
    /// it never waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_buffer: Option<Bytes>,
    /// Most bytes that are under way or that the receiver's thread has not taken; without it none are
    /// too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_buffer: Option<Bytes>,
    /// Packets that a connection sends before it hears of any, from where it doubles them every round
    /// trip; without it there is no congestion window, but over links that may lose packets, where it
    /// is 10 (RFC 6928).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_window: Option<u32>,
    /// Shortest time without word after which what was sent is taken for lost; and after as long a
    /// pause the window is the initial one again. 200 ms if not given (`TCP_RTO_MIN` of Linux,
    /// include/net/tcp.h).
    #[serde(default = "default_min_rto")]
    pub min_rto: SimDuration,
}

impl Tcp {
    /// Neither buffers nor a congestion window that limit anything.
    pub const UNLIMITED: Tcp = Tcp {
        send_buffer: None,
        receive_buffer: None,
        initial_window: None,
        min_rto: default_min_rto(),
    };
}

const fn default_mtu() -> Bytes {
    Bytes(1_500)
}

const fn default_min_rto() -> SimDuration {
    SimDuration::from_ps(200_000_000_000)
}
