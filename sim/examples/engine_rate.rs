//! How many events a second the engine handles, beside a loop written by hand for the one purpose,
//! at 1,000,000 customers of an M/M/1 and of three stations in tandem. Prints one JSON object.
//!
//! ```text
//! cargo run --release -p tandem-sim --example engine_rate
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

#[path = "../benches/works/mod.rs"]
mod works;

const CUSTOMERS: u32 = 1_000_000;
const ROUNDS: usize = 7;

fn main() {
    let results = [("mm1", 1), ("tandem", 3)].map(|(work, n_stations)| {
        let rates = works::compare(n_stations, CUSTOMERS, ROUNDS);
        format!(
            "\"{work}\": {{\"events_per_s\": {:.0}, \"handwritten_events_per_s\": {:.0}, \"ratio\": {:.3}}}",
            rates.engine,
            rates.by_hand,
            rates.engine / rates.by_hand
        )
    });
    println!("{{{}}}", results.join(", "));
}
