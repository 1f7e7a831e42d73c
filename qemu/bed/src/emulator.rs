// SPDX-License-Identifier: GPL-2.0

//! The emulated NTB: its topology file, its counters, its faults, its trace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ntb_emu::control::{self, Request};
use ntb_emu::fault::{self, Fault};
use ntb_emu::model::Family;
use ntb_emu::trace;
use serde::Serialize;
use serde_json::Value;

use crate::options::{LinkOptions, Options};

/// Transactions counted by `ntb-emu`, by their dotted name (`ntb0.lender.windows.1.writes`).
pub type Counters = BTreeMap<String, u64>;

/// The control connection of a bed's `ntb-emu`.
#[derive(Clone, Debug)]
pub struct Emulator {
    pub(crate) control: PathBuf,
}

impl Emulator {
    /// Everything it has counted since it started.
    ///
    /// # Errors
    ///
    /// `ntb-emu` does not run or does not answer.
    pub fn counters(&self) -> Result<Counters> {
        let json = control::ask(&self.control, &Request::Counters).context("asking ntb-emu")?;
        let mut counters = Counters::new();
        flatten("", &json, &mut counters);
        Ok(counters)
    }

    /// One of its counters, by its dotted name.
    ///
    /// # Errors
    ///
    /// There is none of that name, or as for [`counters`](Self::counters).
    pub fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.counters()?;
        let count = counters.get(name).copied();
        count.with_context(|| format!("ntb-emu has no counter '{name}'"))
    }

    /// The state of its links, by name.
    ///
    /// # Errors
    ///
    /// `ntb-emu` does not run or does not answer.
    pub fn state(&self) -> Result<Value> {
        control::ask(&self.control, &Request::State).context("asking ntb-emu")
    }

    /// Begins to watch what crosses its links; what happens after this has returned is seen.
    ///
    /// # Errors
    ///
    /// `ntb-emu` does not run, or there is no such link.
    pub fn trace(&self, request: trace::Request) -> Result<trace::Lines> {
        trace::Lines::of(&self.control, request).context("asking ntb-emu for a trace")
    }

    /// Writes what crosses its links to a file or to standard output.
    ///
    /// # Errors
    ///
    /// As for [`trace`](Self::trace), or it cannot be written.
    pub fn follow(&self, options: &trace::Options) -> Result<()> {
        trace::follow(&self.control, options)
    }

    /// Makes something go wrong at the only link, or right again.
    ///
    /// # Errors
    ///
    /// There are several links, or as for [`ask_for`](Self::ask_for).
    pub fn inject(&self, fault: Fault) -> Result<Value> {
        self.ask_for(fault::Request { link: None, fault })
    }

    /// Makes something go wrong at a link, or right again. Returns what is active there then.
    ///
    /// # Errors
    ///
    /// `ntb-emu` does not run, or refuses and says why.
    pub fn ask_for(&self, request: fault::Request) -> Result<Value> {
        control::ask(&self.control, &Request::Fault(request)).context("asking ntb-emu for a fault")
    }
}

fn flatten(prefix: &str, json: &serde_json::Value, into: &mut Counters) {
    let name = |key: &str| match prefix {
        "" => key.to_string(),
        _ => format!("{prefix}.{key}"),
    };
    match json {
        serde_json::Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| flatten(&name(key), value, into)),
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| flatten(&name(&index.to_string()), value, into)),
        other => {
            if let Some(number) = other.as_u64() {
                into.insert(prefix.to_string(), number);
            }
        }
    }
}

#[derive(Serialize)]
struct Topology<'a> {
    host: Vec<TopologyHost<'a>>,
    link: Vec<TopologyLink<'a>>,
}

#[derive(Serialize)]
struct TopologyHost<'a> {
    name: &'a str,
    ram: String,
}

#[derive(Serialize)]
struct TopologyLink<'a> {
    name: &'a str,
    family: Family,
    windows: Vec<String>,
    primary: TopologyEnd<'a>,
    secondary: TopologyEnd<'a>,
}

#[derive(Serialize)]
struct TopologyEnd<'a> {
    host: &'a str,
    socket: PathBuf,
}

/// The topology file of `ntb-emu`.
pub(crate) fn topology(
    options: &Options,
    run_dir: &Path,
    ram: impl Fn(&str) -> String,
) -> Result<String> {
    let end = |link: &LinkOptions, end: usize| {
        let host = link.ends.get(end).context("a link has two ends")?;
        let slots = options.slots(host);
        let slot = slots
            .iter()
            .find(|slot| slot.link.name == link.name && slot.end == end)
            .context("every end of a link is in a slot")?;
        let socket = run_dir.join(format!("{host}.{}", slot.suffix()));
        anyhow::Ok((host.clone(), socket))
    };
    let mut ends = Vec::new();
    for link in &options.links {
        ends.push((end(link, 0)?, end(link, 1)?));
    }
    let links = options.links.iter().zip(&ends);
    let file = Topology {
        host: options
            .hosts
            .iter()
            .map(|host| TopologyHost {
                name: &host.name,
                ram: ram(&host.name),
            })
            .collect(),
        link: links
            .map(|(link, (primary, secondary))| TopologyLink {
                name: &link.name,
                family: link.family,
                windows: link.windows.iter().map(ToString::to_string).collect(),
                primary: TopologyEnd {
                    host: &primary.0,
                    socket: primary.1.clone(),
                },
                secondary: TopologyEnd {
                    host: &secondary.0,
                    socket: secondary.1.clone(),
                },
            })
            .collect(),
    };
    toml::to_string(&file).context("writing the topology")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::HostOptions;

    #[test]
    fn ntb_emu_understands_the_topology() {
        let mut options = Options::default();
        options.hosts.push(HostOptions::new("third"));
        options
            .links
            .push(LinkOptions::new("ntb1", Family::Amd, ["borrower", "third"]));
        let text = topology(&options, Path::new("/r"), |host| format!("/m/{host}")).unwrap();
        let understood = ntb_emu::topology::Topology::parse(&text).unwrap();
        assert_eq!(understood.hosts()[2].ram, PathBuf::from("/m/third"));
        let sockets: Vec<_> = understood
            .links()
            .iter()
            .flat_map(|link| &link.ends)
            .map(|end| end.socket.display().to_string())
            .collect();
        assert_eq!(
            sockets,
            [
                "/r/lender.ntb0",
                "/r/borrower.ntb0",
                "/r/borrower.ntb1",
                "/r/third.ntb0"
            ]
        );
        assert_eq!(understood.links()[1].windows.len(), 3);
    }

    #[test]
    fn counters_get_dotted_names() {
        let mut counters = Counters::new();
        let json = serde_json::json!({"lender": {"windows": [{"reads": 3}], "name": "x"}, "n": 1});
        flatten("", &json, &mut counters);
        let expected: Counters = [("lender.windows.0.reads".into(), 3), ("n".into(), 1)].into();
        assert_eq!(counters, expected);
    }
}
