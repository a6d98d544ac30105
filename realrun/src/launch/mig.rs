//! Instances of partitioned GPUs (MIG), as `nvidia-smi` lists them.
//!
//! A process sees the one instance that `CUDA_VISIBLE_DEVICES` names by its UUID, as its GPU 0 (NVIDIA,
//! MIG User Guide, "Device Enumeration"). Making instances takes root, so that is left to people.

use std::process::Command;

use schema::scenario::{Device, MigFile};

/// What names the GPUs, or the instance, that a process sees.
pub(super) const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
const LIST: &str = "nvidia-smi";

/// An instance of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Instance {
    /// Number of its GPU.
    gpu: u32,
    /// Its profile, such as `3g.20gb`.
    profile: String,
    uuid: String,
}

/// The instances in what `nvidia-smi -L` says: after the line of a GPU one line for each, such as
/// `  MIG 3g.20gb     Device  0: (UUID: MIG-…)`.
fn parse(text: &str) -> Vec<Instance> {
    let mut gpu = None;
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["GPU", number, ..] => gpu = number.trim_end_matches(':').parse().ok(),
            ["MIG", profile, "Device", _, "(UUID:", uuid] => {
                found.extend(gpu.map(|gpu| Instance {
                    gpu,
                    profile: profile.to_owned(),
                    uuid: uuid.trim_end_matches(')').to_owned(),
                }));
            }
            _ => {}
        }
    }
    found
}

/// Compute slices of an instance: the number before `g` in the name of its profile.
fn slices(instance: &Instance) -> Option<u32> {
    instance.profile.split('g').next()?.parse().ok()
}

/// UUID of the instance of this machine that stands for one of a scenario, whose GPU is partitioned
/// into `mig`: those with as many compute slices are taken in their order.
///
/// # Errors
/// If there is none, with how to make it.
pub(super) fn uuid(device: Device, mig: &[MigFile]) -> Result<String, String> {
    let output = Command::new(LIST).arg("-L").output();
    let output = output.map_err(|error| format!("{LIST} -L: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stdout);
        return Err(format!("{LIST} -L: {} ({})", words.trim(), output.status));
    }
    choose(
        &parse(&String::from_utf8_lossy(&output.stdout)),
        device,
        mig,
    )
}

fn choose(all: &[Instance], device: Device, mig: &[MigFile]) -> Result<String, String> {
    let instance = device
        .instance
        .expect("a partitioned GPU is used by its instances") as usize;
    let compute = mig[instance].compute;
    let before = mig[..instance]
        .iter()
        .filter(|other| other.compute == compute);
    let here = all.iter().filter(|found| found.gpu == device.gpu);
    let mut alike = here.clone().filter(|found| slices(found) == Some(compute));
    alike.nth(before.count()).map(|found| found.uuid.clone()).ok_or_else(|| {
        let profiles: Vec<&str> = here.map(|found| found.profile.as_str()).collect();
        let has = match profiles.is_empty() {
            true => "none".to_owned(),
            false => profiles.join(", "),
        };
        format!(
            "GPU {} of this machine has {has} as instances, and too few of {compute} compute slices; \
             root makes them with `nvidia-smi -i {} -mig 1` and `nvidia-smi mig -i {} -cgi PROFILE -C` \
             (`-lgip` lists profiles)",
            device.gpu, device.gpu, device.gpu
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the MIG User Guide shows it.
    const LISTED: &str = "\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-a)
  MIG 2g.10gb     Device  1: (UUID: MIG-b)
  MIG 2g.10gb     Device  2: (UUID: MIG-c)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1)
";

    #[test]
    fn instances_are_chosen_by_their_compute_slices() {
        let all = parse(LISTED);
        assert_eq!(all.len(), 3);
        let mig = [2, 3, 2].map(|compute| MigFile { compute, memory: 2 });
        let chosen = |gpu, instance| {
            let instance = Some(instance);
            choose(&all, Device { gpu, instance }, &mig)
        };
        let uuids = [0, 1, 2].map(|instance| chosen(0, instance).unwrap());
        assert_eq!(uuids, ["MIG-b", "MIG-a", "MIG-c"]);
        insta::assert_snapshot!(chosen(1, 0).unwrap_err(), @"GPU 1 of this machine has none as instances, and too few of 2 compute slices; root makes them with `nvidia-smi -i 1 -mig 1` and `nvidia-smi mig -i 1 -cgi PROFILE -C` (`-lgip` lists profiles)");
        let four = [MigFile {
            compute: 4,
            memory: 4,
        }];
        let device = Device {
            gpu: 0,
            instance: Some(0),
        };
        insta::assert_snapshot!(choose(&all, device, &four).unwrap_err(), @"GPU 0 of this machine has 3g.20gb, 2g.10gb, 2g.10gb as instances, and too few of 4 compute slices; root makes them with `nvidia-smi -i 0 -mig 1` and `nvidia-smi mig -i 0 -cgi PROFILE -C` (`-lgip` lists profiles)");
    }
}
