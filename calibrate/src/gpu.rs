//! Fits laws of nets on GPUs to measured times.
//!
//! The times are of whole forward passes, by batch and by the share of the GPU's multiprocessors
//! that the net had: [`share`] has a net alone on the GPU, [`interference`] two nets side by side,
//! and [`tokens`] a language model's prefill and decode. Each law is a closed form of the engine's
//! mechanism (phases that take overhead, then compute or move bytes), so what is fitted here is
//! what the engine runs. [`fit`] is the estimator that they share, [`held_out`] how they are
//! judged, [`tables`] the published measurements, and [`parts`] the GPUs fitted to these.
//!
//! What is left out: single kernels, and how times vary from one pass to the next; the
//! measurements are means.

pub mod fit;
pub mod held_out;
pub mod interference;
pub mod parts;
pub mod server;
pub mod share;
pub mod tables;
pub mod tokens;
