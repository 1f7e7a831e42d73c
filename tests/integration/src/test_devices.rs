// SPDX-License-Identifier: GPL-2.0

//! `make test-devices`: kinds of devices, each lent and used by its own driver, and a table of what came of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{ensure, Result};
use clap::Parser;
use devlend_integration::devices::{self, rows};

/// Lends devices of many kinds, and uses them.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only rows whose name contains one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Put the table into this document, too, if all rows are there.
    #[arg(long, value_name = "FILE", conflicts_with = "filters")]
    write: Option<PathBuf>,
    /// Print the rows' names, and end.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode> {
    let Arguments {
        filters,
        write,
        list,
    } = Arguments::parse();
    devlend_bed::end_on_signals()?;
    let mut rows = rows::all();
    rows.retain(|row| {
        let name = row.name();
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    ensure!(!rows.is_empty(), "no row's name contains {filters:?}");
    if list {
        rows.iter().for_each(|row| println!("{}", row.name()));
        return Ok(ExitCode::SUCCESS);
    }
    let report = devices::run(&rows);
    println!("\n{report}");
    let failed = report.failed();
    println!("{} rows, {failed} failed", report.lines.len());
    // The hosts are being ended, and with them the program.
    while devlend_bed::is_ending() {
        sleep(Duration::from_secs(1));
    }
    if let (Some(path), 0) = (write, failed) {
        report.write(&path)?;
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
