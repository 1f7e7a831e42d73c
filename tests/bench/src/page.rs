// SPDX-License-Identifier: GPL-2.0

//! The report as one page that needs nothing outside itself.

mod plot;

use devlend_bed::page;
use maud::{html, Markup};

use crate::case::{Better, Case, Part};
use crate::report::{Report, Table};

/// The whole page.
pub fn render(report: &Report) -> Markup {
    let promises = report.cases.iter().filter(|case| case.must_be.is_some());
    let broken: Vec<&Case> = promises.clone().filter(|case| !case.kept).collect();
    let body = html! {
        h1 { "What lending costs" }
        p {
            "An NVMe that is in another host, borrowed over a non-transparent bridge, against others. Linux "
            (report.setting.kernel) " (" (report.setting.flavour) "), QEMU with " (report.setting.accelerator)
            ", NTB " (report.setting.ntb) ", " (report.rounds) " rounds. "
            @if promises.clone().next().is_none() {
                "Nothing was counted that must be 0."
            } @else if broken.is_empty() {
                span.ok { "All " (promises.count()) " counts that must be 0 are." }
            } @else {
                span.fail { (broken.len()) " counts are not what they must be." }
            }
        }
        p.note {
            "All hosts are emulated, the bridge is, too, and they share a machine: ratios say how the ways compare here, and "
            "nothing about how fast real hardware is."
        }
        @for part in Part::ALL {
            @let tables = report.tables(part);
            @if !tables.is_empty() {
                h2 { (part.title()) }
                @for table in &tables { (section(table)) }
            }
        }
    };
    page("devlend: what lending costs", &body)
}

fn section(table: &Table<'_>) -> Markup {
    let cells = table.cells(true);
    let measure = table.measure;
    html! {
        h3 { (capital(measure.measure)) }
        @if let Some(picture) = plot::render(table) {
            p.note {
                "Borrowed over the other, median and middle half of the rounds; "
                @match measure.better {
                    Better::More => "to the right of 1 the borrowed one has more.",
                    Better::Less => "to the left of 1 the borrowed one needs less.",
                }
            }
            (picture)
        }
        div.wide {
            table {
                @for (index, row) in cells.iter().enumerate() {
                    tr { @for cell in row { @if index == 0 { th { (cell) } } @else { td { (cell) } } } }
                }
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
