//! Calibration tested by recovery, refusal and properties, and comparison by closed form.

mod comparison;
mod pairs;
mod properties;
mod recovery;
mod refusal;
mod sampling;
mod synthetic;
