// SPDX-License-Identifier: GPL-2.0

//! The `bed` command: a pair of hosts to play with, from the shell.

mod cli;
mod demo;
mod latency;
mod selftest;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // Not a status that a command in a host is likely to have.
            ExitCode::from(125)
        }
    }
}
