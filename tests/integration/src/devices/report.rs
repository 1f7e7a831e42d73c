// SPDX-License-Identifier: GPL-2.0

//! The table that comes of the rows.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Error, Result};

use super::row::Row;

/// Where in a document the table is.
const BEGIN: &str = "<!-- make test-devices writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// What was seen of one row.
#[derive(Clone, Debug)]
pub struct Line {
    /// The device's name.
    pub device: String,
    /// The driver that it has in the borrower.
    pub driver: String,
    /// Kind and number of its interrupts.
    pub interrupts: String,
    /// How its DMA gets to the borrower's memory.
    pub dma: String,
    /// The lender's IOMMU.
    pub lender: String,
    /// The borrower's IOMMU.
    pub borrower: String,
    /// What came of it.
    pub result: String,
    /// Whether that is what has to.
    pub passed: bool,
}

/// All lines.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the rows.
    pub lines: Vec<Line>,
}

impl Line {
    /// The line of a row that came out otherwise than it should.
    #[must_use]
    pub fn failed(row: &Row, error: &Error) -> Self {
        let unknown = || "?".to_string();
        Self {
            device: row.device.name.into(),
            driver: unknown(),
            interrupts: unknown(),
            dma: unknown(),
            lender: unknown(),
            borrower: unknown(),
            result: format!("FAILED: {error:#}"),
            passed: false,
        }
    }

    fn cells(&self) -> [&str; 7] {
        [
            &self.device,
            &self.driver,
            &self.interrupts,
            &self.dma,
            &self.lender,
            &self.borrower,
            &self.result,
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "Device",
            "Driver",
            "Interrupts",
            "DMA",
            "Lender's IOMMU",
            "Borrower's IOMMU",
            "Result",
        ];
        writeln!(f, "| {} |", heads.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(heads.len()))?;
        for line in &self.lines {
            let cells = line
                .cells()
                .map(|cell| cell.replace('\n', " ").replace('|', "/"));
            writeln!(f, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

impl Report {
    /// How many rows came out otherwise than they should.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.lines.iter().filter(|line| !line.passed).count()
    }

    /// Puts the table into a document, between its two marks.
    ///
    /// # Errors
    ///
    /// The document cannot be read or written, or has not the marks.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let new = replaced(&text, &self.to_string())
            .with_context(|| format!("{} has not the marks of the table", path.display()))?;
        fs::write(path, new).with_context(|| format!("writing {}", path.display()))
    }
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_put_between_the_marks() {
        let text = format!("above\n{BEGIN}old\n{END}below\n");
        let new = replaced(&text, "| new |\n").unwrap();
        assert_eq!(new, format!("above\n{BEGIN}\n| new |\n\n{END}below\n"));
        assert_eq!(replaced(&new, "| new |\n").unwrap(), new);
        assert!(replaced("no marks", "").is_none());
    }
}
