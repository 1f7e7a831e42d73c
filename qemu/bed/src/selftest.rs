// SPDX-License-Identifier: GPL-2.0

//! `bed ntb-selftest`: the kernel's own `ntb_test.sh`, as it comes, on the emulated NTB.

mod ends;
mod family;
mod obstacles;
mod results;
mod script;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use devlend_bed::{end_on_signals, kernel_log, Bed, Environment};

use ends::Ends;
use family::Family;
use results::Results;
use script::Script;

/// How to run the kernel's test script.
#[derive(Args)]
pub struct Selftest {
    /// The NTB's hardware family.
    #[arg(long, value_enum, default_value_t = Choice::All, ignore_case = true)]
    ntb: Choice,
    /// `ntb_perf` moves 2^ORDER bytes each way (19 at least: one chunk).
    #[arg(long, default_value_t = 22, value_name = "ORDER", value_parser = clap::value_parser!(u8).range(19..=32))]
    order: u8,
    /// Leave the hosts of the last family running afterwards.
    #[arg(long)]
    keep: bool,
}

/// Which families to test.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    All,
    Amd,
}

impl Choice {
    fn families(self) -> &'static [Family] {
        match self {
            Self::All => family::ALL,
            Self::Amd => &[family::AMD],
        }
    }
}

impl Selftest {
    /// Runs it; the status says whether every family did what it can.
    pub fn run(self, run_dir: Option<PathBuf>) -> Result<ExitCode> {
        end_on_signals()?;
        let environment = Environment::find()?;
        let script = Script::of(&environment.kernel_tree)?;
        // A bed of its own: `make play` may be running.
        let mut own = environment.run_dir.clone().into_os_string();
        own.push("-ntb");
        let run_dir = run_dir.unwrap_or_else(|| own.into());

        let mut summary = Vec::new();
        let mut passed = true;
        for family in self.ntb.families() {
            let verdict = self.test(family, &script, run_dir.clone());
            let verdict =
                verdict.with_context(|| format!("consoles and logs: {}", run_dir.display()));
            summary.push(match verdict {
                Ok(results) => {
                    format!("{}: passed: {results}; kernel logs clean", family.name)
                }
                Err(error) => {
                    passed = false;
                    format!("{}: FAILED: {error:#}", family.name)
                }
            });
        }
        println!("{}", summary.join("\n"));
        Ok(if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn test(&self, family: &Family, script: &Script, run_dir: PathBuf) -> Result<Results> {
        println!(
            "==> ntb_test.sh of Linux {} on {}",
            script.release, family.name
        );
        let mut options = family.options();
        options.run_dir = Some(run_dir);
        let mut bed = Bed::start(options)?;
        if self.keep {
            bed.detach();
        }
        let ends = Ends::find(&bed, family)?;
        for note in obstacles::clear(&ends)? {
            println!("note: {note}");
        }
        script.hand_over(ends.local.host)?;
        let results = script.run(&ends, self.order)?;
        for host in bed.hosts() {
            let console = host.console()?;
            let complaints = kernel_log::complaints(&console);
            anyhow::ensure!(
                complaints.is_empty(),
                "the {}'s kernel complained:\n{}",
                host.name(),
                complaints.join("\n")
            );
        }
        results.check(&family.expected())?;
        Ok(results)
    }
}
