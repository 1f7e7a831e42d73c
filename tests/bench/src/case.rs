// SPDX-License-Identifier: GPL-2.0

//! One thing that was measured, and what it is compared with.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;

use crate::figures::Figure;

/// The question that a case belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What moves for a block.
    Counts,
    /// What the borrower's processor executes for a block.
    Instructions,
    /// How fast a borrowed disk is.
    Speed,
    /// How fast a borrowed network card is.
    Network,
    /// How long it takes to lend, borrow and return.
    Control,
    /// What one more device costs.
    Devices,
    /// How fast a borrowed disk is in each DMA mode.
    Modes,
}

impl Part {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 7] = [
        Self::Counts,
        Self::Instructions,
        Self::Speed,
        Self::Network,
        Self::Modes,
        Self::Control,
        Self::Devices,
    ];

    /// The question.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Counts => "What moves for a block of 4 KiB",
            Self::Instructions => "What the borrower's processor executes for a block of 4 KiB",
            Self::Speed => "How fast a borrowed disk is",
            Self::Network => "How fast a borrowed network card is",
            Self::Modes => "How fast a borrowed disk is in each DMA mode",
            Self::Control => "How long it takes to lend, borrow and return",
            Self::Devices => "What one more device costs the borrower",
        }
    }
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The more the better.
    More,
    /// The less the better.
    Less,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Measure {
    /// Its name.
    pub measure: &'static str,
    /// What it is counted in.
    pub unit: &'static str,
    /// Which way is good.
    pub better: Better,
}

impl Measure {
    /// Something of which there should be little.
    #[must_use]
    pub const fn less(measure: &'static str, unit: &'static str) -> Self {
        Self {
            measure,
            unit,
            better: Better::Less,
        }
    }

    /// Something of which there should be much.
    #[must_use]
    pub const fn more(measure: &'static str, unit: &'static str) -> Self {
        Self {
            measure,
            unit,
            better: Better::More,
        }
    }
}

/// One thing that was measured.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Case {
    /// The question it belongs to.
    pub part: Part,
    /// What was run.
    pub run: String,
    /// What was measured of it.
    #[serde(flatten)]
    pub measure: Measure,
    /// What came of it.
    #[serde(flatten)]
    pub figure: Figure,
    /// What it is compared with.
    pub against: Vec<Against>,
    /// What each single figure has to be, if there is no choice.
    pub must_be: Option<f64>,
    /// Whether it was that each time.
    pub kept: bool,
}

/// What a case is compared with.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Against {
    /// Its name.
    pub what: String,
    /// The same measure of it.
    #[serde(flatten)]
    pub figure: Figure,
    /// The case's figure over this one's, of those that were measured at about the same time; none if these are 0.
    pub ratio: Option<Figure>,
}

impl Case {
    /// By itself.
    #[must_use]
    pub fn new(part: Part, run: impl Into<String>, measure: Measure, figures: &[f64]) -> Self {
        Self {
            part,
            run: run.into(),
            measure,
            figure: Figure::of(figures),
            against: Vec::new(),
            must_be: None,
            kept: true,
        }
    }

    /// Compares `ours`, the figures it was made from, with those of something else, taken by turns with them.
    #[must_use]
    pub fn against(mut self, what: impl Into<String>, ours: &[f64], theirs: &[f64]) -> Self {
        self.against.push(Against {
            what: what.into(),
            figure: Figure::of(theirs),
            ratio: Figure::of_ratios(ours, theirs),
        });
        self
    }

    /// Says what each of the figures it was made from has to be.
    #[must_use]
    pub fn must_be(mut self, value: f64, figures: &[f64]) -> Self {
        self.must_be = Some(value);
        // Nothing measured keeps no promise.
        self.kept = !figures.is_empty() && figures.iter().all(|figure| *figure == value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Measure = Measure::less("messages", "messages");

    #[test]
    fn one_that_is_not_what_it_must_be_is_not_hidden_by_the_median() {
        let of = |figures: &[f64]| {
            Case::new(Part::Counts, "read", MEASURE, figures).must_be(0.0, figures)
        };
        assert!(of(&[0.0, 0.0, 0.0]).kept);
        let broken = of(&[0.0, 0.0, 7.0]);
        assert_eq!((broken.figure.median, broken.kept), (0.0, false));
        assert!(!of(&[]).kept);
    }

    #[test]
    fn what_has_no_ratio_says_so() {
        let case =
            Case::new(Part::Counts, "read", MEASURE, &[1.0]).against("local", &[1.0], &[0.0]);
        assert!(case.against[0].ratio.is_none());
        let text = serde_json::to_string(&case).unwrap();
        assert!(text.contains(r#""measure":"messages""#), "{text}");
    }
}
