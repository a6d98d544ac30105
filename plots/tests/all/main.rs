//! Figures and reports as files: what is in them, and that they are always the same.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod figures;
mod fixtures;
mod report;
mod timeline;
