//! The clock of the devices.

use std::time::Instant;

use schema::units::{SimDuration, SimTime};

use crate::config::Time;

/// The clock of the devices: the machine's since it was made, or a virtual one.
#[derive(Debug)]
pub(crate) enum Clock {
    Wall(Instant),
    Virtual(SimTime),
}

impl Clock {
    pub(crate) fn new(time: Time) -> Clock {
        match time {
            Time::Wall => Clock::Wall(Instant::now()),
            Time::Virtual => Clock::Virtual(SimTime::ZERO),
        }
    }

    pub(crate) fn now(&self) -> SimTime {
        match self {
            Clock::Wall(start) => {
                let ns = u64::try_from(start.elapsed().as_nanos());
                SimTime::ZERO + SimDuration::from_ns(ns.expect("nobody tests for centuries"))
            }
            Clock::Virtual(now) => *now,
        }
    }
}
