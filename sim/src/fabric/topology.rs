//! Generated topologies. Every cable is a pair of directed links.

use schema::units::{ByteRate, SimDuration};

use super::graph::{Graph, GraphError, VertexId};

/// A generated network.
#[derive(Clone, Debug)]
pub struct Topology {
    /// All of it.
    pub graph: Graph,
    /// The hosts of the racks, those of the first leaf first.
    pub hosts: Vec<VertexId>,
    /// The hosts of an access network; empty without one.
    pub clients: Vec<VertexId>,
    /// The switches by tier, the nearest to the hosts first.
    pub tiers: Vec<Vec<VertexId>>,
}

/// Why a topology cannot be generated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopologyError {
    /// There would be none of something.
    #[error("`{key}` must be at least 1, found 0")]
    None {
        /// What there would be none of.
        key: &'static str,
    },
    /// A fat-tree of an odd number of ports.
    #[error("`k` of a fat-tree must be even and at least 2, found {k}")]
    OddFatTree {
        /// The number found.
        k: u32,
    },
    /// The uplinks would have no rate, or too high a one.
    #[error(
        "an uplink would carry {rate} B/s (allowed: 1 to {})",
        Graph::MAX_RATE.as_bytes_per_s()
    )]
    Uplink {
        /// That rate, in bytes per second.
        rate: u128,
    },
    /// A link is not possible.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Rate and delay of a cable, in each direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cable {
    /// Rate of each direction.
    pub rate: ByteRate,
    /// Time from one end to the other.
    pub delay: SimDuration,
}

/// What the hosts of a leaf can send for each part that its uplinks carry, `hosts` to `uplinks`: 3 to
/// 1 is three times oversubscribed, 1 to 1 not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oversubscription {
    /// Parts of the hosts.
    pub hosts: u32,
    /// Parts of the uplinks.
    pub uplinks: u32,
}

/// A leaf-spine: racks of hosts under a leaf each, and every leaf connected to every spine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafSpine {
    /// Number of leaves.
    pub leaves: u32,
    /// Number of hosts of each leaf.
    pub hosts_per_leaf: u32,
    /// Number of spines.
    pub spines: u32,
    /// Between a host and its leaf.
    pub host: Cable,
    /// Decides the rate of the cables between leaves and spines, rounded down to a byte per second.
    pub oversubscription: Oversubscription,
    /// Of the cables between leaves and spines.
    pub uplink_delay: SimDuration,
}

/// Clients in front of a leaf-spine: each has an access cable of its own to one border switch, which
/// is connected to every spine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Number of client hosts.
    pub clients: u32,
    /// Between a client and the border.
    pub cable: Cable,
    /// Between the border and each spine.
    pub border: Cable,
}

impl LeafSpine {
    /// The rate of each cable between a leaf and a spine, in bytes per second:
    /// `hosts per leaf * host rate / (oversubscription * spines)`, rounded down.
    ///
    /// # Errors
    /// If that is not a rate of a link.
    pub fn uplink_rate(&self) -> Result<ByteRate, TopologyError> {
        let Oversubscription { hosts, uplinks } = self.oversubscription;
        some("oversubscription.hosts", hosts)?;
        some("oversubscription.uplinks", uplinks)?;
        some("spines", self.spines)?;
        let host = u128::from(self.host.rate.as_bytes_per_s());
        let sent = u128::from(self.hosts_per_leaf) * host;
        let rate = sent * u128::from(uplinks) / (u128::from(hosts) * u128::from(self.spines));
        u64::try_from(rate)
            .ok()
            .and_then(ByteRate::from_bytes_per_s)
            .filter(|rate| *rate <= Graph::MAX_RATE)
            .ok_or(TopologyError::Uplink { rate })
    }
}

/// Hosts around one switch.
///
/// # Errors
/// If there are no hosts, or a cable is not possible.
pub fn star(hosts: u32, cable: Cable) -> Result<Topology, TopologyError> {
    some("hosts", hosts)?;
    let mut graph = Graph::new();
    let centre = graph.add_switch();
    let hosts = add_hosts(&mut graph, centre, hosts, cable)?;
    Ok(Topology {
        graph,
        hosts,
        clients: Vec::new(),
        tiers: vec![vec![centre]],
    })
}

