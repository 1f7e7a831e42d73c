// SPDX-License-Identifier: GPL-2.0

//! All that was measured, as text and for programs. `docs/bench-report.schema.json` says what is in it.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::case::{Case, Measure, Part};

/// All that was measured.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// What the hosts were like.
    pub setting: Setting,
    /// Rounds of what is compared.
    pub rounds: u32,
    /// What was measured.
    pub cases: Vec<Case>,
}

/// The hosts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Setting {
    /// Release of both kernels.
    pub kernel: String,
    /// Which of the test bed's kernels: `plain` has no checks that would be measured along.
    pub flavour: String,
    /// How QEMU ran them.
    pub accelerator: String,
    /// Family of the emulated NTBs.
    pub ntb: String,
}

/// Cases that have a measure in common: one table.
pub struct Table<'a> {
    /// The measure.
    pub measure: Measure,
    /// At least one.
    pub cases: Vec<&'a Case>,
}

impl Report {
    /// Whether all is as it must be.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.cases.iter().all(|case| case.kept)
    }

    /// The tables of a part, in the order in which they were measured.
    #[must_use]
    pub fn tables(&self, part: Part) -> Vec<Table<'_>> {
        let mut tables: Vec<Table<'_>> = Vec::new();
        for case in self.cases.iter().filter(|case| case.part == part) {
            // What is not compared with the same stands in a table of its own.
            let belongs = |table: &&mut Table<'_>| {
                table.measure == case.measure && names(table.cases[0]).eq(names(case))
            };
            match tables.iter_mut().find(belongs) {
                Some(table) => table.cases.push(case),
                None => tables.push(Table {
                    measure: case.measure,
                    cases: vec![case],
                }),
            }
        }
        tables
    }

    /// The schema of its JSON.
    #[must_use]
    pub fn schema() -> String {
        let schema = schemars::schema_for!(Self);
        serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
    }
}

/// What a case is compared with.
pub fn names(case: &Case) -> impl Iterator<Item = &str> {
    case.against.iter().map(|against| against.what.as_str())
}

impl Table<'_> {
    /// Its head and its rows; the others' own figures beside the ratios, if there is room.
    #[must_use]
    pub fn cells(&self, is_wide: bool) -> Vec<Vec<String>> {
        let first = self.cases.first();
        let mut head = vec![
            format!("{}, {}", self.measure.measure, self.measure.unit),
            "borrowed".into(),
        ];
        for name in first.into_iter().flat_map(|case| names(case)) {
            if is_wide {
                head.push(name.to_string());
            }
            head.push(format!("over {name}"));
        }
        let mut rows = vec![head];
        rows.extend(self.cases.iter().map(|case| {
            let mut row = vec![case.run.clone(), shown(case)];
            for against in &case.against {
                if is_wide {
                    row.push(against.figure.to_string());
                }
                row.push(
                    against
                        .ratio
                        .map_or("-".into(), |ratio| format!("{ratio:.2}")),
                );
            }
            row
        }));
        rows
    }
}

/// The figure of a case, with what it has to be.
fn shown(case: &Case) -> String {
    match case.must_be {
        None => case.figure.to_string(),
        Some(value) if case.kept => format!("{} (must be {value})", case.figure),
        Some(value) => format!("{} NOT {value}", case.figure),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting {
            kernel,
            flavour,
            accelerator,
            ntb,
        } = &self.setting;
        writeln!(
            f,
            "\nLinux {kernel} ({flavour}), QEMU with {accelerator}, NTB {ntb}; medians of {} rounds (and the middle half).",
            self.rounds
        )?;
        for part in Part::ALL {
            let tables = self.tables(part);
            if tables.is_empty() {
                continue;
            }
            writeln!(f, "\n== {}", part.title())?;
            for table in tables {
                writeln!(f)?;
                aligned(f, &table.cells(false))?;
            }
        }
        Ok(())
    }
}

fn aligned(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(f, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_the_documents_is_this_ones() {
        let written = include_str!("../../../docs/bench-report.schema.json");
        assert!(
            written == Report::schema(),
            "docs/bench-report.schema.json is of another version: `bench schema >docs/bench-report.schema.json`"
        );
    }

    #[test]
    fn what_is_compared_alike_is_in_one_table() {
        let measure = Measure::less("time", "ms");
        let with = |run: &str, other: &str| {
            Case::new(Part::Control, run, measure, &[2.0]).against(other, &[2.0], &[1.0])
        };
        let report = Report {
            setting: Setting {
                kernel: "7".into(),
                flavour: "plain".into(),
                accelerator: "tcg".into(),
                ntb: "amd".into(),
            },
            rounds: 1,
            cases: vec![
                with("lend", "unbind"),
                with("borrow", "bind"),
                with("return", "unbind"),
            ],
        };
        let tables = report.tables(Part::Control);
        let runs: Vec<usize> = tables.iter().map(|table| table.cases.len()).collect();
        assert_eq!(runs, [2, 1]);
        assert!(report.tables(Part::Speed).is_empty());
        let text = report.to_string();
        assert!(text.contains("time, ms  borrowed  over unbind\n"), "{text}");
        assert!(text.contains("lend      2.00      2.00\n"), "{text}");
    }
}
