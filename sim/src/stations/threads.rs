//! Threads that serve first come, first served.

use std::collections::VecDeque;

/// A number of like threads and what waits for one of them, first come, first served.
///
/// It decides who has a thread; how long a thread is kept is up to what it works on.
#[derive(Clone, Debug)]
pub struct Threads<T> {
    free: u32,
    waiting: VecDeque<T>,
}

impl<T> Threads<T> {
    /// `n` idle threads.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(n: u32) -> Threads<T> {
        assert!(n > 0, "somebody must do the work");
        Threads {
            free: n,
            waiting: VecDeque::new(),
        }
    }

    /// Somebody wants a thread: it is given back at once if one is free, and otherwise waits.
    pub fn want(&mut self, who: T) -> Option<T> {
        if self.free == 0 {
            self.waiting.push_back(who);
            return None;
        }
        self.free -= 1;
        Some(who)
    }

    /// Somebody who waits gives up; whether they waited.
    pub fn give_up(&mut self, who: &T) -> bool
    where
        T: PartialEq,
    {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting != who);
        self.waiting.len() < before
    }

    /// A thread is done; whom it takes next, if anybody waits.
    pub fn done(&mut self) -> Option<T> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.free += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_are_taken_in_the_order_in_which_they_came() {
        let mut threads = Threads::new(2);
        let started: Vec<_> = (0..4).filter_map(|who| threads.want(who)).collect();
        assert_eq!(started, [0, 1]);
        assert_eq!([threads.done(), threads.done()], [Some(2), Some(3)]);
        assert_eq!([threads.done(), threads.done()], [None, None]);
        assert_eq!(threads.want(4), Some(4));
    }
}
