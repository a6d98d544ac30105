//! Requests that come again.

use rand::rngs::ChaCha8Rng;
use schema::distribution::Sampler;
use schema::units::SimDuration;

/// Where requests are that will come back.
#[derive(Debug)]
pub(crate) struct Orbit {
    pub(crate) attempts: u32,
    pub(crate) backoff: Sampler,
    pub(crate) factor: f64,
    pub(crate) rng: ChaCha8Rng,
}

impl Orbit {
    /// How long the request stays away before it comes back for the `attempt`th time.
    pub(crate) fn draw(&mut self, attempt: u32) -> SimDuration {
        let first = self.backoff.sample(&mut self.rng);
        if attempt == 1 {
            return first;
        }
        let exponent = i32::try_from(attempt - 1).unwrap_or(i32::MAX);
        SimDuration::from_secs_f64(first.as_secs_f64() * self.factor.powi(exponent))
    }
}
