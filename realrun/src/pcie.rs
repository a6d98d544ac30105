//! Where network adapters and GPUs are on PCI Express, and how adapters are linked to it, as the kernel
//! tells in `/sys`. Neither drivers nor libraries of either are asked.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// NVIDIA's number among the vendors of PCI devices.
const NVIDIA: &str = "0x10de";
/// First byte of the class of PCI devices that are display controllers, as GPUs are.
const DISPLAY: &str = "0x03";

/// An RDMA device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// The version of its firmware; `None` if its driver tells none.
    pub firmware: Option<String>,
    /// Its function on PCI Express; `None` for one in software.
    pub function: Option<Function>,
    /// How it is linked; `None` if the kernel does not tell.
    pub link: Option<Link>,
    /// The way to each GPU of the machine. Empty for one in software.
    pub ways: Vec<Way>,
}

/// A device on PCI Express.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its address, such as `0000:3b:00.0`.
    pub address: String,
    /// What is above it, from the host bridge down.
    above: Vec<String>,
    /// The NUMA node that it is attached to; `None` if the kernel does not know.
    pub node: Option<u32>,
}

/// Speed and width of a PCI Express link, and the most that the device can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// As it is.
    pub is: Lanes,
    /// At most.
    pub most: Lanes,
}

/// Generation and number of lanes of a PCI Express link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lanes {
    /// 1 (2.5 GT/s) to 6 (64 GT/s).
    pub generation: u32,
    /// Number of lanes.
    pub width: u32,
}

/// The way from an adapter to a GPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// Address of the GPU.
    pub gpu: String,
    /// What lies between.
    pub distance: Distance,
}

/// What lies between two devices; from near to far. `nvidia-smi topo -m` calls them PIX or PXB, PHB,
/// NODE, SYS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Distance {
    /// Switches only.
    Switch,
    /// A host bridge.
    RootComplex,
    /// Two host bridges of one NUMA node.
    Socket,
    /// The link between two NUMA nodes.
    AcrossSockets,
    /// Two host bridges, of which the kernel does not know the NUMA nodes.
    Unknown,
}

impl Distance {
    /// In words, after "by".
    pub const fn words(self) -> &'static str {
        match self {
            Distance::Switch => "the same PCIe switch",
            Distance::RootComplex => "the same root complex",
            Distance::Socket => "two root complexes of one socket",
            Distance::AcrossSockets => "the link between two sockets",
            Distance::Unknown => "two root complexes, whose sockets the kernel does not know",
        }
    }
}

impl Link {
    /// Whether it is as fast as the device can do.
    pub fn is_full(&self) -> bool {
        self.is.generation >= self.most.generation && self.is.width >= self.most.width
    }
}

/// RDMA devices that the kernel shows under `sys`, which is `/sys`, by name.
pub fn adapters(sys: &Path) -> Vec<Adapter> {
    let gpus = gpus(sys);
    let adapter = |folder: PathBuf| {
        let function = function(&folder.join("device"));
        let way = |gpu: &Function| {
            let distance = distance(function.as_ref()?, gpu);
            let gpu = gpu.address.clone();
            Some(Way { gpu, distance })
        };
        Adapter {
            name: name_of(&folder),
            firmware: read(&folder.join("fw_ver")).filter(|version| !version.is_empty()),
            link: function.as_ref().and_then(|_| link(&folder.join("device"))),
            ways: gpus.iter().filter_map(way).collect(),
            function,
        }
    };
    let adapters = entries(&sys.join("class/infiniband")).into_iter();
    adapters.map(adapter).collect()
}

/// NVIDIA's GPUs that the kernel shows under `sys`, by address.
pub fn gpus(sys: &Path) -> Vec<Function> {
    let is_gpu = |folder: &PathBuf| {
        let class = read(&folder.join("class"));
        read(&folder.join("vendor")).as_deref() == Some(NVIDIA)
            && class.is_some_and(|class| class.starts_with(DISPLAY))
    };
    let devices = entries(&sys.join("bus/pci/devices")).into_iter();
    let gpus = devices.filter(is_gpu);
    gpus.filter_map(|folder| function(&folder)).collect()
}

/// The device on PCI Express that `folder` leads to.
fn function(folder: &Path) -> Option<Function> {
    let path = fs::canonicalize(folder).ok()?;
    let mut names: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .skip_while(|name| !name.starts_with("pci"))
        .collect();
    let address = names.pop().filter(|_| !names.is_empty())?;
    let node = read(&path.join("numa_node")).and_then(|node| node.parse().ok());
    Some(Function {
        address,
        above: names,
        node,
    })
}

/// What lies between two devices.
pub fn distance(one: &Function, other: &Function) -> Distance {
    let shared = one.above.iter().zip(&other.above);
    // Above are the host bridge, its port, and a switch's bridges, if there is one.
    match shared.take_while(|(one, other)| one == other).count() {
        0 => match (one.node, other.node) {
            (Some(one), Some(other)) if one == other => Distance::Socket,
            (Some(_), Some(_)) => Distance::AcrossSockets,
            _ => Distance::Unknown,
        },
        1 => Distance::RootComplex,
        _ => Distance::Switch,
    }
}

fn link(folder: &Path) -> Option<Link> {
    let lanes = |which: &str| {
        Some(Lanes {
            generation: generation(&read(&folder.join(format!("{which}_link_speed")))?)?,
            width: read(&folder.join(format!("{which}_link_width")))?
                .parse()
                .ok()?,
        })
    };
    Some(Link {
        is: lanes("current")?,
        most: lanes("max")?,
    })
}

