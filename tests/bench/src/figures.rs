// SPDX-License-Identifier: GPL-2.0

//! Medians with their spread.

use std::fmt;

use serde::Serialize;

/// The middle of many figures, and where the middle half of them is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// How many.
    pub n: usize,
    /// Half of them are below.
    pub median: f64,
    /// A quarter is below.
    pub lower_quartile: f64,
    /// A quarter is above.
    pub upper_quartile: f64,
}

impl Figure {
    /// Of all figures there are; all 0 if there are none.
    #[must_use]
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        // Between two neighbours, as far as the fraction says.
        let at = |fraction: f64| {
            let place = fraction * (sorted.len().max(1) - 1) as f64;
            let low = sorted.get(place.floor() as usize).copied();
            let high = sorted.get(place.ceil() as usize).copied();
            let (low, high) = (low.unwrap_or(0.0), high.unwrap_or(0.0));
            low + (high - low) * place.fract()
        };
        Self {
            n: figures.len(),
            median: at(0.5),
            lower_quartile: at(0.25),
            upper_quartile: at(0.75),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(
            f,
            "{:.digits$} ({:.digits$} to {:.digits$})",
            self.median, self.lower_quartile, self.upper_quartile
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_found_in_any_order() {
        let figure = Figure::of(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(
            (figure.lower_quartile, figure.median, figure.upper_quartile),
            (2.0, 3.0, 4.0)
        );
        assert_eq!(Figure::of(&[1.0, 2.0]).median, 1.5);
        assert_eq!(Figure::of(&[7.0]).upper_quartile, 7.0);
        assert_eq!(Figure::of(&[]).median, 0.0);
    }
}
