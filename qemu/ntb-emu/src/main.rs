// SPDX-License-Identifier: GPL-2.0

//! The emulated NTB as a process.

#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use ntb_emu::cli::{Cli, Command, Serve};
use ntb_emu::control::{self, Request};
use ntb_emu::server::Server;
use ntb_emu::trace;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.serve) {
        (Some(Command::Query { control, query }), _) => {
            control::ask(&control, &query.into()).map(|answer| println!("{answer}"))
        }
        (Some(Command::Fault { control, request }), _) => {
            control::ask(&control, &Request::Fault(request)).map(|answer| println!("{answer}"))
        }
        (Some(Command::Trace { control, options }), _) => trace::follow(&control, &options),
        (Some(Command::Schema), _) => {
            println!("{:#}", ntb_emu::topology::schema());
            Ok(())
        }
        (None, Some(serve)) => run(serve),
        (None, None) => Err(anyhow::anyhow!("nothing to do: see --help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ntb-emu: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(serve: Serve) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // Before there is any other thread, so that all have these blocked and this one can wait for them.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("cannot block signals")?;

    // A host may have us hold a few hundred descriptors; the usual limit of 1024 is for programs that use select.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "limit of open files not raised");
    }

    let server = Server::start(&serve.topology()?, serve.control)?;
    println!("ntb-emu: ready");
    std::io::stdout()
        .flush()
        .context("cannot write to standard output")?;

    let signal = signals.wait().context("cannot wait for signals")?;
    info!(%signal, "ending");
    drop(server);
    Ok(())
}
