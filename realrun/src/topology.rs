//! Where GPUs are in the machine: their places on PCI Express, what lies between them and to network
//! adapters, and their NVLinks.
//!
//! The kernel tells most of it ([`crate::pcie`]), NVIDIA's management library what the kernel does
//! not know. What neither tells is left out.

use std::path::Path;

use crate::pcie::{self, Adapter, Distance, Function};

/// A GPU that the driver shows, and what NVIDIA's management library tells of its neighbours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbours {
    /// Its number.
    pub device: u32,
    /// Its address on the PCI bus, in lower case as the kernel writes it.
    pub address: String,
    /// What lies between it and other GPUs, with their numbers.
    pub distances: Vec<(u32, Distance)>,
    /// Of each of its NVLinks that is up, the address of what is at the far end, `None` where that is not
    /// told; `None` if nothing is told of NVLinks.
    pub nvlinks: Option<Vec<Option<String>>>,
}

/// Where each of `gpus` is, in words; `adapters` are those to whose ways it is told, `sys` is `/sys`.
pub fn describe(gpus: &[Neighbours], adapters: &[Adapter], sys: &Path) -> Vec<String> {
    let known = pcie::gpus(sys);
    let function = |gpu: &Neighbours| known.iter().find(|one| one.address == gpu.address);
    let describe = |gpu: &Neighbours| {
        let own = function(gpu);
        let mut facts = vec![place(gpu, own)];
        for adapter in adapters {
            if let Some(distance) = own.zip(adapter.function.as_ref()) {
                let words = pcie::distance(distance.0, distance.1).words();
                facts.push(format!("to {} by {words}", adapter.name));
            }
        }
        for other in gpus.iter().filter(|other| other.device != gpu.device) {
            let on_pcie = own.zip(function(other));
            let on_pcie = on_pcie.map(|(one, other)| pcie::distance(one, other));
            let mut told = gpu.distances.iter();
            let told = told.find(|(device, _)| *device == other.device);
            if let Some(distance) = on_pcie.or(told.map(|(_, distance)| *distance)) {
                facts.push(format!("to GPU {} by {}", other.device, distance.words()));
            }
        }
        facts.extend(gpu.nvlinks.as_ref().map(|links| nvlinks(links, gpus)));
        facts.join(", ")
    };
    gpus.iter().map(describe).collect()
}

fn place(gpu: &Neighbours, function: Option<&Function>) -> String {
    let at = format!("GPU {} at {}", gpu.device, gpu.address);
    match function.map(|function| function.node) {
        None => format!("{at}, where the kernel shows no GPU"),
        Some(None) => format!("{at}, of no NUMA node that the kernel knows"),
        Some(Some(node)) => format!("{at}, NUMA node {node}"),
    }
}

/// The links by what they lead to.
fn nvlinks(links: &[Option<String>], gpus: &[Neighbours]) -> String {
    if links.is_empty() {
        return "no NVLink that is up".to_owned();
    }
    let mut ends: Vec<(String, u32)> = Vec::new();
    for link in links {
        let gpu = gpus.iter().find(|gpu| Some(&gpu.address) == link.as_ref());
        let end = match (gpu, link) {
            (Some(gpu), _) => format!("GPU {}", gpu.device),
            (None, Some(address)) => address.clone(),
            (None, None) => "what is not told".to_owned(),
        };
        match ends.iter_mut().find(|(known, _)| *known == end) {
            Some((_, n)) => *n += 1,
            None => ends.push((end, 1)),
        }
    }
    let words = ends.iter().map(|(end, n)| format!("{n} to {end}"));
    format!("NVLinks: {}", words.collect::<Vec<_>>().join(" and "))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use insta::assert_snapshot;

    use super::*;

    /// A GPU of the driver's.
    fn gpu(device: u32, address: &str) -> Neighbours {
        Neighbours {
            device,
            address: address.to_owned(),
            distances: Vec::new(),
            nvlinks: None,
        }
    }

    /// A `/sys` that shows a GPU at a node at each of these paths, and an adapter at the last of them.
    fn sys(gpus: &[(&str, &str)], adapter: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let buses = dir.path().join("bus/pci/devices");
        fs::create_dir_all(&buses).unwrap();
        for (path, node) in gpus {
            let folder = dir.path().join("devices").join(path);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in [
                ("vendor", "0x10de"),
                ("class", "0x030200"),
                ("numa_node", node),
            ] {
                fs::write(folder.join(name), text).unwrap();
            }
            symlink(&folder, buses.join(folder.file_name().unwrap())).unwrap();
        }
        let folder = dir.path().join("devices").join(adapter);
        let name = folder.join("infiniband/mlx5_0");
        fs::create_dir_all(&name).unwrap();
        symlink(&folder, name.join("device")).unwrap();
        let class = dir.path().join("class/infiniband");
        fs::create_dir_all(&class).unwrap();
        symlink(&name, class.join("mlx5_0")).unwrap();
        dir
    }

    #[test]
    fn gpus_are_told_with_their_ways_to_adapters_and_to_each_other() {
        let sys = sys(
            &[
                ("pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3e:00.0", "0"),
                ("pci0000:3a/0000:3a:02.0/0000:40:00.0", "0"),
                ("pci0000:ae/0000:ae:00.0/0000:af:00.0", "-1"),
            ],
            "pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3d:00.0",
        );
        let mut gpus = [
            gpu(0, "0000:3e:00.0"),
            gpu(1, "0000:40:00.0"),
            gpu(2, "0000:af:00.0"),
            gpu(3, "0000:77:00.0"),
        ];
        // The kernel's word counts where it has one.
        gpus[0].distances = vec![(1, Distance::Switch), (3, Distance::Socket)];
        gpus[0].nvlinks = Some(vec![
            Some("0000:40:00.0".to_owned()),
            None,
            Some("0000:40:00.0".to_owned()),
            Some("0000:05:00.0".to_owned()),
        ]);
        gpus[1].nvlinks = Some(Vec::new());
        let adapters = pcie::adapters(sys.path());
        assert_snapshot!(describe(&gpus, &adapters, sys.path()).join("\n"), @r"
        GPU 0 at 0000:3e:00.0, NUMA node 0, to mlx5_0 by the same PCIe switch, to GPU 1 by the same root complex, to GPU 2 by two root complexes, whose sockets the kernel does not know, to GPU 3 by two root complexes of one socket, NVLinks: 2 to GPU 1 and 1 to what is not told and 1 to 0000:05:00.0
        GPU 1 at 0000:40:00.0, NUMA node 0, to mlx5_0 by the same root complex, to GPU 0 by the same root complex, to GPU 2 by two root complexes, whose sockets the kernel does not know, no NVLink that is up
        GPU 2 at 0000:af:00.0, of no NUMA node that the kernel knows, to mlx5_0 by two root complexes, whose sockets the kernel does not know, to GPU 0 by two root complexes, whose sockets the kernel does not know, to GPU 1 by two root complexes, whose sockets the kernel does not know
        GPU 3 at 0000:77:00.0, where the kernel shows no GPU
        ");
    }
}
