// SPDX-License-Identifier: GPL-2.0

//! The ratios of a table: a dot for the median, a bar for the middle half, on a logarithmic scale.

use maud::{html, Markup};

use crate::figures::Figure;
use crate::report::{names, Table};

/// Where the scale begins and ends.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 880.0;
/// Height of a mark's line, and between two runs.
const LINE: f64 = 14.0;
const GAP: f64 = 10.0;
/// Where the first line is.
const TOP: f64 = 46.0;
const COLORS: [&str; 4] = ["#0969da", "#bf8700", "#8250df", "#1a7f37"];

/// A logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Holds all figures, and 1; from one step to another.
    fn of(figures: &[Figure]) -> Self {
        let ends = figures
            .iter()
            .flat_map(|figure| [figure.lower_quartile, figure.upper_quartile])
            .filter(|end| end.is_finite() && *end > 0.0);
        let (low, high) = ends.fold((0.9, 1.1), |(low, high): (f64, f64), end| {
            (low.min(end), high.max(end))
        });
        Self {
            low: steps().filter(|step| *step <= low).last().unwrap_or(low),
            high: steps().find(|step| *step >= high).unwrap_or(high),
        }
    }

    fn x(self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        LEFT + (value / self.low).ln() / (self.high / self.low).ln() * (RIGHT - LEFT)
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        steps().filter(move |step| (self.low..=self.high).contains(step))
    }
}

/// 0.001, 0.002, 0.005, 0.01 ... 5000.
fn steps() -> impl Iterator<Item = f64> {
    (-3..=3).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
}

/// The picture; `None` if nothing is compared.
pub fn render(table: &Table<'_>) -> Option<Markup> {
    let ratios = |index: usize| {
        let case = table.cases.get(index);
        case.into_iter()
            .flat_map(|case| case.against.iter().enumerate())
            .filter_map(|(color, against)| Some((color, against.ratio?)))
    };
    let all: Vec<Figure> = (0..table.cases.len())
        .flat_map(|index| ratios(index).map(|(_, ratio)| ratio))
        .collect();
    if all.is_empty() {
        return None;
    }
    let scale = Scale::of(&all);
    let names: Vec<&str> = table.cases.first().map(|case| names(case).collect())?;
    let block = names.len() as f64 * LINE + GAP;
    let bottom = TOP + table.cases.len() as f64 * block;
    let at = |text: f64| format!("{text:.1}");
    Some(html! {
        svg viewBox={ "0 0 980 " (at(bottom + 24.0)) } role="img" aria-label={ "Ratios: " (table.measure.measure) }
            font-family="system-ui, sans-serif" font-size="12" {
            // One text, so that a long name moves those after it.
            text x=(at(LEFT)) y="18" {
                @for (index, name) in names.iter().enumerate() {
                    tspan fill=(color(index)) dx=(if index == 0 { "0" } else { "18" }) { "\u{25cf}" } " over " (name)
                }
            }
            @for tick in scale.ticks() {
                @let x = at(scale.x(tick));
                line x1=(x) y1=(at(TOP - 14.0)) x2=(x) y2=(at(bottom)) stroke={ @if tick == 1.0 { "#57606a" } @else { "#e1e4e8" } } {}
                text x=(x) y=(at(bottom + 16.0)) text-anchor="middle" fill="#57606a" { (tick) }
            }
            @for (index, case) in table.cases.iter().enumerate() {
                @let top = TOP + index as f64 * block;
                text x="0" y=(at(top + (names.len() as f64 - 1.0) * LINE / 2.0 + 4.0)) { (case.run) }
                @for (line, ratio) in ratios(index) {
                    @let y = at(top + line as f64 * LINE);
                    line x1=(at(scale.x(ratio.lower_quartile))) y1=(y) x2=(at(scale.x(ratio.upper_quartile))) y2=(y)
                        stroke=(color(line)) stroke-width="5" stroke-opacity="0.35" {}
                    circle cx=(at(scale.x(ratio.median))) cy=(y) r="4" fill=(color(line)) {}
                    text x=(at(RIGHT + 16.0)) y=(at(top + line as f64 * LINE + 4.0)) fill=(color(line)) { (format!("{:.2}", ratio.median)) }
                }
            }
        }
    })
}

fn color(index: usize) -> &'static str {
    COLORS[index % COLORS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Case, Measure, Part};

    #[test]
    fn a_scale_ends_at_steps_and_holds_all() {
        let scale = Scale::of(&[Figure::of(&[0.3, 0.4]), Figure::of(&[7.0])]);
        assert_eq!((scale.low, scale.high), (0.2, 10.0));
        assert_eq!(scale.x(0.2), LEFT);
        assert_eq!(scale.x(10.0), RIGHT);
        assert!(scale.x(1.0) > LEFT && scale.x(1.0) < RIGHT);
        assert!(scale.ticks().any(|tick| tick == 1.0));
    }

    #[test]
    fn what_cannot_be_drawn_stays_inside() {
        let scale = Scale::of(&[Figure::of(&[0.0]), Figure::of(&[1e9])]);
        assert!(scale.x(0.0) >= LEFT && scale.x(1e9) <= RIGHT);
    }

    #[test]
    fn a_table_without_ratios_has_no_picture() {
        let case = Case::new(Part::Counts, "a <b>", Measure::less("x", "y"), &[1.0]);
        let with = case.clone().against("local", &[1.0], &[2.0]);
        let table = |case| Table {
            measure: Measure::less("x", "y"),
            cases: vec![case],
        };
        assert!(render(&table(&case)).is_none());
        let picture = render(&table(&with)).unwrap().into_string();
        assert!(
            picture.contains("a &lt;b&gt;") && picture.contains("0.50"),
            "{picture}"
        );
    }
}
