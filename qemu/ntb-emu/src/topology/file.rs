// SPDX-License-Identifier: GPL-2.0

//! The topology file.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{parse_window, BadWindow, Host, LinkRequest, Topology, TopologyError};
use crate::model::{Family, Window};

/// Why a topology file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// It is not such a file.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A window is none.
    #[error("link '{link}': {error}")]
    Window {
        /// The link.
        link: String,
        /// What is wrong.
        error: BadWindow,
    },
    /// What it says does not fit together.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

/// Hosts, and links between them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// The hosts.
    host: Vec<FileHost>,
    /// The links between them.
    link: Vec<FileLink>,
}

/// A host: one QEMU machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileHost {
    /// What it is called: 1 to 32 letters, digits, '-' and '_'.
    name: String,
    /// The file that its QEMU has as `memory-backend-file` with `share=on`.
    ram: PathBuf,
}

/// A link: one NTB function in each of two hosts, or two in one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileLink {
    /// What it is called: 1 to 32 letters, digits, '-' and '_'.
    name: String,
    /// The hardware family that its functions belong to; `amd` if it is not said.
    #[serde(default)]
    family: Family,
    /// The memory windows of both sides, each `SIZE` or `SIZE,direct`; the size is a power of two with K, M or G. With
    /// `direct` the peer's RAM is mapped into the window, at a translation fixed at 0.
    windows: Vec<String>,
    /// The first end: where hardware tells the sides apart, the primary or upstream one.
    primary: FileEnd,
    /// The other end.
    secondary: FileEnd,
}

/// An end of a link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileEnd {
    /// The name of a host.
    host: String,
    /// The UNIX socket to listen on for that host's `vfio-user-pci` device; at most 107 bytes.
    socket: PathBuf,
}

/// The file's JSON schema.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

impl Topology {
    /// Reads a topology file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or does not make sense; with the line where that can be said.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// Understands the text of a topology file.
    ///
    /// # Errors
    ///
    /// It does not make sense.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let file: File = toml::from_str(text)?;
        let hosts = file.host.into_iter().map(|host| Host {
            name: host.name,
            ram: host.ram,
        });
        let mut links = Vec::new();
        for link in file.link {
            let windows: Result<Vec<Window>, BadWindow> =
                link.windows.iter().map(|text| parse_window(text)).collect();
            links.push(LinkRequest {
                windows: windows.map_err(|error| FileError::Window {
                    link: link.name.clone(),
                    error,
                })?,
                name: link.name,
                family: link.family,
                ends: [link.primary, link.secondary].map(|end| (end.host, end.socket)),
            });
        }
        Ok(Self::new(hosts.collect(), links)?)
    }
}
