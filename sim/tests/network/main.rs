//! Networks of plain stations, through the public interface: what every visit's times are.
//!
//! - `closed_form`: timelines computed by hand.
//! - `properties`: what holds on random networks.
//! - `metamorphic`: what must stay the same, or change in a known way, when a network is changed.
//! - `errors`: what cannot be run.
//! - `frozen`: results that are to change only on purpose.
//! - `scale`: large networks.
//!
//! Events at one instant are handled in the order in which they were scheduled. Where a timeline
//! depends on that, its test says so.

mod closed_form;
mod errors;
mod frozen;
mod metamorphic;
mod properties;
mod scale;
mod support;
