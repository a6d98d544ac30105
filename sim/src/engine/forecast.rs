//! What a component expects to change by itself.

use schema::units::SimTime;

/// The next change that a component expects, which is an event in the queue until it expects another.
///
/// Of the events that were scheduled for it only the latest counts: the others are of an older
/// generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forecast {
    at: Option<SimTime>,
    generation: u32,
}

impl Forecast {
    /// The next change is expected at `at`; the instant and the generation of the event to schedule,
    /// if it is another than was expected before.
    #[must_use]
    pub fn expect(&mut self, at: Option<SimTime>) -> Option<(SimTime, u32)> {
        if at == self.at {
            return None;
        }
        self.at = at;
        self.generation = self.generation.wrapping_add(1);
        Some((at?, self.generation))
    }

    /// An event of this generation happens; whether it is the latest, after which nothing is expected.
    pub fn happens(&mut self, generation: u32) -> bool {
        let is_latest = generation == self.generation;
        if is_latest {
            self.at = None;
        }
        is_latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_counts() {
        let mut forecast = Forecast::default();
        let at = |ps| Some(SimTime::from_ps(ps));
        assert_eq!(forecast.expect(at(5)), Some((SimTime::from_ps(5), 1)));
        assert_eq!(forecast.expect(at(5)), None);
        assert_eq!(forecast.expect(at(3)), Some((SimTime::from_ps(3), 2)));
        assert!(!forecast.happens(1));
        assert!(forecast.happens(2));
        assert_eq!(forecast.expect(at(3)), Some((SimTime::from_ps(3), 3)));
        assert_eq!(forecast.expect(None), None);
        assert!(!forecast.happens(3));
    }
}
