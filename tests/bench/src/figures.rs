// SPDX-License-Identifier: GPL-2.0

//! Medians with their spread.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The middle of many figures, and where the middle half of them is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
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

    /// Of the ratios of what was measured at about the same time; `None` if nothing can be divided by.
    #[must_use]
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let pairs = ours.iter().zip(theirs);
        let ratios: Vec<f64> = pairs
            .filter(|(_, theirs)| **theirs != 0.0)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        (!ratios.is_empty()).then(|| Self::of(&ratios))
    }
}

impl fmt::Display for Figure {
    /// `{:.DIGITS}`; as many as three figures need, if nothing is said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(match self.median.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            _ => 2,
        });
        let Self {
            median,
            lower_quartile,
            upper_quartile,
            ..
        } = self;
        if lower_quartile == upper_quartile {
            return write!(f, "{median:.digits$}");
        }
        write!(
            f,
            "{median:.digits$} ({lower_quartile:.digits$} to {upper_quartile:.digits$})"
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

    #[test]
    fn ratios_are_of_neighbours() {
        // The machine was half as fast in the second round, for both.
        let ratio = Figure::of_ratios(&[10.0, 5.0, 9.0], &[5.0, 2.5, 0.0]).unwrap();
        assert_eq!((ratio.n, ratio.median), (2, 2.0));
        assert_eq!(Figure::of_ratios(&[1.0], &[0.0]), None);
    }

    #[test]
    fn three_figures_are_shown() {
        assert_eq!(Figure::of(&[1234.5]).to_string(), "1234");
        assert_eq!(Figure::of(&[12.34]).to_string(), "12.3");
        assert_eq!(
            Figure::of(&[1.0, 2.0, 3.0]).to_string(),
            "2.00 (1.50 to 2.50)"
        );
        assert_eq!(format!("{:.0}", Figure::of(&[1.0])), "1");
    }
}
