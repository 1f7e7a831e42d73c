// SPDX-License-Identifier: GPL-2.0

//! How long to rest from work that a peer can cause without end.
//!
//! Such work goes before all programs of its host, and a peer must not keep them waiting: it is to take no more than half of a
//! processor's time. All times are microseconds.

/// Less work than this is not worth a rest.
const WORTH: u64 = 10_000;

/// What one kind of work has taken of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duty {
    since: u64,
    spent: u64,
}

impl Duty {
    /// There was no work until `now`.
    pub const fn new(now: u64) -> Self {
        Self {
            since: now,
            spent: 0,
        }
    }

    /// Some work has taken `spent` and ended at `now`; returns for how long to rest before any more of it, at most `longest`.
    pub fn rest(&mut self, now: u64, spent: u64, longest: u64) -> u64 {
        self.spent = self.spent.saturating_add(spent);
        if self.spent < WORTH {
            return 0;
        }
        let idle = now.saturating_sub(self.since).saturating_sub(self.spent);
        let rest = self.spent.saturating_sub(idle).min(longest);
        *self = Self::new(now.saturating_add(rest));
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{
        collection::vec,
        prelude::*, //
    };

    const LONGEST: u64 = 100_000;

    proptest! {
        /// However the work comes: in one piece or in many, with pauses between them that are too short.
        #[test]
        fn half_of_the_time_is_left(turns in vec((0..LONGEST, 0..2 * WORTH), 1..200)) {
            let (mut now, mut worked) = (1_000, 0);
            let mut duty = Duty::new(now);
            let start = now;
            for (work, pause) in turns {
                now += work;
                worked += work;
                now += duty.rest(now, work, LONGEST + WORTH);
                let idle = now - start - worked;
                prop_assert!(worked <= idle + WORTH, "{worked} us of work, {idle} us without");
                now += pause;
            }
        }

        #[test]
        fn little_work_needs_no_rest(turns in vec(0..WORTH / 2, 1..200)) {
            let mut now = 0;
            let mut duty = Duty::new(now);
            for work in turns {
                now += 2 * work + 2;
                prop_assert_eq!(duty.rest(now, work, LONGEST), 0);
            }
        }

        #[test]
        fn a_rest_has_an_end(since: u64, spent: u64, now: u64, work: u64, longest: u64) {
            let mut duty = Duty { since, spent };
            prop_assert!(duty.rest(now, work, longest) <= longest);
        }
    }
}
