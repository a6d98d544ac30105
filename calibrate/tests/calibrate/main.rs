//! Calibration tested by recovery, refusal and properties, and comparison by closed form.

mod comparison;
mod properties;
mod recovery;
mod refusal;
mod sampling;
mod synthetic;
