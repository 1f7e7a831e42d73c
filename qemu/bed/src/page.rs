// SPDX-License-Identifier: GPL-2.0

//! What the pages that show a report have in common: they need nothing outside themselves.

use maud::{html, Markup, PreEscaped, DOCTYPE};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
pre { background: #f4f5f7; padding: .7rem; overflow-x: auto; font-size: .85rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; } td { font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #d0d7de; font-weight: 600; }
.wide { overflow-x: auto; font-size: .85rem; } .wide td, .wide th { white-space: nowrap; }
.ok { color: #1a7f37; font-weight: 600; } .fail { color: #cf222e; font-weight: 600; }
svg { width: 100%; height: auto; } .note { color: #57606a; margin: 0; }
";

/// A whole page with a title.
#[must_use]
pub fn page(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
}
