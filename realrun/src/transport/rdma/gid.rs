//! Addresses of a device's port: which of its GIDs packets come from.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// A GID: the bytes of an IPv6 address.
pub(super) type Gid = [u8; 16];

/// One entry of a port's table of addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    index: u8,
    gid: Gid,
    /// As the kernel writes it: `IB/RoCE v1` or `RoCE v2`.
    kind: String,
}

/// The kernel's folder about the port of a device.
fn folder(device: &str) -> PathBuf {
    Path::new("/sys/class/infiniband")
        .join(device)
        .join("ports/1")
}

/// The GID of `device` at `index`, or else its first of kind RoCE v2, those of IPv4 before others.
pub(super) fn choose(device: &str, index: Option<u8>) -> Result<(u8, Gid), Failure> {
    let folder = folder(device);
    let layer = fs::read_to_string(folder.join("link_layer")).unwrap_or_default();
    is_ethernet(layer.trim())
        .and_then(|()| among(&entries(&folder), index))
        .map_err(|failure| failure.on(device))
}

/// Refuses every link layer but that of RoCE.
fn is_ethernet(layer: &str) -> Result<(), Failure> {
    if layer == "Ethernet" {
        return Ok(());
    }
    let failure = Failure::new("choosing a GID", format!("its link layer is `{layer}`"));
    Err(failure.because("only RoCE, that is Ethernet, is supported"))
}

fn entries(folder: &Path) -> Vec<Entry> {
    let entry = |index: u8| {
        let read = |path: String| fs::read_to_string(folder.join(path)).ok();
        let gid = parse(read(format!("gids/{index}"))?.trim())?;
        // The kernel refuses to tell the kind of an empty entry.
        let kind = read(format!("gid_attrs/types/{index}"))?;
        Some(Entry {
            index,
            gid,
            kind: kind.trim().to_owned(),
        })
    };
    (0..=u8::MAX).filter_map(entry).collect()
}

fn among(entries: &[Entry], index: Option<u8>) -> Result<(u8, Gid), Failure> {
    let is_v2 = |entry: &&Entry| entry.kind == "RoCE v2";
    let table = || {
        let mut table = String::new();
        for entry in entries {
            let (index, kind) = (entry.index, &entry.kind);
            let separator = if table.is_empty() { "" } else { ", " };
            let _infallible = write!(table, "{separator}{index}: {} ({kind})", show(&entry.gid));
        }
        if table.is_empty() {
            "none".to_owned()
        } else {
            table
        }
    };
    let found = match index {
        Some(index) => entries
            .iter()
            .filter(is_v2)
            .find(|entry| entry.index == index),
        None => {
            let is_ipv4 =
                |entry: &&Entry| entry.gid[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255];
            let ipv4 = entries.iter().filter(is_v2).find(is_ipv4);
            ipv4.or_else(|| entries.iter().find(is_v2))
        }
    };
    let found = found.map(|entry| (entry.index, entry.gid));
    found.ok_or_else(|| {
        let wanted = index.map_or_else(
            || "it has no GID of kind RoCE v2".to_owned(),
            |index| format!("its GID {index} is not one of kind RoCE v2"),
        );
        Failure::new("choosing a GID", wanted).because(format!(
            "its GIDs are {}; one of kind RoCE v2 comes with an IP address of its interface",
            table()
        ))
    })
}

/// Eight groups of four hexadecimal digits; `None` for others, and for an empty entry.
fn parse(text: &str) -> Option<Gid> {
    let mut gid = [0; 16];
    let mut groups = text.split(':');
    for pair in gid.chunks_exact_mut(2) {
        pair.copy_from_slice(&u16::from_str_radix(groups.next()?, 16).ok()?.to_be_bytes());
    }
    (groups.next().is_none() && gid != [0; 16]).then_some(gid)
}

/// A GID as an IPv6 address is written.
pub(super) fn show(gid: &Gid) -> String {
    std::net::Ipv6Addr::from(*gid).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn table() -> Vec<Entry> {
        let entry = |index, gid, kind: &str| Entry {
            index,
            gid: parse(gid).unwrap(),
            kind: kind.to_owned(),
        };
        let local = "fe80:0000:0000:0000:5054:00ff:fe12:3456";
        let ipv4 = "0000:0000:0000:0000:0000:ffff:0a4f:0001";
        vec![
            entry(0, local, "IB/RoCE v1"),
            entry(1, local, "RoCE v2"),
            entry(2, ipv4, "IB/RoCE v1"),
            entry(3, ipv4, "RoCE v2"),
        ]
    }

    #[test]
    fn ipv4_over_roce_v2_is_taken_unless_another_is_named() {
        assert_eq!(among(&table(), None).unwrap().0, 3);
        assert_eq!(among(&table()[..2], None).unwrap().0, 1);
        assert_eq!(among(&table(), Some(1)).unwrap().0, 1);
        assert_eq!(show(&table()[3].gid), "::ffff:10.79.0.1");
    }

    #[test]
    fn without_such_a_gid_the_table_is_shown() {
        assert_snapshot!(among(&table(), Some(2)).unwrap_err(), @"choosing a GID: its GID 2 is not one of kind RoCE v2; its GIDs are 0: fe80::5054:ff:fe12:3456 (IB/RoCE v1), 1: fe80::5054:ff:fe12:3456 (RoCE v2), 2: ::ffff:10.79.0.1 (IB/RoCE v1), 3: ::ffff:10.79.0.1 (RoCE v2); one of kind RoCE v2 comes with an IP address of its interface");
        assert_snapshot!(among(&table()[..1], None).unwrap_err(), @"choosing a GID: it has no GID of kind RoCE v2; its GIDs are 0: fe80::5054:ff:fe12:3456 (IB/RoCE v1); one of kind RoCE v2 comes with an IP address of its interface");
        assert_snapshot!(among(&[], None).unwrap_err(), @"choosing a GID: it has no GID of kind RoCE v2; its GIDs are none; one of kind RoCE v2 comes with an IP address of its interface");
    }

    #[test]
    fn infiniband_is_refused() {
        is_ethernet("Ethernet").unwrap();
        let failure = is_ethernet("InfiniBand").unwrap_err().on("mlx5_0");
        assert_snapshot!(failure, @"choosing a GID on device `mlx5_0`: its link layer is `InfiniBand`; only RoCE, that is Ethernet, is supported");
    }

    #[test]
    fn empty_entries_are_none() {
        assert_eq!(parse("0000:0000:0000:0000:0000:0000:0000:0000"), None);
        assert_eq!(parse("fe80"), None);
    }
}
