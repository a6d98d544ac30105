//! The clock and the event queue.
//!
//! The order of events is total: by time, then by the order in which they were scheduled. A
//! component cancels what it scheduled by counting up a generation of its own; an event of an older
//! generation is void. What takes no time is scheduled too, never handled within the event that
//! caused it.

mod forecast;
mod queue;

pub use forecast::Forecast;
pub use queue::{Entry, EventQueue};
