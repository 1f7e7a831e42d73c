// SPDX-License-Identifier: GPL-2.0

//! The subcommands of `bed`.

mod up;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use devlend_bed::{trace, Bed, FaultRequest, Placement, DEFAULT_LIMIT};

use crate::{demo, latency, selftest};

/// Virtual machines joined by an emulated NTB.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// Run directory of the bed; the checkout's own by default.
    #[arg(long, global = true, env = "DEVLEND_RUN", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the hosts and wait until they take commands; ends them at Ctrl-C.
    Up(Box<up::Up>),
    /// End everything that `up` started.
    Down,
    /// What runs, and where its files are.
    Status,
    /// Run a command in a host; output and exit status are the command's.
    Sh {
        /// Give this program's standard input to the command.
        #[arg(long, short = 'i')]
        stdin: bool,
        /// Seconds after which the command is killed.
        #[arg(long, value_name = "SECONDS")]
        limit: Option<u64>,
        /// Its name: lender or borrower in the usual bed.
        host: String,
        /// One word is a shell command line; several are a command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Turn a host off as a power cut would (if it is on), and on again.
    Restart {
        /// Its name: lender or borrower in the usual bed.
        host: String,
    },
    /// Turn a host off as a power cut would.
    Kill {
        /// Its name: lender or borrower in the usual bed.
        host: String,
    },
    /// Lend the lender's NVMe to the borrower, use it, give it back, and report.
    Demo(demo::Demo),
    /// Time single accesses through the emulated NTB, with the hosts placed on this machine's processors in several ways.
    Latency(latency::Latency),
    /// Put the running hosts on this machine's processors: free (anywhere), apart (each on its own), together (all on one).
    Place {
        /// free, apart or together.
        placement: Placement,
    },
    /// Run the kernel's own NTB test script, unmodified, between two hosts.
    NtbSelftest(selftest::Selftest),
    /// Show the transaction counters of the emulated NTB.
    Counters,
    /// Make something go wrong at a link of the emulated NTB, or right again.
    #[command(subcommand_value_name = "FAULT", subcommand_help_heading = "Faults")]
    Fault(FaultRequest),
    /// Show what crosses the links of the emulated NTB, a line a transaction: in columns on a terminal, else JSON.
    Trace(trace::Options),
}

/// Runs the command and returns the status to end with.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let attach = || Bed::attach(cli.run_dir.as_deref());
    match cli.command {
        Command::Up(up) => up.run(cli.run_dir)?,
        Command::Down => {
            // Nothing to end is a success, as it is for a service manager.
            match attach() {
                Ok(bed) => bed.down()?,
                Err(error) => eprintln!("{error:#}"),
            }
        }
        Command::Status => print(status(&attach()?).as_bytes())?,
        Command::Sh {
            stdin,
            limit,
            host,
            command,
        } => {
            let limit = limit.map_or(DEFAULT_LIMIT * 30, Duration::from_secs);
            return sh(&attach()?, &host, &command, stdin, limit);
        }
        Command::Restart { host } => attach()?.host(&host)?.restart()?,
        Command::Kill { host } => attach()?.host(&host)?.kill()?,
        Command::Demo(demo) => return demo.run(cli.run_dir),
        Command::Place { placement } => attach()?.place(placement)?,
        Command::Latency(latency) => latency.run(cli.run_dir)?,
        Command::NtbSelftest(selftest) => return selftest.run(cli.run_dir),
        Command::Counters => {
            let counters = attach()?.emulator().counters()?;
            let lines: Vec<String> = counters
                .iter()
                .map(|(name, count)| format!("{name} {count}\n"))
                .collect();
            print(lines.concat().as_bytes())?;
        }
        Command::Trace(options) => attach()?.emulator().follow(&options)?,
        Command::Fault(request) => {
            let active = attach()?.emulator().ask_for(request)?;
            print(format!("{active}\n").as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output; a reader that has seen enough is no error.
fn print(bytes: &[u8]) -> Result<()> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(()),
    }
}

fn status(bed: &Bed) -> String {
    let emulator = match bed.emulator_pid() {
        Some(pid) => format!("process {pid}"),
        None if !bed.options().links.is_empty() => "not running".into(),
        None => "none in this bed".into(),
    };
    let mut text = format!(
        "run directory  {}\nntb-emu        {emulator}\n",
        bed.run_dir().display()
    );
    for host in bed.hosts() {
        let pid = host
            .pid()
            .map_or(String::new(), |pid| format!(" (process {pid})"));
        text += &format!("{:<14} {}{pid}\n", host.name(), host.state());
    }
    text
}

fn sh(bed: &Bed, host: &str, words: &[String], stdin: bool, limit: Duration) -> Result<ExitCode> {
    let command = match words {
        [line] => line.clone(),
        words => shlex::try_join(words.iter().map(String::as_str))
            .context("the command cannot be given to a shell")?,
    };
    let input = stdin
        .then(|| {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        })
        .transpose()
        .context("reading standard input")?;
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupt))?;
    }
    let output = bed
        .host(host)?
        .sh_with(&command, input, limit, Some(&interrupt))?;
    print(&output.stdout)?;
    std::io::stderr().write_all(&output.stderr)?;
    if output.truncated {
        eprintln!("bed: the output was cut: the guest agent keeps at most 16 MiB");
    }
    Ok(ExitCode::from(u8::try_from(output.status).unwrap_or(125)))
}
