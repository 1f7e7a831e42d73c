// SPDX-License-Identifier: GPL-2.0

//! `bed demo`: the main job, from lend to return, counted and checked.

mod fio;
mod page;
mod report;
mod story;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use devlend_bed::{end_on_signals, Bed, Environment, Family, Options};

/// How to run the demonstration.
#[derive(Args)]
pub struct Demo {
    /// Leave the hosts running afterwards.
    #[arg(long)]
    keep: bool,
    /// The hardware family of the NTB.
    #[arg(long, value_name = "FAMILY", default_value_t)]
    ntb: Family,
    /// Megabytes that fio writes and verifies.
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=128))]
    size: u32,
}

/// Says what is going on, and remembers it for the error that may end it.
struct Progress {
    start: Instant,
    current: String,
}

impl Progress {
    fn step(&mut self, text: impl Into<String>) {
        self.current = text.into();
        eprintln!(
            "[{:6.1} s] {}",
            self.start.elapsed().as_secs_f32(),
            self.current
        );
    }
}

impl Demo {
    /// Runs it; the status says whether all checks held.
    pub fn run(self, run_dir: Option<PathBuf>) -> Result<ExitCode> {
        end_on_signals()?;
        let environment = Environment::find()?;
        let directory = environment.top.join("target/demo");
        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let (json, html) = (directory.join("report.json"), directory.join("report.html"));
        // A report of an earlier run must not be taken for this one's.
        for old in [&json, &html] {
            let _ = fs::remove_file(old);
        }

        // A bed of its own: `make play` may be running.
        let mut own = environment.run_dir.clone().into_os_string();
        own.push("-demo");
        let options = Options {
            run_dir: Some(run_dir.unwrap_or_else(|| own.into())),
            ..Options::pair(self.ntb)
        };
        let mut progress = Progress {
            start: Instant::now(),
            current: String::new(),
        };
        progress.step("starting the emulated NTB, the lender and the borrower");
        let mut bed = Bed::start(options)?;
        if self.keep {
            bed.detach();
        }
        let report = story::tell(&bed, self.size, &mut progress).with_context(|| {
            format!(
                "the demonstration failed at the step '{}' (consoles and logs: {})",
                progress.current,
                bed.run_dir().display()
            )
        })?;
        progress.step("done");

        fs::write(&json, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", json.display()))?;
        fs::write(&html, page::render(&report).into_string())
            .with_context(|| format!("writing {}", html.display()))?;
        println!("{}", report.text());
        println!("The same with a picture: {}", html.display());
        Ok(if report.passed() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
