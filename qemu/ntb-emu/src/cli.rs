// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{anyhow, bail, Context, Error, Result};
use clap::{Args, Parser, Subcommand};

use crate::amd::WINDOWS;
use crate::control::Query;
use crate::ntb::Window;

/// An emulated non-transparent bridge that joins two QEMU virtual machines.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// Something else to do than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to serve.
    #[command(flatten)]
    pub serve: Option<Serve>,
}

/// Other things to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a running process, and print its answer as a line of JSON.
    Query {
        /// Its control socket.
        control: PathBuf,
        /// What to ask.
        query: Query,
    },
}

/// What to serve.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Serve {
    /// A host: its name, the socket to listen on for its QEMU, and the file that is its RAM. Twice; the first is the
    /// primary side.
    #[arg(
        long = "host",
        value_name = "NAME,socket=PATH,ram=PATH",
        required = true
    )]
    pub hosts: Vec<HostSpec>,
    /// A memory window of both hosts, three times. With `direct` the peer's RAM is mapped into it, with a translation
    /// fixed at 0.
    #[arg(long = "window", value_name = "SIZE[,direct]", required = true)]
    pub windows: Vec<WindowSpec>,
    /// A socket to ask for counters and state.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

impl Serve {
    /// The two hosts.
    ///
    /// # Errors
    ///
    /// There are not two, or they are not different.
    pub fn hosts(self) -> Result<[HostSpec; 2]> {
        let [primary, secondary] = <[HostSpec; 2]>::try_from(self.hosts)
            .map_err(|hosts| anyhow!("there must be two --host, not {}", hosts.len()))?;
        if primary.name == secondary.name
            || primary.socket == secondary.socket
            || primary.ram == secondary.ram
        {
            bail!("the hosts must differ in name, socket and RAM file");
        }
        Ok([primary, secondary])
    }

    /// The three windows.
    ///
    /// # Errors
    ///
    /// There are not three, or one cannot be had.
    pub fn windows(&self) -> Result<[Window; WINDOWS]> {
        let windows: Vec<Window> = self.windows.iter().map(|spec| spec.0).collect();
        let windows = <[Window; WINDOWS]>::try_from(windows).map_err(|windows| {
            anyhow!("there must be {WINDOWS} --window, not {}", windows.len())
        })?;
        if windows[0].size > 1 << 30 {
            bail!("the first window is a 32-bit BAR: at most 1G");
        }
        Ok(windows)
    }
}

/// A host on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// What it is called.
    pub name: String,
    /// Where its QEMU connects.
    pub socket: PathBuf,
    /// Its RAM.
    pub ram: PathBuf,
}

impl FromStr for HostSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let name = parts
            .next()
            .filter(|name| !name.is_empty() && !name.contains('='))
            .context("a name comes first")?;
        let (mut socket, mut ram) = (None, None);
        for part in parts {
            let slot = match part.split_once('=') {
                Some(("socket", path)) if !path.is_empty() => socket.replace(PathBuf::from(path)),
                Some(("ram", path)) if !path.is_empty() => ram.replace(PathBuf::from(path)),
                _ => bail!("'{part}' is neither socket=PATH nor ram=PATH"),
            };
            if slot.is_some() {
                bail!("'{part}' comes after another of its kind");
            }
        }
        Ok(Self {
            name: name.to_owned(),
            socket: socket.context("socket=PATH is missing")?,
            ram: ram.context("ram=PATH is missing")?,
        })
    }
}

/// A window on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec(pub Window);

impl FromStr for WindowSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (size, direct) = match text.split_once(',') {
            None => (text, false),
            Some((size, "direct")) => (size, true),
            Some((_, other)) => bail!("'{other}' is not 'direct'"),
        };
        let size = parse_size(size)?;
        if !size.is_power_of_two() || !(4096..=1 << 40).contains(&size) {
            bail!("the size must be a power of two from 4K to 1024G");
        }
        Ok(Self(Window { size, direct }))
    }
}

/// Bytes, with K, M or G for binary multiples.
fn parse_size(text: &str) -> Result<u64> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'K') => (text.trim_end_matches('K'), 1 << 10),
        Some(b'M') => (text.trim_end_matches('M'), 1 << 20),
        Some(b'G') => (text.trim_end_matches('G'), 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = number
        .parse()
        .with_context(|| format!("'{text}' is no size"))?;
    number
        .checked_mul(unit)
        .with_context(|| format!("'{text}' is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<([HostSpec; 2], [Window; WINDOWS])> {
        let cli =
            Cli::try_parse_from(std::iter::once("ntb-emu").chain(arguments.split_whitespace()))?;
        let serve = cli.serve.context("nothing to serve")?;
        let windows = serve.windows()?;
        Ok((serve.hosts()?, windows))
    }

    #[test]
    fn the_usual_line() {
        let (hosts, windows) = parse(
            "--host lender,socket=/a,ram=/b --host borrower,socket=/c,ram=/d \
             --window 1M --window 64M --window 512M,direct --control /e",
        )
        .unwrap();
        assert_eq!(
            hosts[0],
            HostSpec {
                name: "lender".into(),
                socket: "/a".into(),
                ram: "/b".into()
            }
        );
        assert_eq!(hosts[1].name, "borrower");
        assert_eq!(
            windows.map(|w| (w.size >> 20, w.direct)),
            [(1, false), (64, false), (512, true)]
        );
    }

    #[test]
    fn what_does_not_make_sense_is_refused() {
        let hosts = "--host a,socket=/a,ram=/b --host b,socket=/c,ram=/d";
        let windows = "--window 1M --window 1M --window 1M";
        assert!(parse(&format!("{hosts} {windows}")).is_ok());
        for bad in [
            "".to_owned(),
            hosts.to_owned(),
            windows.to_owned(),
            format!("--host a,socket=/a,ram=/b {windows}"),
            format!("{hosts} {windows} --window 1M"),
            format!("{hosts} --window 1M --window 1M --window 3M"),
            format!("{hosts} --window 1M --window 1M --window 2K"),
            format!("{hosts} --window 1M --window 1M --window 99999999999G"),
            format!("{hosts} --window 2G --window 1M --window 1M"),
            format!("{hosts} --window 1M --window 1M --window 1M,fast"),
            format!("--host a,socket=/a,ram=/b --host a,socket=/c,ram=/d {windows}"),
            format!("--host a,socket=/a,ram=/b --host b,socket=/a,ram=/d {windows}"),
            format!("--host a,socket=/a --host b,socket=/c,ram=/d {windows}"),
            format!("--host socket=/a,ram=/b --host b,socket=/c,ram=/d {windows}"),
            format!("--host a,socket=/a,socket=/b,ram=/b --host b,socket=/c,ram=/d {windows}"),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn query_needs_nothing_else() {
        let cli = Cli::try_parse_from(["ntb-emu", "query", "/x", "counters"]).unwrap();
        let Some(Command::Query { query, .. }) = cli.command else {
            panic!("no query")
        };
        assert_eq!(query, Query::Counters);
    }
}
