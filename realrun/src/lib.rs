//! Executes a scenario or a probe on real hardware.

pub mod accelerator;
