// SPDX-License-Identifier: GPL-2.0

//! The report as one page that needs nothing outside itself.

mod plot;

use maud::{html, Markup, PreEscaped, DOCTYPE};

use crate::case::{Better, Case, Part};
use crate::report::{Report, Table};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
td, th { padding: .15rem .9rem .15rem 0; text-align: left; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #d0d7de; font-weight: 600; }
.ok { color: #1a7f37; font-weight: 600; } .fail { color: #cf222e; font-weight: 600; }
svg { width: 100%; height: auto; } .note { color: #57606a; margin: 0; }
";

/// The whole page.
pub fn render(report: &Report) -> Markup {
    let promises = report.cases.iter().filter(|case| case.must_be.is_some());
    let broken: Vec<&Case> = promises.clone().filter(|case| !case.kept).collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "devlend: what lending costs" }
                style { (PreEscaped(STYLE)) }
            }
            body {
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
            }
        }
    }
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
        div.table {
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
