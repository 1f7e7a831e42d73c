// SPDX-License-Identifier: GPL-2.0

//! What a bed is made of.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// One memory window of the emulated NTB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Size in bytes; a power of two.
    pub size: u64,
    /// The peer's RAM is mapped straight into it, at a fixed translation of 0: accesses do not pass `ntb-emu`.
    pub direct: bool,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.size / MIB)?;
        if self.direct {
            f.write_str(",direct")?;
        }
        Ok(())
    }
}

impl FromStr for Window {
    type Err = anyhow::Error;

    /// Parses `SIZE[,direct]`, the size with M or G.
    fn from_str(text: &str) -> Result<Self> {
        let (size, direct) = match text.split_once(',') {
            None => (text, false),
            Some((size, "direct")) => (size, true),
            Some((_, other)) => bail!("unknown window option '{other}' (there is 'direct')"),
        };
        let size = parse_size(size)?;
        if !size.is_power_of_two() {
            bail!("a window's size is a power of two, not {size} bytes");
        }
        Ok(Self { size, direct })
    }
}

/// Parses a size with the suffix M or G into bytes.
///
/// # Errors
///
/// It is no such size, is 0, or is more than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'M') => (&text[..text.len() - 1], MIB),
        Some(b'G') => (&text[..text.len() - 1], 1024 * MIB),
        _ => bail!("'{text}' is not a size: give it in M or G, as in 512M"),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|size| *size > 0)
        .with_context(|| format!("'{text}' is not a size"))
}

/// One host of a bed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOptions {
    /// Its name: host name in the guest, prefix of its files in the run directory.
    pub name: String,
    /// RAM in bytes; a multiple of 1 MiB.
    pub memory: u64,
    /// Virtual processors.
    pub smp: u32,
    /// Give it an IOMMU (`intel-iommu` with interrupt remapping) and switch it on in its kernel.
    pub iommu: bool,
    /// Size in bytes of an NVMe disk (serial number `devlend0`, at 0000:00:03.0), if it has one.
    pub nvme: Option<u64>,
    /// More QEMU arguments, after the bed's own.
    pub args: Vec<String>,
    /// More words for the kernel's command line.
    pub append: String,
}

impl HostOptions {
    /// A host with one processor, 512 MiB and nothing to lend.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            memory: 512 * MIB,
            smp: 1,
            iommu: false,
            nvme: None,
            args: Vec::new(),
            append: String::new(),
        }
    }
}

/// A whole bed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Where sockets, consoles, disks and process ids are kept; the checkout's own by default.
    pub run_dir: Option<PathBuf>,
    /// The hosts. The first is the NTB's primary side.
    pub hosts: Vec<HostOptions>,
    /// The memory windows, in the order of the NTB's BARs.
    pub windows: Vec<Window>,
    /// Whether there is an NTB between the hosts at all.
    pub ntb: bool,
    /// QEMU's accelerator. Software emulation by default: KVM is not usable everywhere it seems to exist.
    pub accel: String,
}

impl Default for Options {
    /// A lender with an NVMe disk and a borrower; a window for MSI, one for registers, one that holds all RAM.
    fn default() -> Self {
        let lender = HostOptions {
            nvme: Some(256 * MIB),
            ..HostOptions::new("lender")
        };
        Self {
            run_dir: None,
            hosts: vec![lender, HostOptions::new("borrower")],
            windows: vec![
                Window {
                    size: MIB,
                    direct: false,
                },
                Window {
                    size: 64 * MIB,
                    direct: false,
                },
                Window {
                    size: 512 * MIB,
                    direct: true,
                },
            ],
            ntb: true,
            accel: "tcg".into(),
        }
    }
}

impl Options {
    /// The options of a host, to be changed before the start.
    ///
    /// # Errors
    ///
    /// There is no host of that name.
    pub fn host_mut(&mut self, name: &str) -> Result<&mut HostOptions> {
        self.hosts
            .iter_mut()
            .find(|host| host.name == name)
            .with_context(|| format!("there is no host '{name}' in this bed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_written_the_same() {
        for text in ["1M", "64M", "512M,direct", "2048M"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        assert_eq!("2G".parse::<Window>().unwrap().size, 2048 * MIB);
    }

    #[test]
    fn bad_windows_are_refused() {
        for text in [
            "",
            "M",
            "0M",
            "3M",
            "64",
            "64M,fast",
            "99999999999999G",
            "é",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn options_survive_json() {
        let options = Options::default();
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
    }
}
