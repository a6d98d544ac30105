//! `tandem doctor`: what this machine can measure, and for each thing missing, why and how to get
//! it.

use std::path::Path;
use std::process::ExitCode;

use realrun::machine;
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
    vec![
        cores(),
        steal(),
        shared_memory(),
        namespaces(),
        gpu(),
        service(),
        rdma(),
        peer_memory(),
    ]
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
