//! `tandem doctor`: what this machine can measure, and for each thing missing, why and how to get
//! it.

use std::path::Path;
use std::process::ExitCode;

use realrun::machine;
use realrun::pcie::{self, Adapter, Distance};
use serde::Serialize;

use crate::cli::Common;
use crate::failure::Failure;

/// One thing that a measurement may need.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    /// What it is.
    what: &'static str,
    /// Whether it is there.
    available: bool,
    /// What was found.
    found: String,
    /// How to get it; empty if it is there.
    remedy: String,
}

pub(super) fn run(common: &Common) -> Result<ExitCode, Failure> {
    let findings = findings();
    if common.json {
        let facts = machine::facts();
        let result = serde_json::json!({ "machine": facts, "findings": findings });
        super::print(&serde_json::to_string_pretty(&result)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in machine::facts() {
        super::print(&format!("{name:<20} {value}"));
    }
    super::print("");
    for finding in findings {
        let mark = if finding.available { "yes" } else { "no " };
        super::print(&format!("{mark} {:<22} {}", finding.what, finding.found));
        if !finding.remedy.is_empty() {
            super::print(&format!("    {:<22} -> {}", "", finding.remedy));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn findings() -> Vec<Finding> {
    let mut findings = vec![
        cores(),
        steal(),
        shared_memory(),
        namespaces(),
        gpu(),
        service(),
        rdma(),
        connection_manager(),
        peer_memory(),
    ];
    findings.extend(topology());
    let adapters = pcie::adapters(Path::new("/sys"));
    findings.extend(adapters.iter().flat_map(places));
    findings
}

fn finding(what: &'static str, problem: Option<(String, &str)>, found: &str) -> Finding {
    match problem {
        None => Finding {
            what,
            available: true,
            found: found.to_owned(),
            remedy: String::new(),
        },
        Some((found, remedy)) => Finding {
            what,
            available: false,
            found,
            remedy: remedy.to_owned(),
        },
    }
}

fn cores() -> Finding {
    let cores = machine::cores();
    let problem = (cores.len() < 2).then(|| {
        (
            format!("cores {cores:?}"),
            "with one core the roles disturb one another; give this process two",
        )
    });
    finding("cores for the roles", problem, &format!("cores {cores:?}"))
}

/// Whether the hypervisor has taken more than a hundredth of the time since boot.
fn steal() -> Finding {
    let time = machine::machine_time();
    let share = time.map_or(0.0, |time| {
        time.steal_s / (time.busy_s + time.steal_s).max(1.0)
    });
    let found = format!(
        "stolen by a hypervisor since boot: {:.2} % of busy time",
        100.0 * share
    );
    let problem = (share > 0.01).then(|| {
        (
            found.clone(),
            "measure when the host is quiet, or on a machine of your own",
        )
    });
    finding("undisturbed cores", problem, &found)
}

fn shared_memory() -> Finding {
    let problem = (!Path::new("/dev/shm").is_dir()).then(|| {
        (
            "no /dev/shm".to_owned(),
            "mount a tmpfs there; transport `local` uses files on disk meanwhile",
        )
    });
    finding("transport local", problem, "shared memory in /dev/shm")
}

fn namespaces() -> Finding {
    let problem = realrun::launch::netns_problem();
    let problem = problem.map(|problem| (problem, "placement `netns` needs it; `local` does not"));
    finding("placement netns", problem, "root, ip and tc are there")
}

fn gpu() -> Finding {
    let remedy =
        "nets are served on the cores without one, and `tandem simulate` runs GPUs anywhere";
    match realrun::accelerator::cuda::survey() {
        Ok(devices) if !devices.is_empty() => finding("GPU", None, &devices.join("; ")),
        Ok(_) => finding(
            "GPU",
            Some(("the driver shows no GPU".to_owned(), remedy)),
            "",
        ),
        Err(error) => finding("GPU", Some((error.to_string(), remedy)), ""),
    }
}

/// Where the GPUs are and what lies between them; their ways to adapters are told with those.
fn topology() -> Option<Finding> {
    let gpus = realrun::accelerator::cuda::neighbours().ok()?;
    let places = realrun::topology::describe(&gpus, &[], Path::new("/sys"));
    (!places.is_empty()).then(|| finding("GPU topology", None, &places.join("; ")))
}

fn service() -> Finding {
    let remedy = "only `gpu.mps` needs it; `tandem measure` starts it where its program is on PATH";
    match realrun::launch::mps_state() {
        Ok(how) => finding("Multi-Process Service", None, &how),
        Err(problem) => finding("Multi-Process Service", Some((problem, remedy)), ""),
    }
}

fn rdma() -> Finding {
    let remedy =
        "transports `tcp` and `local` need none; Soft-RoCE (rdma_rxe) makes one without a NIC";
    match realrun::transport::rdma::survey() {
        Ok(devices) if !devices.is_empty() => finding("RDMA NIC", None, &devices.join("; ")),
        Ok(_) => {
            let none = "no RDMA device".to_owned();
            finding("RDMA NIC", Some((none, remedy)), "")
        }
        Err(error) => finding("RDMA NIC", Some((error.to_string(), remedy)), ""),
    }
}

fn connection_manager() -> Finding {
    let name = "setup rdma-cm";
    let remedy = "`setup = \"tcp\"`, the default, needs none";
    let problem = realrun::transport::rdma::connection_manager();
    let problem = problem.err().map(|error| (error.to_string(), remedy));
    finding(name, problem, "librdmacm, and /dev/infiniband/rdma_cm")
}

fn peer_memory() -> Finding {
    let name = "GPUDirect RDMA";
    let remedy =
        "needs a GPU and an RDMA NIC, and `modprobe nvidia-peermem` or a driver with dma-buf";
    match realrun::launch::ways_to_gpus() {
        Ok(ways) if ways.is_empty() => {
            let none = "no pair of an RDMA NIC and a GPU".to_owned();
            finding(name, Some((none, remedy)), "")
        }
        Ok(ways) => {
            let works = ways.iter().any(Result::is_ok);
            let words = ways
                .into_iter()
                .map(|way| way.unwrap_or_else(|e| e.to_string()));
            let words = words.collect::<Vec<_>>().join("; ");
            finding(name, (!works).then(|| (words.clone(), remedy)), &words)
        }
        Err(error) => finding(name, Some((error.to_string(), remedy)), ""),
    }
}

/// What the kernel says of an RDMA device: its firmware, its link, and its way to each GPU.
fn places(adapter: &Adapter) -> Vec<Finding> {
    let name = &adapter.name;
    let Some(function) = &adapter.function else {
        let problem = (
            format!("{name} is in software, without firmware and PCIe"),
            "it shows that all works; measure costs and rates with an adapter",
        );
        return vec![finding("NIC in hardware", Some(problem), "")];
    };
    let at = format!("{name} at {}", function.address);
    let no_firmware = (
        format!("{at}: its driver tells none"),
        "`ethtool -i INTERFACE` or the vendor's tool (`mstflint -d ADDRESS query`) may; compare it \
         with the version that the driver's release notes ask for",
    );
    let firmware = adapter.firmware.as_ref();
    let mut findings = vec![finding(
        "NIC firmware",
        firmware.is_none().then_some(no_firmware),
        &format!("{at}: {}", firmware.map_or("", String::as_str)),
    )];
    findings.push(match adapter.link {
        Some(link) => {
            let found = format!(
                "{at}: generation {} x{}, of at most generation {} x{}",
                link.is.generation, link.is.width, link.most.generation, link.most.width
            );
            let problem = (
                found.clone(),
                "it moves fewer bytes a second than it can: use a slot of that generation and width \
                 (`lspci -vv`, lines LnkCap and LnkSta), seat the card anew, or lift limits on the \
                 slot in the BIOS (speed, bifurcation, power saving)",
            );
            finding("NIC PCIe link", (!link.is_full()).then_some(problem), &found)
        }
        None => {
            let problem = (
                format!("{at}: the kernel does not tell"),
                "a virtual machine hides it; look on its host (`lspci -vv`, lines LnkCap and LnkSta)",
            );
            finding("NIC PCIe link", Some(problem), "")
        }
    });
    findings.extend(adapter.ways.iter().map(|way| {
        let found = format!("{name} to the GPU at {} by {}", way.gpu, way.distance.words());
        let remedy = match way.distance {
            Distance::Switch | Distance::RootComplex => None,
            Distance::Socket => Some(
                "GPUDirect RDMA is slower between root complexes: use an adapter below the GPU's, or \
                 move the card to such a slot (`nvidia-smi topo -m`)",
            ),
            Distance::AcrossSockets => Some(
                "GPUDirect RDMA is slowest between sockets: use an adapter at the GPU's socket, or \
                 move the card to one of its slots (`nvidia-smi topo -m`)",
            ),
            Distance::Unknown => Some(
                "the kernel has no NUMA nodes for them: look with `nvidia-smi topo -m`, or in the \
                 board's manual",
            ),
        };
        let problem = remedy.map(|remedy| (found.clone(), remedy));
        finding("NIC near GPU", problem, &found)
    }));
    findings
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    /// A made-up `/sys`: an adapter with a slow link and GPUs near and far, one whose driver tells
    /// nothing, and one in software.
    fn sys() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"
            device() { # PATH FILE=TEXT…
                mkdir -p devices/$1 bus/pci/devices
                ln -s ../../../devices/$1 bus/pci/devices/${1##*/}
                for pair in "${@:2}"; do echo "${pair#*=}" >devices/$1/${pair%%=*}; done
            }
            adapter() { # NAME FIRMWARE [PATH]
                local folder=devices/${3:-virtual}/infiniband/$1
                mkdir -p $folder class/infiniband
                [ -z "$2" ] || echo "$2" >$folder/fw_ver
                [ -z "${3:-}" ] || ln -s ../.. $folder/device
                ln -s ../../$folder class/infiniband/$1
            }
            bridge=pci0000:3a/0000:3a:00.0
            device $bridge/0000:3b:00.0/0000:3c:00.0/0000:3d:00.0 vendor=0x15b3 class=0x020000 \
                numa_node=0 current_link_width=8 max_link_width=16 \
                'current_link_speed=16.0 GT/s PCIe' 'max_link_speed=32.0 GT/s PCIe'
            device $bridge/0000:3b:00.0/0000:3c:04.0/0000:3e:00.0 vendor=0x10de class=0x030200 \
                numa_node=0
            device pci0000:3a/0000:3a:02.0/0000:40:00.0 vendor=0x10de class=0x030200 numa_node=0
            device pci0000:5d/0000:5d:00.0/0000:5e:00.0 vendor=0x10de class=0x030200 numa_node=0
            device pci0000:ae/0000:ae:00.0/0000:af:00.0 vendor=0x10de class=0x030000 numa_node=1
            device pci0000:d0/0000:d0:00.0/0000:d1:00.0 vendor=0x1dd8 class=0x020000 numa_node=-1
            adapter mlx5_0 28.39.1002 $bridge/0000:3b:00.0/0000:3c:00.0/0000:3d:00.0
            adapter odd0 '' pci0000:d0/0000:d0:00.0/0000:d1:00.0
            adapter rxe0 ''
        "#;
        let mut bash = std::process::Command::new("bash");
        let status = bash.args(["-ec", script]).current_dir(dir.path()).status();
        assert!(status.unwrap().success());
        dir
    }

    #[test]
    fn adapters_are_told_with_firmware_link_and_ways_and_a_remedy_for_each_lack() {
        let sys = sys();
        let lines: Vec<String> = pcie::adapters(sys.path())
            .iter()
            .flat_map(places)
            .map(|one| match one.available {
                true => format!("yes {}: {}{}", one.what, one.found, one.remedy),
                false => format!("no {}: {} -> {}", one.what, one.found, one.remedy),
            })
            .collect();
        assert_snapshot!(lines.join("\n"), @r"
        yes NIC firmware: mlx5_0 at 0000:3d:00.0: 28.39.1002
        no NIC PCIe link: mlx5_0 at 0000:3d:00.0: generation 4 x8, of at most generation 5 x16 -> it moves fewer bytes a second than it can: use a slot of that generation and width (`lspci -vv`, lines LnkCap and LnkSta), seat the card anew, or lift limits on the slot in the BIOS (speed, bifurcation, power saving)
        yes NIC near GPU: mlx5_0 to the GPU at 0000:3e:00.0 by the same PCIe switch
        yes NIC near GPU: mlx5_0 to the GPU at 0000:40:00.0 by the same root complex
        no NIC near GPU: mlx5_0 to the GPU at 0000:5e:00.0 by two root complexes of one socket -> GPUDirect RDMA is slower between root complexes: use an adapter below the GPU's, or move the card to such a slot (`nvidia-smi topo -m`)
        no NIC near GPU: mlx5_0 to the GPU at 0000:af:00.0 by the link between two sockets -> GPUDirect RDMA is slowest between sockets: use an adapter at the GPU's socket, or move the card to one of its slots (`nvidia-smi topo -m`)
        no NIC firmware: odd0 at 0000:d1:00.0: its driver tells none -> `ethtool -i INTERFACE` or the vendor's tool (`mstflint -d ADDRESS query`) may; compare it with the version that the driver's release notes ask for
        no NIC PCIe link: odd0 at 0000:d1:00.0: the kernel does not tell -> a virtual machine hides it; look on its host (`lspci -vv`, lines LnkCap and LnkSta)
        no NIC near GPU: odd0 to the GPU at 0000:3e:00.0 by two root complexes, whose sockets the kernel does not know -> the kernel has no NUMA nodes for them: look with `nvidia-smi topo -m`, or in the board's manual
        no NIC near GPU: odd0 to the GPU at 0000:40:00.0 by two root complexes, whose sockets the kernel does not know -> the kernel has no NUMA nodes for them: look with `nvidia-smi topo -m`, or in the board's manual
        no NIC near GPU: odd0 to the GPU at 0000:5e:00.0 by two root complexes, whose sockets the kernel does not know -> the kernel has no NUMA nodes for them: look with `nvidia-smi topo -m`, or in the board's manual
        no NIC near GPU: odd0 to the GPU at 0000:af:00.0 by two root complexes, whose sockets the kernel does not know -> the kernel has no NUMA nodes for them: look with `nvidia-smi topo -m`, or in the board's manual
        no NIC in hardware: rxe0 is in software, without firmware and PCIe -> it shows that all works; measure costs and rates with an adapter
        ");
    }
}
