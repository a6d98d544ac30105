//! Networks of queueing stations, and a fast engine for them.
//!
//! A network is made of stages and of the clients whose requests go through them. It can be written
//! down in a scenario file, or put together here without any file:
//!
//! ```
//! use sim::queueing::{
//!     ArrivalsFile, Clients, Distribution, Extent, Network, Plan, SimDuration, Station,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut network = Network::new();
//! let service = Distribution::Exponential(SimDuration::from_ns(1_000_000));
//! let counter = network.station("counter", Station::fifo(1, service));
//! let arrivals = ArrivalsFile::poisson("800 /s".parse()?);
//! network.clients(Clients::one("customers", arrivals, vec![counter]));
//! let plan = Plan::new(Extent::Requests(2_000), Extent::Requests(20_000));
//! let report = network.run(&plan)?;
//! let sojourn = report.stages["counter"].sojourn.mean;
//! // Theory: 1 / (1000 - 800) s.
//! assert!((sojourn.value / 5e-3 - 1.0).abs() < 0.1);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/custom_pipeline.rs` has a larger one.
//!
//! # Stages
//! | stage | does |
//! |---|---|
//! | [`Station`] | serves requests, with a [`Discipline`], a capacity, patience, retries and failures |
//! | [`PlainKind::Fork`] | sends a copy of a request to each of several stages |
//! | [`PlainKind::Join`] | keeps the copies until all of them have come; the request goes on |
//! | [`PlainKind::Balance`] | sends a request to one of several stations, by a [`PolicyName`] |
//! | [`PlainKind::Tokens`] | gives tokens to requests, which wait for them in order |
//! | [`PlainKind::Release`] | takes them back; those still held when a request ends are given back then |
//!
//! A request goes along its clients' path. What leaves a stage with [routes](Network::route) of its
//! own takes one of them first, with their probabilities; after that it goes on along the path from
//! where it was. A request ends where neither leads on; one with copies that were not joined ends
//! when all of them have.
//!
//! # What a visit is
//! - The service of a request is drawn when it arrives at a station, from the stream
//!   `stage/NAME/service`, whether it then finds room or not. So two runs with the same names share
//!   their draws, visit by visit, whatever the discipline.
//! - *Waiting* lasts from arrival until service first starts; what follows until departure is
//!   *service*, with interruptions, sharing and blocking.
//! - A visit is in the statistics if its request was sent after the warm-up. Averages over time are
//!   over the measured window. A request that was turned away or gave up is counted, and none of its
//!   visits to that station is.
//! - Patience counts until service first starts. A request whose patience ends at the instant at
//!   which a server would take it goes or stays by the order in which the two were scheduled.
//!
//! # Order
//! A departure is one event: the request leaves, the server takes the next in line, then the
//! request enters the next stage. What such an event causes elsewhere at the same instant is done
//! before the next event, in the order in which it came up. Events at one instant come in the order
//! in which they were scheduled ([`EventQueue`](crate::engine::EventQueue)).
//!
//! # What is checked at the end of every run
//! Nobody is left; all that entered left; and Little's law as an identity of the sample path, to the
//! picosecond: the area under the number of requests is the sum of their sojourn times, at each
//! stage and over all. A run that breaks one of these is an error, in release builds too.
//!
//! # Cost
//! An event of a line costs O(1), of one with ranks, of processor sharing and of the queue O(log n).
//! A station keeps two histograms a class; nothing grows with the number of requests that have
//! ended. A request under way takes a line of the cache, 64 B.

mod breakdown;
mod build;
mod check;
mod client;
mod customer;
mod engine;
mod event;
mod line;
mod network;
mod node;
mod passing;
mod preemptive;
mod report;
mod run;
mod sharing;
mod time_sliced;
mod trace;
mod visit;
mod waiting;

pub use schema::arrivals::ArrivalsFile;
pub use schema::distribution::Distribution;
pub use schema::random::Seed;
pub use schema::scenario::{
    Balance, Breakdown, Discipline, Extent, Lot, Order, PlainKind, PolicyName, Retry, Station,
    TokensFile, WhenFull,
};
pub use schema::units::{Frequency, SimDuration, SimTime};

pub use crate::{Arrivals, Keep};
pub use network::{Clients, Kind, Network};
pub use run::{Plan, Report};
