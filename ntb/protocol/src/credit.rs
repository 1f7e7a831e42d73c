// SPDX-License-Identifier: GPL-2.0

//! What may be taken of a time that others need.
//!
//! A peer that answers each configuration access just before it would be too late holds interrupts off for almost all of the
//! time. So the accesses together have a credit, which half of the time that passes fills again. All times are microseconds.

/// What is left of a credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    most: u64,
    left: u64,
    since: u64,
}

impl Credit {
    /// All of it, `most`, is there at time 0.
    pub const fn new(most: u64) -> Self {
        Self {
            most,
            left: most,
            since: 0,
        }
    }

    /// Something has taken `spent` and ended at `now`; returns whether there was so much. If not, nothing is left.
    #[must_use]
    pub fn take(&mut self, now: u64, spent: u64) -> bool {
        let filled = now.saturating_sub(self.since) / 2;
        let there = self.left.saturating_add(filled).min(self.most);
        self.since = self.since.max(now);
        self.left = there.saturating_sub(spent);
        spent <= there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{
        collection::vec,
        prelude::*, //
    };

    const MOST: u64 = 5_000_000;

    proptest! {
        /// However long each takes, and whatever is between them.
        #[test]
        fn no_more_than_the_credit_and_half_of_the_time(
            accesses in vec((0..2_000_000_u64, 0..2_000_000_u64), 1..200)
        ) {
            let (mut now, mut spent) = (0, 0);
            let mut credit = Credit::new(MOST);
            for (access, pause) in accesses {
                now += pause + access;
                if !credit.take(now, access) {
                    break;
                }
                spent += access;
                prop_assert!(spent <= MOST + now / 2, "{spent} us of {now} us");
            }
        }

        /// A peer that answers in the time of a healthy link is never cut off, however many accesses there are.
        #[test]
        fn half_of_the_time_is_always_there(
            accesses in vec(0..MOST, 1..200)
        ) {
            let mut now = 0;
            let mut credit = Credit::new(MOST);
            for access in accesses {
                now += 2 * access + 1;
                prop_assert!(credit.take(now, access));
            }
        }

        #[test]
        fn time_may_be_anything(most: u64, times: Vec<(u64, u64)>) {
            let mut credit = Credit::new(most);
            for (now, spent) in times {
                let _ = credit.take(now, spent);
                prop_assert!(credit.left <= most);
            }
        }
    }

    #[test]
    fn what_takes_all_the_time_comes_to_an_end() {
        let mut credit = Credit::new(MOST);
        let answered = (1..)
            .take_while(|&count| credit.take(count * 1_900_000, 1_900_000))
            .count();
        // Then there have been nearly ten seconds, with the access that is cut off.
        assert_eq!(answered, 4);
        assert!(credit.take(u64::MAX, MOST), "it fills again");
    }
}
