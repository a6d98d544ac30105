//! Laws of nets on GPUs, tested by recovery, refusal, closed form and held-out measurements.

mod held_out;
mod nets;
mod recovery;
mod refusal;
