// SPDX-License-Identifier: GPL-2.0

//! `make test-faults`: faults without number, and whether what is borrowed survives them.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Parser;
use devlend_integration::campaign::plan::Kind;
use devlend_integration::campaign::report::Outcome;
use devlend_integration::campaign::Campaign;

/// Breaks what joins two hosts, again and again, while a borrowed disk is in use.
#[derive(Debug, Parser)]
struct Arguments {
    /// What all of it follows from; without it, another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// How many faults.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    faults: u32,
    /// Begin with this one, from 1.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    from: u32,
}

fn main() -> Result<ExitCode> {
    let Arguments { seed, faults, from } = Arguments::parse();
    devlend_bed::end_on_signals()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = seed.unwrap_or(now.as_secs());
    let repeat = format!("make test-faults SEED={seed} FAULTS={faults}");
    println!("{repeat}");
    let report = Campaign {
        seed,
        faults,
        from,
        kinds: Kind::ALL,
    }
    .run();
    println!("\n{report}\n");
    let failed = report.count(Outcome::Failed);
    println!(
        "seed {seed}: {} faults, {failed} failed; again: {repeat}",
        report.faults.len()
    );
    for (number, (kind, outcome, _)) in (from..).zip(&report.faults) {
        if *outcome == Outcome::Failed {
            println!("fault {number} ({kind}) alone: make test-faults SEED={seed} FAULTS={number} FROM={number}");
        }
    }
    // The hosts are being ended, and with them the program.
    while devlend_bed::is_ending() {
        sleep(Duration::from_secs(1));
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
