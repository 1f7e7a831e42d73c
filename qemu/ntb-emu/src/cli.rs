// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{anyhow, bail, Context, Error, Result};
use clap::{Args, Parser, Subcommand};

use crate::control::Query;
use crate::fault;
use crate::model::{Family, Window};
use crate::topology::{parse_window, Host, LinkRequest, Topology};
use crate::trace;

/// An emulated non-transparent bridge that joins QEMU virtual machines.
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
    /// Make something go wrong at a link of a running process, and print what is active there as a line of JSON.
    Fault {
        /// Its control socket.
        control: PathBuf,
        /// What, and where.
        #[command(flatten)]
        request: fault::Request,
    },
    /// Show what crosses the links of a running process, a line a transaction: in columns on a terminal, else JSON.
    Trace {
        /// Its control socket.
        control: PathBuf,
        /// What to watch, and where to write.
        #[command(flatten)]
        options: trace::Options,
    },
    /// Print the JSON schema of the topology file.
    Schema,
}

/// What to serve.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Serve {
    /// A file that names hosts and the links between them (see `ntb-emu schema`).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hosts", "windows", "family"])]
    pub topology: Option<PathBuf>,
    /// Without a topology file: a host, its name, the socket to listen on for its QEMU, and the file that is its RAM.
    /// Twice, the primary side first; they are joined by one link called `ntb0`.
    #[arg(long = "host", value_name = "NAME,socket=PATH,ram=PATH")]
    pub hosts: Vec<HostSpec>,
    /// The hardware family of that link.
    #[arg(long, default_value = "amd")]
    pub family: Family,
    /// A memory window of both hosts, as often as the family has them. With `direct` the peer's RAM is mapped into it,
    /// with a translation fixed at 0.
    #[arg(long = "window", value_name = "SIZE[,direct]", value_parser = parse_window)]
    pub windows: Vec<Window>,
    /// A socket to ask for counters and state.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

impl Serve {
    /// Hosts and links.
    ///
    /// # Errors
    ///
    /// The topology file is not usable, or the hosts on the command line are not two different ones.
    pub fn topology(&self) -> Result<Topology> {
        if let Some(path) = &self.topology {
            return Topology::read(path)
                .with_context(|| format!("topology file {}", path.display()));
        }
        let [primary, secondary] = <[HostSpec; 2]>::try_from(self.hosts.clone())
            .map_err(|hosts| anyhow!("there must be two --host, not {}", hosts.len()))?;
        let link = LinkRequest {
            name: "ntb0".into(),
            family: self.family,
            windows: self.windows.clone(),
            ends: [&primary, &secondary].map(|host| (host.name.clone(), host.socket.clone())),
        };
        let hosts = [primary, secondary].map(|host| Host {
            name: host.name,
            ram: host.ram,
        });
        Ok(Topology::new(hosts.into(), vec![link])?)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Topology> {
        let cli =
            Cli::try_parse_from(std::iter::once("ntb-emu").chain(arguments.split_whitespace()))?;
        cli.serve.context("nothing to serve")?.topology()
    }

    #[test]
    fn two_hosts() {
        let topology = parse(
            "--host lender,socket=/a,ram=/b --host borrower,socket=/c,ram=/d \
             --window 1M --window 64M --window 512M,direct --control /e",
        )
        .unwrap();
        assert_eq!(topology.hosts()[0].ram, PathBuf::from("/b"));
        assert_eq!(topology.hosts()[1].name, "borrower");
        let [link] = topology.links() else {
            panic!("one link")
        };
        assert_eq!((link.name.as_str(), link.family), ("ntb0", Family::Amd));
        assert_eq!(link.ends[0].socket, PathBuf::from("/a"));
        assert_eq!(
            link.windows
                .iter()
                .map(|w| (w.size >> 20, w.direct))
                .collect::<Vec<_>>(),
            [(1, false), (64, false), (512, true)]
        );
    }

    #[test]
    fn the_family_is_the_links() {
        let hosts = "--host a,socket=/a,ram=/b --host b,socket=/c,ram=/d";
        for family in Family::ALL {
            let topology = parse(&format!("{hosts} --window 1M --family {family}")).unwrap();
            assert_eq!(topology.links()[0].family, family);
            assert_eq!(family.name().parse(), Ok(family));
        }
    }

    #[test]
    fn a_topology_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.toml");
        std::fs::write(&path, "host = []\nlink = []\n").unwrap();
        let path = path.display();
        let error = parse(&format!("--topology {path}")).unwrap_err();
        assert!(
            format!("{error:#}").contains("there is no link"),
            "{error:#}"
        );
        assert!(parse(&format!("--topology {path} --window 1M")).is_err());
        assert!(parse("--topology /nonexistent").is_err());
    }

    #[test]
    fn what_does_not_make_sense_is_refused() {
        let hosts = "--host a,socket=/a,ram=/b --host b,socket=/c,ram=/d";
        let windows = "--window 1M --window 1M --window 1M";
        assert!(parse(&format!("{hosts} {windows}")).is_ok());
        for bad in [
            "".to_owned(),
            windows.to_owned(),
            format!("--host a,socket=/a,ram=/b {windows}"),
            format!("{hosts} {windows} --family acme"),
            format!("{hosts} --window 1M --window 1M --window 3M"),
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
    fn every_family_has_a_name() {
        let hosts = "--host a,socket=/a,ram=/b --host b,socket=/c,ram=/d --window 1M";
        for family in Family::ALL {
            let topology = parse(&format!("{hosts} --family {family}")).unwrap();
            assert_eq!(topology.links()[0].family, family);
        }
        let error = "acme".parse::<Family>().unwrap_err().to_string();
        assert!(
            error.contains("amd") && error.contains("switchtec"),
            "{error}"
        );
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