/// The generation whose speed the kernel writes so, such as `16.0 GT/s PCIe` (PCI Express Base
/// Specification 6.0, section 1.2).
fn generation(speed: &str) -> Option<u32> {
    let speeds = ["2.5", "5", "8", "16", "32", "64"];
    let number = speed.split_whitespace().next()?.trim_end_matches(".0");
    let at = speeds.iter().position(|known| *known == number)?;
    Some(at as u32 + 1)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A `/sys` with devices at paths below `devices`, with these files.
    fn sys(devices: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let buses = dir.path().join("bus/pci/devices");
        fs::create_dir_all(&buses).unwrap();
        for (path, files) in devices {
            let folder = dir.path().join("devices").join(path);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in *files {
                fs::write(folder.join(name), format!("{text}\n")).unwrap();
            }
            symlink(&folder, buses.join(name_of(&folder))).unwrap();
        }
        dir
    }

    /// An RDMA device called `name` on the PCI device at `path`, or in software.
    fn adapter(sys: &Path, name: &str, path: Option<&str>, firmware: &str) {
        let class = sys.join("class/infiniband");
        let folder = match path {
            Some(path) => sys.join("devices").join(path).join("infiniband").join(name),
            None => sys.join("devices/virtual/infiniband").join(name),
        };
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&class).unwrap();
        fs::write(folder.join("fw_ver"), format!("{firmware}\n")).unwrap();
        if let Some(path) = path {
            symlink(sys.join("devices").join(path), folder.join("device")).unwrap();
        }
        symlink(&folder, class.join(name)).unwrap();
    }

    const GPU: &[(&str, &str)] = &[
        ("vendor", "0x10de"),
        ("class", "0x030200"),
        ("numa_node", "0"),
    ];
    const FAR_GPU: &[(&str, &str)] = &[
        ("vendor", "0x10de"),
        ("class", "0x030200"),
        ("numa_node", "1"),
    ];
    const NIC: &[(&str, &str)] = &[
        ("vendor", "0x15b3"),
        ("class", "0x020000"),
        ("numa_node", "0"),
        ("current_link_speed", "8.0 GT/s PCIe"),
        ("current_link_width", "8"),
        ("max_link_speed", "16.0 GT/s PCIe"),
        ("max_link_width", "16"),
    ];

    #[test]
    fn the_way_to_each_gpu_goes_by_what_they_share() {
        let nic = "pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3c:00.0/0000:3d:00.0";
        let sys = sys(&[
            (nic, NIC),
            // Beside it below the switch, below another port of the host bridge, below another host
            // bridge of the node, on the other node.
            (
                "pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3c:04.0/0000:3e:00.0",
                GPU,
            ),
            ("pci0000:3a/0000:3a:02.0/0000:40:00.0", GPU),
            ("pci0000:5d/0000:5d:00.0/0000:5e:00.0", GPU),
            ("pci0000:ae/0000:ae:00.0/0000:af:00.0", FAR_GPU),
            // Of no node, of another vendor, no GPU.
            (
                "pci0000:d0/0000:d0:00.0/0000:d1:00.0",
                &[GPU[0], GPU[1], ("numa_node", "-1")],
            ),
            (
                "pci0000:d0/0000:d0:01.0/0000:d2:00.0",
                &[("vendor", "0x1a03"), ("class", "0x030000")],
            ),
            (
                "pci0000:d0/0000:d0:02.0/0000:d3:00.0",
                &[("vendor", "0x10de"), ("class", "0x040300")],
            ),
        ]);
        adapter(sys.path(), "mlx5_0", Some(nic), "22.36.1010");
        let found = adapters(sys.path());
        assert_eq!(found.len(), 1);
        let ways: Vec<(&str, Distance)> = found[0]
            .ways
            .iter()
            .map(|way| (way.gpu.as_str(), way.distance))
            .collect();
        assert_eq!(
            ways,
            [
                ("0000:3e:00.0", Distance::Switch),
                ("0000:40:00.0", Distance::RootComplex),
                ("0000:5e:00.0", Distance::Socket),
                ("0000:af:00.0", Distance::AcrossSockets),
                ("0000:d1:00.0", Distance::Unknown),
            ]
        );
        assert_eq!(found[0].firmware.as_deref(), Some("22.36.1010"));
        let function = found[0].function.as_ref().unwrap();
        assert_eq!(
            (function.address.as_str(), function.node),
            ("0000:3d:00.0", Some(0))
        );
    }

    #[test]
    fn a_link_is_compared_with_the_most_that_the_device_can_do() {
        let path = "pci0000:00/0000:00:01.0/0000:01:00.0";
        let sys = sys(&[(path, NIC)]);
        adapter(sys.path(), "mlx5_0", Some(path), "");
        let found = adapters(sys.path());
        let link = found[0].link.unwrap();
        let lanes = |generation, width| Lanes { generation, width };
        assert_eq!((link.is, link.most), (lanes(3, 8), lanes(4, 16)));
        assert!(!link.is_full());
        assert_eq!(found[0].firmware, None);
        let speeds = [
            "2.5 GT/s PCIe",
            "5.0 GT/s PCIe",
            "32.0 GT/s PCIe",
            "64.0 GT/s PCIe",
        ];
        assert_eq!(speeds.map(generation), [Some(1), Some(2), Some(5), Some(6)]);
        assert_eq!(generation("Unknown"), None);
    }

    #[test]
    fn a_device_in_software_is_nowhere_on_pci_express() {
        let sys = sys(&[("pci0000:5d/0000:5d:00.0/0000:5e:00.0", GPU)]);
        adapter(sys.path(), "rxe0", None, "");
        let expected = Adapter {
            name: "rxe0".to_owned(),
            firmware: None,
            function: None,
            link: None,
            ways: Vec::new(),
        };
        assert_eq!(adapters(sys.path()), [expected]);
        assert_eq!(adapters(&sys.path().join("nowhere")), []);
    }
}
