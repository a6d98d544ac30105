//! Timelines computed by hand, exact to the picosecond: times are whole nanoseconds in the trace,
//! and the sums of the statistics leave nothing between them.

mod breakdowns;
mod clients;
mod disciplines;
mod full;
mod impatience;
mod routing;
