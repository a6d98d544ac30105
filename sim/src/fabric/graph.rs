//! Vertices and directed links.

use schema::ids::{Id, Table};
use schema::units::{ByteRate, SimDuration};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name(u32);
        impl Id for $name {
            fn from_index(index: usize) -> Self {
                $name(u32::try_from(index).expect("a table holds fewer than 2^32 rows"))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

id! {
    /// A vertex of a [`Graph`].
    VertexId,
    /// A directed link of a [`Graph`]: one direction of a cable.
    LinkId,
}

/// What a vertex does with what is not for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VertexKind {
    /// It sends and receives, and forwards nothing.
    Host,
    /// It forwards.
    Switch,
}

/// A directed link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Where it starts.
    pub from: VertexId,
    /// Where it ends.
    pub to: VertexId,
    /// What it carries, at most [`Graph::MAX_RATE`].
    pub rate: ByteRate,
    /// Time that a bit takes from one end to the other.
    pub delay: SimDuration,
}

/// Why a link cannot be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GraphError {
    /// Both ends are one vertex.
    #[error("a link of {vertex:?} leads back to it")]
    Loop {
        /// That vertex.
        vertex: VertexId,
    },
    /// An end is of another graph.
    #[error("the graph has {n_vertices} vertices and no {vertex:?}")]
    NoVertex {
        /// That end.
        vertex: VertexId,
        /// Number of vertices.
        n_vertices: usize,
    },
    /// The rate is more than the arithmetic of rates holds.
    #[error("a link carries at most {}, found {rate}", Graph::MAX_RATE)]
    TooFast {
        /// The rate found.
        rate: ByteRate,
    },
}

/// Hosts and switches, and the directed links between them. Links may be parallel.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    vertices: Table<VertexId, Vertex>,
    links: Table<LinkId, Link>,
}

#[derive(Clone, Debug)]
struct Vertex {
    kind: VertexKind,
    /// In the order in which they were added.
    leaving: Vec<LinkId>,
    entering: Vec<LinkId>,
}

impl Graph {
    /// The highest rate of a link: 2⁴⁰ B/s, about 8.8 Tbit/s.
    pub const MAX_RATE: ByteRate = ByteRate::from_bytes_per_s(1 << 40).expect("not zero");

    /// A graph without vertices.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Adds a host.
    pub fn add_host(&mut self) -> VertexId {
        self.add_vertex(VertexKind::Host)
    }

    /// Adds a switch.
    pub fn add_switch(&mut self) -> VertexId {
        self.add_vertex(VertexKind::Switch)
    }

    fn add_vertex(&mut self, kind: VertexKind) -> VertexId {
        self.vertices.push(Vertex {
            kind,
            leaving: Vec::new(),
            entering: Vec::new(),
        })
    }

    /// Adds a directed link.
    ///
    /// # Errors
    /// If its ends are not two vertices of this graph, or it is too fast.
    pub fn add_link(&mut self, link: Link) -> Result<LinkId, GraphError> {
        for vertex in [link.from, link.to] {
            if vertex.index() >= self.vertices.len() {
                return Err(GraphError::NoVertex {
                    vertex,
                    n_vertices: self.vertices.len(),
                });
            }
        }
        if link.from == link.to {
            return Err(GraphError::Loop { vertex: link.from });
        }
        if link.rate > Graph::MAX_RATE {
            return Err(GraphError::TooFast { rate: link.rate });
        }
        let id = self.links.push(link);
        self.vertices[link.from].leaving.push(id);
        self.vertices[link.to].entering.push(id);
        Ok(id)
    }

    /// Adds a cable: a link from `a` to `b`, and one back, of the same rate and delay.
    ///
    /// # Errors
    /// As [`Graph::add_link`].
    pub fn connect(
        &mut self,
        a: VertexId,
        b: VertexId,
        rate: ByteRate,
        delay: SimDuration,
    ) -> Result<[LinkId; 2], GraphError> {
        let link = |from, to| Link {
            from,
            to,
            rate,
            delay,
        };
        Ok([self.add_link(link(a, b))?, self.add_link(link(b, a))?])
    }

    /// Number of vertices.
    pub fn n_vertices(&self) -> usize {
        self.vertices.len()
    }

    /// Number of directed links.
    pub fn n_links(&self) -> usize {
        self.links.len()
    }

    /// Every vertex, in the order in which they were added.
    pub fn vertices(&self) -> impl ExactSizeIterator<Item = VertexId> + use<> {
        self.vertices.ids()
    }

    /// Every directed link with its id, in the order in which they were added.
    pub fn links(&self) -> impl ExactSizeIterator<Item = (LinkId, &Link)> {
        self.links.iter()
    }

    /// What a vertex is.
    pub fn kind(&self, vertex: VertexId) -> VertexKind {
        self.vertices[vertex].kind
    }

    /// A directed link.
    pub fn link(&self, link: LinkId) -> &Link {
        &self.links[link]
    }

    /// The links that start at a vertex.
    pub fn leaving(&self, vertex: VertexId) -> &[LinkId] {
        &self.vertices[vertex].leaving
    }

    /// The links that end at a vertex.
    pub fn entering(&self, vertex: VertexId) -> &[LinkId] {
        &self.vertices[vertex].entering
    }

    /// Time that a bit takes over a path, without being put on its links.
    pub fn propagation_delay(&self, path: &[LinkId]) -> SimDuration {
        path.iter().map(|link| self.links[*link].delay).sum()
    }

    /// The rate of the slowest link of a path; `None` if it is empty.
    pub fn slowest(&self, path: &[LinkId]) -> Option<ByteRate> {
        path.iter().map(|link| self.links[*link].rate).min()
    }

    /// What the links from one side of a cut to the other carry together, in bytes per second:
    /// from the vertices of which `is_near` says so to the others.
    pub fn cut(&self, is_near: impl Fn(VertexId) -> bool) -> u64 {
        let crosses = |link: &&Link| is_near(link.from) && !is_near(link.to);
        let crossing = self.links.rows().iter().filter(crosses);
        crossing.map(|link| link.rate.as_bytes_per_s()).sum()
    }
}
