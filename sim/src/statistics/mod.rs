//! Statistics in bounded memory: what the engine keeps of a run, however long it is.

mod batch_means;
mod gauge;
mod histogram;
mod mser;
mod series;

pub use batch_means::BatchMeans;
pub use gauge::{Gauge, Level};
pub use histogram::{Histogram, RELATIVE_ERROR};
pub use mser::mser5;
pub use series::Series;
