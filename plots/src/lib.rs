//! Figures and the report, drawn from runs.
//!
//! A figure takes summaries, samples or [comparison rows](schema::comparison::Row) and is drawn one
//! column of a paper wide ([`WIDTH_MM`]) with text of at least 7 pt. [`Figure::save`] writes it as
//! SVG and PNG, with the numbers drawn beside it as CSV. [`report::Report`] puts figures and tables
//! on one HTML page that needs nothing else.
//!
//! - [`breakdown`]: where the time of a request goes, stage by stage;
//! - [`cdf`]: distributions of the end-to-end time;
//! - [`load_curve`]: end-to-end time and throughput against load;
//! - [`curves`]: scenarios side by side, against the size of requests or the number of clients;
//! - [`study`]: what a study found, over its factors;
//! - [`accuracy`]: signed errors of the simulation beside the noise of the measurement;
//! - [`errors`]: errors of predictions over what was measured;
//! - [`gantt`]: what each GPU, context and host did when.
//!
//! [`chrome`] writes what [`gantt`] draws for viewers of traces.
//!
//! What was measured and what was simulated differ by more than colour: solid and dashed, mark and
//! line, or a row of its own with its name. Colours are those of Okabe and Ito (2008, "Color
//! Universal Design"), which people with any kind of colour vision tell apart; hatching and marks
//! keep them apart in grey print.
//!
//! Invariant: equal inputs give equal bytes. Nothing here looks at the clock, the machine or its
//! fonts; text is set in an embedded DejaVu Sans Condensed.
#![forbid(unsafe_code)]

pub mod accuracy;
pub mod breakdown;
pub mod cdf;
pub mod chrome;
pub mod curves;
pub mod errors;
pub mod gantt;
pub mod load_curve;
pub mod report;
pub mod study;

mod axis;
mod drawing;
mod error;
mod figure;
mod font;
mod format;
mod legend;
mod pair;
mod palette;
mod timeline;

pub use error::PlotError;
pub use figure::{Figure, WIDTH_MM};
pub use pair::Pair;
pub use timeline::{Lanes, View};
