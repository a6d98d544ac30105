//! Networks of plain stations against queueing theory: the engine, through its public interface,
//! must give what [`sim::theory`] says.
//!
//! Each test runs independent replications from seed 0 and asserts that theory lies in the Student
//! t interval of their mean and that the interval is at most 3% to either side; beside it, that
//! with a known error in the network, such as a service 4% longer, theory falls outside. There are
//! fewer than 100 intervals, each of 99.99%, so that any would miss by chance with a probability
//! below 1%. What each found is printed; see it with `--nocapture`.

mod arrivals;
mod batches;
mod disciplines;
mod fixture;
mod general;
mod limits;
mod markovian;
mod networks;
mod parallel;
