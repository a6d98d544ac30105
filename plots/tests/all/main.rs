//! Figures and reports as files: what is in them, and that they are always the same.

mod figures;
mod fixtures;
mod report;
