//! Shortest paths, and which of several a flow takes.

use std::collections::VecDeque;

use schema::ids::Id;
use schema::random::fnv1a64;

use super::graph::{Graph, LinkId, VertexId, VertexKind};

/// Hops of a vertex from which a destination cannot be reached.
const UNREACHABLE: u32 = u32::MAX;

/// Why a flow has no path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoutesError {
    /// No links that are up lead there.
    #[error("no path leads from {from:?} to {to:?} over the links that are up")]
    Unreachable {
        /// Where the flow starts.
        from: VertexId,
        /// Where it would go.
        to: VertexId,
    },
}

/// Whether a link can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// It carries flows.
    Up,
    /// Routes avoid it.
    Down,
}

/// The routes through a graph: paths of the fewest hops over links that are up, forwarded by switches
/// only.
///
/// Of several next hops of equal cost a flow takes that whose hash, of the flow (source, destination
/// and label, by FNV-1a) and the link, is the highest (highest random weight: Thaler and Ravishankar 1998, IEEE/ACM Transactions on Networking
/// 6(1); for multipath RFC 2991). So a flow keeps to one path, each switch chooses by
/// itself, and a link that fails moves only the flows that it carried.
///
/// The hops to a destination are found by a breadth-first search from it, O(links), when it is first
/// asked for, and kept until a link changes.
#[derive(Clone, Debug)]
pub struct Routes {
    /// By destination, then by vertex: hops that are left.
    hops: Vec<Option<Box<[u32]>>>,
    state: Vec<LinkState>,
    /// Scratch.
    reached: VecDeque<VertexId>,
}

impl Routes {
    /// Routes over all links of `graph`.
    pub fn new(graph: &Graph) -> Routes {
        Routes {
            hops: vec![None; graph.n_vertices()],
            state: vec![LinkState::Up; graph.n_links()],
            reached: VecDeque::new(),
        }
    }

    /// Takes a link down or up. Paths found before are the caller's to ask for again.
    pub fn set_state(&mut self, link: LinkId, state: LinkState) {
        if self.state[link.index()] != state {
            self.state[link.index()] = state;
            self.hops.fill(None);
        }
    }

    /// Whether a link is used.
    pub fn state(&self, link: LinkId) -> LinkState {
        self.state[link.index()]
    }

    /// The links from `from` to `to` that the flow `label` between them takes; none if they are one
    /// vertex. `graph` is that of [`Routes::new`].
    ///
    /// # Errors
    /// If there is no path.
    pub fn path(
        &mut self,
        graph: &Graph,
        from: VertexId,
        to: VertexId,
        label: u64,
    ) -> Result<Vec<LinkId>, RoutesError> {
        let state = &self.state;
        let hops = self.hops[to.index()]
            .get_or_insert_with(|| count_hops(graph, state, to, &mut self.reached));
        let n_hops = hops[from.index()];
        if n_hops == UNREACHABLE {
            return Err(RoutesError::Unreachable { from, to });
        }
        let flow = hash_flow(from, to, label);
        let mut path = Vec::with_capacity(n_hops as usize);
        let mut at = from;
        while at != to {
            let left = hops[at.index()] - 1;
            let is_next = |link: &&LinkId| {
                let far = graph.link(**link).to;
                let forwards = far == to || graph.kind(far) == VertexKind::Switch;
                state[link.index()] == LinkState::Up && hops[far.index()] == left && forwards
            };
            let next = graph.leaving(at).iter().filter(is_next);
            let link = next.max_by_key(|link| (mix(flow ^ mix(link.index() as u64)), **link));
            let link = *link.expect("a vertex with hops left has a next hop");
            path.push(link);
            at = graph.link(link).to;
        }
        Ok(path)
    }
}

/// Hops from each vertex to `to`.
fn count_hops(
    graph: &Graph,
    state: &[LinkState],
    to: VertexId,
    reached: &mut VecDeque<VertexId>,
) -> Box<[u32]> {
    let mut hops = vec![UNREACHABLE; graph.n_vertices()].into_boxed_slice();
    hops[to.index()] = 0;
    reached.clear();
    reached.push_back(to);
    while let Some(vertex) = reached.pop_front() {
        if vertex != to && graph.kind(vertex) == VertexKind::Host {
            continue;
        }
        for link in graph.entering(vertex) {
            let near = graph.link(*link).from;
            if state[link.index()] == LinkState::Up && hops[near.index()] == UNREACHABLE {
                hops[near.index()] = hops[vertex.index()] + 1;
                reached.push_back(near);
            }
        }
    }
    hops
}

fn hash_flow(from: VertexId, to: VertexId, label: u64) -> u64 {
    let mut bytes = [0; 24];
    let words = [from.index() as u64, to.index() as u64, label];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    fnv1a64(&bytes)
}

/// The finalizer of SplitMix64, a bijection in which each bit depends on all (Steele, Lea and Flood
/// 2014, "Fast splittable pseudorandom number generators", OOPSLA).
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
