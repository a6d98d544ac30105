//! Fits profiles to runs and compares runs.
