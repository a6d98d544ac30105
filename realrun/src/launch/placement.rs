//! Where roles run: as processes of this machine, or each host in a network namespace of its own,
//! joined by virtual Ethernet pairs with the links' rates (token bucket filters).

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use schema::ids::{HostId, Id};
use schema::scenario::{Placement, Scenario, Vertex};
use schema::units::ByteRate;

use crate::error::RealrunError;

/// Bytes that a token bucket may send at once: enough for a segment of 64 KiB at any rate, and for
/// ten milliseconds at the rates that can be trusted (up to 2.5 Gbit/s).
const MIN_BURST: u64 = 65_536;

/// Where the hosts of a scenario are on this machine; dropping it takes them away.
pub(super) struct Place {
    /// Namespaces by host; empty for plain processes.
    namespaces: Vec<String>,
    /// Hosts that a link joins and their addresses on it.
    links: Vec<[(HostId, Ipv4Addr); 2]>,
    /// What of the scenario is not enforced.
    pub(super) warnings: Vec<String>,
}

impl Place {
    /// Makes what the scenario's placement asks for.
    ///
    /// # Errors
    /// If namespaces are asked for and cannot be had.
    pub(super) fn make(scenario: &Scenario) -> Result<Place, RealrunError> {
        let mut place = Place {
            namespaces: Vec::new(),
            links: Vec::new(),
            warnings: Vec::new(),
        };
        if scenario.placement == Placement::Netns {
            if let Some(problem) = netns_problem() {
                let key = scenario.source().position("placement.netns");
                return Err(RealrunError::Unsupported { key, problem });
            }
            place.make_namespaces(scenario)?;
        } else if scenario.links.rows().iter().any(|link| link.rate.is_some()) {
            place.warnings.push(
                "links: their rates are not enforced with placement `local`; use `netns`"
                    .to_owned(),
            );
        }
        if scenario
            .links
            .rows()
            .iter()
            .any(|link| link.delay.as_ps() > 0)
        {
            place
                .warnings
                .push("links: their delays are not enforced, this machine adds none".to_owned());
        }
        Ok(place)
    }

    fn make_namespaces(&mut self, scenario: &Scenario) -> Result<(), RealrunError> {
        let id = std::process::id();
        for (host, _) in scenario.hosts.iter() {
            let name = format!("tandem-{id}-{}", host.index());
            ip(&["netns", "add", &name])?;
            self.namespaces.push(name.clone());
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        for (link, row) in scenario.links.iter() {
            let subnet = u8::try_from(link.index()).map_err(|_| RealrunError::Unsupported {
                key: scenario.source().position("links"),
                problem: "at most 256 links can be laid on one machine".to_owned(),
            })?;
            let [Vertex::Host(a), Vertex::Host(b)] = row.between else {
                unreachable!("switches are refused before")
            };
            let ends =
                [(a, 1), (b, 2)].map(|(host, end)| (host, Ipv4Addr::new(10, 78, subnet, end)));
            let device = |end: usize| format!("td{}-{end}", link.index());
            let names = ends.map(|(host, _)| self.namespaces[host.index()].clone());
            ip(&[
                "link",
                "add",
                &device(0),
                "netns",
                &names[0],
                "type",
                "veth",
                "peer",
                "name",
                &device(1),
                "netns",
                &names[1],
            ])?;
            for (end, (_, address)) in ends.iter().enumerate() {
                let device = device(end);
                ip(&[
                    "-n",
                    &names[end],
                    "address",
                    "add",
                    &format!("{address}/24"),
                    "dev",
                    &device,
                ])?;
                ip(&["-n", &names[end], "link", "set", &device, "up"])?;
                if let Some(rate) = row.rate {
                    limit(&names[end], &device, rate)?;
                }
            }
            self.links.push(ends);
        }
        Ok(())
    }

    /// The command that starts `executable` on `host`.
    pub(super) fn command(&self, host: HostId, executable: &Path) -> Command {
        match self.namespaces.get(host.index()) {
            None => Command::new(executable),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(executable);
                command
            }
        }
    }

    /// Where to listen.
    pub(super) fn bind(&self) -> IpAddr {
        if self.namespaces.is_empty() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        }
    }

    /// The address at which `from` reaches `to`; `None` if no link joins them.
    pub(super) fn address(&self, from: HostId, to: HostId) -> Option<IpAddr> {
        if from == to || self.namespaces.is_empty() {
            return Some(Ipv4Addr::LOCALHOST.into());
        }
        self.links.iter().find_map(|[a, b]| {
            match (a.0 == from && b.0 == to, b.0 == from && a.0 == to) {
                (true, _) => Some(b.1.into()),
                (_, true) => Some(a.1.into()),
                _ => None,
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in &self.namespaces {
            // Best effort: the measurement is over, and the next has names of its own.
            let _left = ip(&["netns", "delete", name]);
        }
    }
}

/// Why network namespaces cannot be had here; `None` if they can.
pub fn netns_problem() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some(
            "network namespaces need root; run as root, or use placement `local`".to_owned(),
        );
    }
    for tool in ["ip", "tc"] {
        if Command::new(tool).arg("-Version").output().is_err() {
            return Some(format!(
                "network namespaces need the program `{tool}` (Debian: iproute2)"
            ));
        }
    }
    None
}

fn ip(arguments: &[&str]) -> Result<(), RealrunError> {
    run("ip", arguments)
}

/// Limits what leaves `device` to `rate`.
fn limit(namespace: &str, device: &str, rate: ByteRate) -> Result<(), RealrunError> {
    let burst = (rate.as_bytes_per_s() / 100).max(MIN_BURST);
    let rate = format!("{}bps", rate.as_bytes_per_s());
    run(
        "tc",
        &[
            "-n",
            namespace,
            "qdisc",
            "add",
            "dev",
            device,
            "root",
            "tbf",
            "rate",
            &rate,
            "burst",
            &burst.to_string(),
            "latency",
            "400ms",
        ],
    )
}

fn run(program: &str, arguments: &[&str]) -> Result<(), RealrunError> {
    let what = || format!("run `{program} {}`", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(RealrunError::io(what()))?;
    if output.status.success() {
        return Ok(());
    }
    let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RealrunError::Io {
        what: what(),
        source: std::io::Error::other(problem),
    })
}
