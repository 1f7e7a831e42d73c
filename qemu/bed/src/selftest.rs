// SPDX-License-Identifier: GPL-2.0

//! `bed ntb-selftest`: the kernel's own `ntb_test.sh`, as it comes, on the emulated NTB.

mod ends;
mod family;
mod obstacles;
mod results;
mod script;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use clap::Args;
use devlend_bed::{end_on_signals, kernel_log, Bed, Environment, Family};

use ends::Ends;
use family::Shape;
use results::Results;
use script::Script;

/// How to run the kernel's test script.
#[derive(Args)]
pub struct Selftest {
    /// The NTB's hardware family, or all of them.
    #[arg(long, default_value = "all", value_name = "FAMILY", value_parser = families)]
    ntb: Families,
    /// Put both ends of the NTB into one host.
    #[arg(long = "loop")]
    looped: bool,
    /// `ntb_perf` moves 2^ORDER bytes each way (19 at least: one chunk).
    #[arg(long, default_value_t = 20, value_name = "ORDER", value_parser = clap::value_parser!(u8).range(19..=32))]
    order: u8,
    /// Leave the hosts of the last family running afterwards.
    #[arg(long)]
    keep: bool,
}

/// The families to test. Not a plain vector: clap would take several words for it.
#[derive(Clone)]
struct Families(Vec<Family>);

/// Understands a family's name or `all`.
fn families(text: &str) -> Result<Families> {
    Ok(Families(match text {
        "all" => Family::ALL.to_vec(),
        name => vec![name.parse()?],
    }))
}

impl Selftest {
    /// Runs it; the status says whether every family did what it can.
    pub fn run(self, run_dir: Option<PathBuf>) -> Result<ExitCode> {
        end_on_signals()?;
        let environment = Environment::find()?;
        let script = Script::of(&environment.kernel_tree)?;
        let mut summary = Vec::new();
        let mut passed = true;
        for &family in &self.ntb.0 {
            // A bed of its own: `make play` may be running.
            let run_dir = run_dir.clone().unwrap_or_else(|| {
                let mut own = environment.run_dir.clone().into_os_string();
                own.push(format!("-ntb-{family}"));
                own.into()
            });
            let verdict = self
                .test(family, &script, run_dir.clone())
                .with_context(|| format!("consoles and logs: {}", run_dir.display()));
            let name = if self.looped {
                format!("{family} (both ends in one host)")
            } else {
                family.to_string()
            };
            summary.push(match verdict {
                Ok(results) => format!("{name}: passed: {results}; kernel logs clean"),
                Err(error) => {
                    passed = false;
                    format!("{name}: FAILED: {error:#}")
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

    fn test(&self, family: Family, script: &Script, run_dir: PathBuf) -> Result<Results> {
        let shape = if self.looped {
            Shape::Loop
        } else {
            Shape::Pair
        };
        println!("==> ntb_test.sh of Linux {} on {family}", script.release);
        let mut options = shape.options(family);
        options.run_dir = Some(run_dir);
        let mut bed = Bed::start(options)?;
        if self.keep {
            bed.detach();
        }
        let ends = Ends::find(&bed)?;
        for note in obstacles::clear(&ends, family)? {
            println!("note: {note}");
        }
        script.hand_over(ends.local.host)?;
        let results = script.run(&ends, self.order)?;
        for host in bed.hosts() {
            let console = host.console()?;
            let complaints = kernel_log::complaints(&console);
            ensure!(
                complaints.is_empty(),
                "the {}'s kernel complained:\n{}",
                host.name(),
                complaints.join("\n")
            );
        }
        results.check(&family::expected(family))?;
        Ok(results)
    }
}
