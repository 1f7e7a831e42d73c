// SPDX-License-Identifier: GPL-2.0

//! What may be taken of a time that others need.
//!
//! A peer that answers each configuration access just before it would be too late holds interrupts off for almost all of the
//! time. So what is long in the accesses has a credit, which half of the time that passes fills again. All times are
//! microseconds.

/// What is left of a credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    most: u64,
    free: u64,
    left: u64,
    since: u64,
}

impl Credit {
    /// All of it, `most`, is there at time 0. The first `free` of each turn costs nothing: it is not the peer that says how
    /// many turns there are, and between two of them others have theirs.
    pub const fn new(most: u64, free: u64) -> Self {
        Self {
            most,
            free,
            left: most,
            since: 0,
        }
    }

    /// A turn has taken `spent` and ended at `now`; returns whether there was so much. If not, nothing is left.
    #[must_use]
    pub fn take(&mut self, now: u64, spent: u64) -> bool {
        let filled = now.saturating_sub(self.since) / 2;
        let there = self.left.saturating_add(filled).min(self.most);
        let cost = spent.saturating_sub(self.free);
        self.since = self.since.max(now);
        self.left = there.saturating_sub(cost);
        cost <= there
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
    const FREE: u64 = 100_000;

    fn credit() -> Credit {
        Credit::new(MOST, FREE)
    }

    proptest! {
        /// However long each takes, and whatever is between them.
        #[test]
        fn no_more_than_the_credit_and_half_of_the_time(
            turns in vec((0..2_000_000_u64, 0..2_000_000_u64), 1..200)
        ) {
            let (mut now, mut long) = (0, 0);
            let mut credit = credit();
            for (turn, pause) in turns {
                now += pause + turn;
                if !credit.take(now, turn) {
                    break;
                }
                long += turn.saturating_sub(FREE);
                prop_assert!(long <= MOST + now / 2, "{long} us of {now} us");
            }
        }

        /// However many there are, and without any pause.
        #[test]
        fn short_turns_cost_nothing(turns in vec(0..=FREE, 1..2000)) {
            let mut now = 0;
            let mut credit = credit();
            for turn in turns {
                now += turn;
                prop_assert!(credit.take(now, turn));
                prop_assert_eq!(credit.left, MOST);
            }
        }

        #[test]
        fn half_of_the_time_is_always_there(turns in vec(0..MOST, 1..200)) {
            let mut now = 0;
            let mut credit = credit();
            for turn in turns {
                now += 2 * turn + 1;
                prop_assert!(credit.take(now, turn));
            }
        }

        #[test]
        fn time_may_be_anything(most: u64, free: u64, times: Vec<(u64, u64)>) {
            let mut credit = Credit::new(most, free);
            for (now, spent) in times {
                let _ = credit.take(now, spent);
                prop_assert!(credit.left <= most);
            }
        }
    }

    #[test]
    fn what_takes_all_the_time_comes_to_an_end() {
        let mut credit = credit();
        let answered = (1..).take_while(|&turn| credit.take(turn * 1_900_000, 1_900_000));
        // Less than ten seconds, with the turn that is cut off.
        assert_eq!(answered.count(), 4);
    }
}
