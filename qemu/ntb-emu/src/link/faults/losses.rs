// SPDX-License-Identifier: GPL-2.0

//! Which doorbells are lost.

use fastrand::Rng;
use serde::Serialize;

/// Doorbells to lose.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(in crate::link) enum Losses {
    /// The next ones.
    Next {
        /// How many are still to be lost.
        next: u64,
    },
    /// Each with some probability.
    Random {
        /// From 0 to 1.
        probability: f64,
        /// Where the random numbers began.
        seed: u64,
        /// They themselves.
        #[serde(skip)]
        rng: Rng,
    },
}

impl Losses {
    /// Loses some of those to come.
    pub(in crate::link) fn random(probability: f64, seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        Self::Random {
            probability,
            seed,
            rng,
        }
    }

    /// Whether this one is lost.
    pub(in crate::link) fn lose(&mut self) -> bool {
        match self {
            Self::Next { next: 0 } => false,
            Self::Next { next } => {
                *next -= 1;
                true
            }
            Self::Random {
                probability, rng, ..
            } => rng.f64() < *probability,
        }
    }

    /// Whether none will be lost any more.
    pub(in crate::link) fn is_over(&self) -> bool {
        match self {
            Self::Next { next } => *next == 0,
            Self::Random { probability, .. } => *probability <= 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(probability: f64, seed: u64) -> Vec<bool> {
        let mut losses = Losses::random(probability, seed);
        (0..1000).map(|_| losses.lose()).collect()
    }

    #[test]
    fn the_same_seed_loses_the_same_ones() {
        assert_eq!(lost(0.5, 7), lost(0.5, 7));
        assert_ne!(lost(0.5, 7), lost(0.5, 8));
    }

    #[test]
    fn about_as_many_are_lost_as_are_to_be() {
        for (probability, range) in [(0.0, 0..=0), (0.1, 60..=140), (1.0, 1000..=1000)] {
            let count = lost(probability, 1)
                .into_iter()
                .filter(|lost| *lost)
                .count();
            assert!(range.contains(&count), "{probability}: {count}");
        }
    }

    #[test]
    fn the_next_ones_and_no_others() {
        let mut losses = Losses::Next { next: 2 };
        assert_eq!([(); 4].map(|()| losses.lose()), [true, true, false, false]);
        assert!(losses.is_over());
    }
}
