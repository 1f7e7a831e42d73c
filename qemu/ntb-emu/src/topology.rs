// SPDX-License-Identifier: GPL-2.0

//! Which hosts there are, and which links between them: a small TOML file, or two hosts on the command line.
//!
//! ```toml
//! [[host]]
//! name = "a"
//! ram = "/dev/shm/a"
//!
//! [[host]]
//! name = "b"
//! ram = "/dev/shm/b"
//!
//! [[link]]
//! name = "ab"
//! family = "amd"
//! windows = ["1M", "64M", "512M,direct"]
//! primary = { host = "a", socket = "/run/a.ab" }
//! secondary = { host = "b", socket = "/run/b.ab" }
//! ```
//!
//! `ntb-emu schema` prints its JSON schema.

mod file;
mod window;

pub use file::{schema, FileError};
pub use window::{parse_window, BadWindow};

use std::collections::HashSet;
use std::path::PathBuf;

use crate::model::{Family, Window};
use crate::side::Side;

/// Most hosts.
pub const MAX_HOSTS: usize = 256;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What it is called.
    pub name: String,
    /// The file that its QEMU has as RAM.
    pub ram: PathBuf,
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What it is called in logs and counters: the host's name, and the side's if both ends are in one host.
    pub name: String,
    /// Which of the hosts it is in.
    pub host: usize,
    /// Where that host's QEMU connects.
    pub socket: PathBuf,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it is called.
    pub name: String,
    /// Its hardware family.
    pub family: Family,
    /// The windows of both sides.
    pub windows: Vec<Window>,
    /// Its ends, primary first.
    pub ends: [End; 2],
}

/// A link as a person gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRequest {
    /// What it is to be called.
    pub name: String,
    /// Its hardware family.
    pub family: Family,
    /// The windows of both sides.
    pub windows: Vec<Window>,
    /// Host and socket of each end, primary first.
    pub ends: [(String, PathBuf); 2],
}

/// Hosts and links that fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    hosts: Vec<Host>,
    links: Vec<Link>,
}

/// Why hosts and links do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A name that cannot be one.
    #[error(
        "{what} name '{name}': a name is 1 to 32 letters, digits, '-' and '_', for it is part of file names and counters"
    )]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two have one name.
    #[error("there are two {what}s called '{name}'")]
    Twice {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two hosts have one RAM file.
    #[error(
        "hosts '{0}' and '{1}' have the same RAM file: each host's QEMU needs a file of its own"
    )]
    SharedRam(String, String),
    /// A link ends at a host that is not there.
    #[error("link '{link}' ends at host '{host}', which is not one of the hosts: {hosts}")]
    UnknownHost {
        /// The link.
        link: String,
        /// The host it names.
        host: String,
        /// The hosts there are.
        hosts: String,
    },
    /// A socket is used for two ends.
    #[error("socket {socket} is named twice: each end of each link needs a socket of its own", socket = .0.display())]
    SharedSocket(PathBuf),
    /// More hosts than there can be.
    #[error("there are {0} hosts, and there can be {MAX_HOSTS}: who waits for whom is kept for each pair of them")]
    TooMany(usize),
    /// There is nothing to do.
    #[error("there is no link")]
    NoLink,
}

impl Topology {
    /// Puts hosts and links together.
    ///
    /// # Errors
    ///
    /// They do not fit.
    pub fn new(hosts: Vec<Host>, requests: Vec<LinkRequest>) -> Result<Self, TopologyError> {
        if hosts.len() > MAX_HOSTS {
            return Err(TopologyError::TooMany(hosts.len()));
        }
        check_names("host", hosts.iter().map(|host| host.name.as_str()))?;
        check_names("link", requests.iter().map(|link| link.name.as_str()))?;
        for (i, host) in hosts.iter().enumerate() {
            if let Some(other) = hosts.iter().take(i).find(|other| other.ram == host.ram) {
                return Err(TopologyError::SharedRam(
                    other.name.clone(),
                    host.name.clone(),
                ));
            }
        }
        if requests.is_empty() {
            return Err(TopologyError::NoLink);
        }
        let mut sockets = HashSet::new();
        let mut links = Vec::new();
        for request in requests {
            links.push(place(&hosts, request, &mut sockets)?);
        }
        Ok(Self { hosts, links })
    }

    /// The hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The links.
    pub fn links(&self) -> &[Link] {
        &self.links
    }
}

fn place(
    hosts: &[Host],
    request: LinkRequest,
    sockets: &mut HashSet<PathBuf>,
) -> Result<Link, TopologyError> {
    let [(first, _), (second, _)] = &request.ends;
    let looped = first == second;
    let mut end = |side: Side, (name, socket): (String, PathBuf)| {
        let host = hosts.iter().position(|host| host.name == name);
        let host = host.ok_or_else(|| TopologyError::UnknownHost {
            link: request.name.clone(),
            host: name.clone(),
            hosts: hosts
                .iter()
                .map(|host| host.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        if !sockets.insert(socket.clone()) {
            return Err(TopologyError::SharedSocket(socket));
        }
        let name = if looped {
            format!("{name}:{side}")
        } else {
            name
        };
        Ok(End { name, host, socket })
    };
    let [primary, secondary] = request.ends;
    let ends = [
        end(Side::Primary, primary)?,
        end(Side::Secondary, secondary)?,
    ];
    Ok(Link {
        name: request.name,
        family: request.family,
        windows: request.windows,
        ends,
    })
}

fn check_names<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), TopologyError> {
    let mut seen = HashSet::new();
    for name in names {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 32 || !name.chars().all(good) {
            return Err(TopologyError::Name {
                what,
                name: name.to_owned(),
            });
        }
        if !seen.insert(name) {
            return Err(TopologyError::Twice {
                what,
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