/// A leaf-spine; its tiers are the leaves and the spines.
///
/// # Errors
/// If there are none of something, or a cable is not possible.
pub fn leaf_spine(spec: &LeafSpine) -> Result<Topology, TopologyError> {
    some("leaves", spec.leaves)?;
    some("hosts_per_leaf", spec.hosts_per_leaf)?;
    let rate = spec.uplink_rate()?;
    let mut graph = Graph::new();
    let leaves = add_switches(&mut graph, spec.leaves);
    let spines = add_switches(&mut graph, spec.spines);
    let mut hosts = Vec::new();
    for leaf in &leaves {
        hosts.extend(add_hosts(
            &mut graph,
            *leaf,
            spec.hosts_per_leaf,
            spec.host,
        )?);
        for spine in &spines {
            graph.connect(*leaf, *spine, rate, spec.uplink_delay)?;
        }
    }
    Ok(Topology {
        graph,
        hosts,
        clients: Vec::new(),
        tiers: vec![leaves, spines],
    })
}

/// A leaf-spine with clients in front; its tiers are the leaves, the spines and the border.
///
/// # Errors
/// If there are none of something, or a cable is not possible.
pub fn multi_rack(racks: &LeafSpine, access: &Access) -> Result<Topology, TopologyError> {
    some("clients", access.clients)?;
    let mut topology = leaf_spine(racks)?;
    let graph = &mut topology.graph;
    let border = graph.add_switch();
    for spine in &topology.tiers[1] {
        graph.connect(border, *spine, access.border.rate, access.border.delay)?;
    }
    topology.clients = add_hosts(graph, border, access.clients, access.cable)?;
    topology.tiers.push(vec![border]);
    Ok(topology)
}

/// A fat-tree of switches with `k` ports each and cables all alike: `k` pods of `k/2` edge and `k/2`
/// aggregation switches, `(k/2)²` cores and `k³/4` hosts (Al-Fares, Loukissas and Vahdat 2008, "A
/// scalable, commodity data center network architecture", SIGCOMM). Its tiers are the
/// edge, aggregation and core switches.
///
/// # Errors
/// If `k` is odd or zero, or a cable is not possible.
pub fn fat_tree(k: u32, cable: Cable) -> Result<Topology, TopologyError> {
    if k == 0 || !k.is_multiple_of(2) {
        return Err(TopologyError::OddFatTree { k });
    }
    let half = k / 2;
    let mut graph = Graph::new();
    let mut tiers = [k * half, k * half, half * half].map(|n| add_switches(&mut graph, n));
    let [edges, aggregations, cores] = &mut tiers;
    let mut hosts = Vec::new();
    let width = half as usize;
    for (edges, aggregations) in edges.chunks(width).zip(aggregations.chunks(width)) {
        for edge in edges {
            hosts.extend(add_hosts(&mut graph, *edge, half, cable)?);
            for aggregation in aggregations {
                graph.connect(*edge, *aggregation, cable.rate, cable.delay)?;
            }
        }
        for (aggregation, cores) in aggregations.iter().zip(cores.chunks(width)) {
            for core in cores {
                graph.connect(*aggregation, *core, cable.rate, cable.delay)?;
            }
        }
    }
    Ok(Topology {
        graph,
        hosts,
        clients: Vec::new(),
        tiers: tiers.into(),
    })
}

fn some(key: &'static str, n: u32) -> Result<(), TopologyError> {
    if n == 0 {
        return Err(TopologyError::None { key });
    }
    Ok(())
}

fn add_switches(graph: &mut Graph, n: u32) -> Vec<VertexId> {
    (0..n).map(|_| graph.add_switch()).collect()
}

fn add_hosts(
    graph: &mut Graph,
    switch: VertexId,
    n: u32,
    cable: Cable,
) -> Result<Vec<VertexId>, GraphError> {
    let add = |_| {
        let host = graph.add_host();
        graph.connect(host, switch, cable.rate, cable.delay)?;
        Ok(host)
    };
    (0..n).map(add).collect()
}
