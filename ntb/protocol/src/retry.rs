// SPDX-License-Identifier: GPL-2.0

//! When something that has failed is tried again, and when no more.

/// Seconds after each attempt until the next one.
const DELAYS: [u32; 9] = [1, 2, 4, 8, 16, 32, 60, 60, 60];

/// Attempts in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    made: usize,
}

impl Retry {
    /// At most so many attempts are made.
    pub const MOST: usize = DELAYS.len() + 1;

    /// Nothing was tried yet.
    pub const fn new() -> Self {
        Self { made: 0 }
    }

    /// How many attempts were made.
    pub const fn made(&self) -> usize {
        self.made
    }

    /// Whether there is one left.
    pub const fn may_try(&self) -> bool {
        self.made < Self::MOST
    }

    /// Counts an attempt; returns after how many seconds there may be another one, `None` if there is none.
    pub fn attempt(&mut self) -> Option<u32> {
        let delay = DELAYS.get(self.made).copied();
        self.made = Self::MOST.min(self.made.saturating_add(1));
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_ever_less_often() {
        let mut retry = Retry::new();
        let mut delays = Vec::new();
        while retry.may_try() {
            delays.push(retry.attempt());
        }
        assert_eq!((retry.made(), Retry::MOST), (10, 10));
        assert_eq!(delays.pop(), Some(None));
        let delays: Vec<u32> = delays.into_iter().flatten().collect();
        assert_eq!(delays.len(), 9);
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((retry.attempt(), retry.made()), (None, 10));
    }
}
