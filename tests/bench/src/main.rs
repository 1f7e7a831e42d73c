// SPDX-License-Identifier: GPL-2.0

//! `make bench`: what lending costs, in counts and in ratios.
//!
//! Nothing here is a time by itself: this machine emulates all others, and others use it, too. What is compared is measured by turns,
//! a round of each, and a ratio is that of two neighbours; a report holds medians of ratios, with quartiles.

mod control;
mod counts;
mod figures;
mod fio;
mod hosts;
mod report;
mod speed;

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use devlend_bed::{end_on_signals, Environment, Family};

use hosts::Hosts;
use report::Report;

/// Measures what it costs to use a device that is in another host.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of all that is compared.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=1000))]
    rounds: u32,
    /// The hardware family of the NTB.
    #[arg(long, value_name = "FAMILY", default_value_t)]
    ntb: Family,
}

fn main() -> Result<ExitCode> {
    let Arguments { rounds, ntb } = Arguments::parse();
    end_on_signals()?;
    let start = Instant::now();
    let step = |text: &str| eprintln!("[{:6.1} s] {text}", start.elapsed().as_secs_f32());

    step("starting the hosts");
    let bed = Hosts::start(ntb)?;
    let hosts = Hosts::of(&bed)?;
    let setting = hosts.setting()?;
    step("lending, borrowing and returning, again and again");
    let control = control::measure(&hosts, rounds)?;
    let borrowed = hosts.borrow()?;
    step("counting what moves for a block");
    let counts = counts::measure(&hosts, &borrowed)?;
    let mut speed = speed::Comparison::default();
    for round in 1..=rounds {
        step(&format!(
            "borrowed and local by turns, round {round} of {rounds}"
        ));
        speed.round(&hosts, &borrowed)?;
    }
    hosts.end()?;

    let report = Report {
        setting,
        rounds,
        counts,
        speed: speed.figures(),
        control,
    };
    let directory = Environment::find()?.top.join("target/bench");
    fs::create_dir_all(&directory)?;
    let path = directory.join("report.json");
    fs::write(&path, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("writing {}", path.display()))?;
    println!("{report}");
    println!("The same for programs: {}", path.display());
    Ok(if report.counts.iter().all(counts::Count::is_kept) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
