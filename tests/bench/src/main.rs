// SPDX-License-Identifier: GPL-2.0

//! `make bench`: what lending costs, in counts and in ratios; `make profile`: where the time goes.
//!
//! Nothing here is a time by itself: this machine emulates all others, and others use it, too. What is compared is measured by turns,
//! a round of each, and a ratio is that of two neighbours; a report holds medians of ratios, with quartiles.

mod case;
mod control;
mod counts;
mod devices;
mod figures;
mod fio;
mod hosts;
mod instructions;
mod modes;
mod network;
mod page;
mod peers;
mod profile;
mod report;
mod speed;

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use devlend_bed::{end_on_signals, Bed, Environment, Family};

use case::{Case, Part};
use hosts::Hosts;
use report::{Report, Setting};

/// Measures what it costs to use a device that is in another host.
#[derive(Debug, Parser)]
enum Command {
    /// Measure, print a table, and write `target/bench/report.json` and `target/bench/report.html`.
    Measure(Measure),
    /// Look where the borrower's processor is while it uses a borrowed disk, and while it uses its own.
    Profile {
        /// The hardware family of the NTB.
        #[arg(long, value_name = "FAMILY", default_value_t)]
        ntb: Family,
    },
    /// Print the schema of the report.
    Schema,
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// Rounds of all that is compared [default: 3, or 10 of the full measurement].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// DMA modes and many devices, too, each with hosts of its own.
    #[arg(long)]
    full: bool,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// The hardware family of the NTB.
    #[arg(long, value_name = "FAMILY", default_value_t)]
    ntb: Family,
}

fn main() -> Result<ExitCode> {
    match Command::parse() {
        Command::Measure(arguments) => {
            end_on_signals()?;
            measure(&arguments)
        }
        Command::Profile { ntb } => {
            end_on_signals()?;
            profile::run(ntb)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Schema => {
            print!("{}", Report::schema());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn measure(arguments: &Measure) -> Result<ExitCode> {
    let rounds = match (arguments.rounds, arguments.full) {
        (Some(rounds), _) => rounds,
        (None, false) => 3,
        (None, true) => 10,
    };
    let mut bench = Bench {
        start: Instant::now(),
        family: arguments.ntb,
        rounds,
        parts: match &arguments.only[..] {
            [] if arguments.full => Part::ALL.to_vec(),
            [] => vec![
                Part::Counts,
                Part::Instructions,
                Part::Speed,
                Part::Network,
                Part::Control,
            ],
            only => only.to_vec(),
        },
        setting: None,
        cases: Vec::new(),
    };
    let done = bench.run();
    // What there is is shown even if it ended early.
    let kept = match bench.setting.take() {
        Some(setting) => publish(&Report {
            setting,
            rounds,
            cases: bench.cases,
        })?,
        None => true,
    };
    done?;
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: a count is not what it must be: see NOT above");
        ExitCode::FAILURE
    })
}

/// A measurement under way.
struct Bench {
    start: Instant,
    family: Family,
    rounds: u32,
    parts: Vec<Part>,
    setting: Option<Setting>,
    cases: Vec<Case>,
}

impl Bench {
    fn step(&self, text: &str) {
        eprintln!("[{:6.1} s] {text}", self.start.elapsed().as_secs_f32());
    }

    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn run(&mut self) -> Result<()> {
        let beside_peers = [Part::Counts, Part::Speed, Part::Network, Part::Control];
        if beside_peers.into_iter().any(|part| self.wants(part)) {
            self.beside_peers()?;
        }
        if self.wants(Part::Instructions) {
            self.step("starting a borrower whose clock counts instructions");
            let bed = Bed::start(hosts::counting(self.family)?)?;
            let hosts = self.up(&bed)?;
            let borrowed = hosts.borrow()?;
            self.step("counting instructions");
            // They hardly differ from round to round.
            let rounds = self.rounds.div_ceil(2).min(3);
            let cases = instructions::measure(&hosts, &borrowed, rounds)?;
            self.cases.extend(cases);
            hosts.end()?;
        }
        if self.wants(Part::Modes) {
            for mode in modes::MODES {
                self.step(&format!(
                    "borrowed and local by turns, DMA mode {}",
                    mode.name
                ));
                self.cases
                    .extend(modes::measure(mode, self.family, self.rounds)?);
            }
        }
        if self.wants(Part::Devices) {
            self.step("starting hosts with many devices");
            let bed = Bed::start(hosts::with_many(self.family)?)?;
            let hosts = self.up(&bed)?;
            self.step("borrowing them, one after the other, again and again");
            self.cases.extend(devices::measure(&hosts, self.rounds)?);
        }
        self.step("done");
        Ok(())
    }

    /// What is measured on the hosts that also have what people use instead.
    fn beside_peers(&mut self) -> Result<()> {
        self.step("starting the hosts");
        let bed = Bed::start(hosts::with_peers(self.family)?)?;
        let hosts = self.up(&bed)?;
        if self.wants(Part::Control) {
            self.step("lending, borrowing and returning, again and again");
            self.cases.extend(control::measure(&hosts, self.rounds)?);
        }
        if self.wants(Part::Network) {
            // Before the disk: the window for registers does not reach from the one's to the other's here.
            self.step("network cards by turns");
            self.cases.extend(network::measure(&hosts, self.rounds)?);
        }
        let borrowed = hosts.borrow()?;
        if self.wants(Part::Control) {
            self.step("reading registers");
            let cases = control::registers(&hosts, &borrowed, self.rounds)?;
            self.cases.extend(cases);
        }
        if self.wants(Part::Counts) {
            self.step("counting what moves for a block");
            self.cases
                .extend(counts::measure(&hosts, &borrowed, self.rounds)?);
        }
        if self.wants(Part::Speed) {
            self.step("connecting NVMe/TCP and NBD");
            let mut others = vec![(speed::LOCAL.to_string(), hosts.local.clone())];
            for peer in peers::connect(&hosts)? {
                others.push((peer.name.into(), peer.disk));
            }
            let mut comparison = speed::Comparison::new(&speed::JOBS, others, 1);
            for round in 1..=self.rounds {
                self.step(&format!(
                    "all disks by turns, round {round} of {}",
                    self.rounds
                ));
                comparison.round(&hosts, &borrowed)?;
            }
            self.cases.extend(comparison.cases(Part::Speed, ""));
        }
        hosts.end()
    }

    fn up<'a>(&mut self, bed: &'a Bed) -> Result<Hosts<'a>> {
        let hosts = Hosts::of(bed)?;
        let options = bed.options();
        self.setting = Some(Setting {
            kernel: hosts.borrower().sh_ok("uname -r")?,
            flavour: std::env::var("DEVLEND_KERNEL").unwrap_or("debug".into()),
            accelerator: options.accel.clone(),
            ntb: self.family.name().into(),
        });
        Ok(hosts)
    }
}

/// Shows a report and writes it down; says whether all is as it must be.
fn publish(report: &Report) -> Result<bool> {
    let directory = Environment::find()?.top.join("target/bench");
    fs::create_dir_all(&directory)?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        anyhow::Ok(path)
    };
    println!("{report}");
    let page = write("report.html", page::render(report).into_string())?;
    let json = write("report.json", serde_json::to_string_pretty(report)? + "\n")?;
    println!("With pictures: {}", page.display());
    println!("For programs: {}", json.display());
    Ok(report.is_kept())
}
