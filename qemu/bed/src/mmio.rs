// SPDX-License-Identifier: GPL-2.0

//! Single accesses to BARs from user space, without a driver: `mmio-time` in a host.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::host::{quoted, Host};

/// An access to be made.
#[derive(Clone, Debug)]
pub struct Access {
    /// What it is called in the results.
    pub name: String,
    /// The device's PCI address.
    pub device: String,
    /// The BAR's number.
    pub bar: u32,
    /// Offset in the BAR in bytes.
    pub offset: u64,
    /// What is done there.
    pub kind: AccessKind,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// Reads 4 bytes.
    Read4,
    /// Writes 4 bytes.
    Write4(u32),
    /// Writes 8 bytes.
    Write8(u64),
}

/// What became of an access.
#[derive(Clone, Debug, Deserialize)]
pub struct Timed {
    /// Nanoseconds of one, sorted; each is the mean of a batch.
    pub ns: Vec<u64>,
    /// How many reads gave all-ones.
    pub ones: u64,
    /// What the last read gave; 0 if there was none.
    pub last: u32,
}

impl Access {
    fn word(&self) -> String {
        let Self {
            name,
            device,
            bar,
            offset,
            kind,
        } = self;
        let kind = match kind {
            AccessKind::Read4 => "r4".into(),
            AccessKind::Write4(value) => format!("w4={value:x}"),
            AccessKind::Write8(value) => format!("w8={value:x}"),
        };
        format!("{name}=/sys/bus/pci/devices/{device}/resource{bar}:{offset:x}:{kind}")
    }
}

impl Host {
    /// Makes each access `rounds` times 16 times, in turns; with one round, once. The device must decode memory, which a
    /// driver or [`enable`](Self::enable) sees to.
    ///
    /// # Errors
    ///
    /// There is no such BAR, or `mmio-time` has not been built.
    pub fn mmio(&self, rounds: u32, accesses: &[Access]) -> Result<BTreeMap<String, Timed>> {
        self.give_program("mmio-time")?;
        let mut command = format!("/tmp/mmio-time {rounds}");
        for access in accesses {
            command += " ";
            command += &quoted(&access.word())?;
        }
        let text = self.sh_ok(&command)?;
        serde_json::from_str(&text).with_context(|| format!("mmio-time printed {text}"))
    }

    /// Lets a device without a driver decode memory accesses and master the bus.
    ///
    /// # Errors
    ///
    /// There is no such device.
    pub fn enable(&self, device: &str) -> Result<()> {
        self.sh_ok(&format!("setpci -s {device} COMMAND=6"))
            .map(drop)
    }

    /// The address of a device's first BAR.
    ///
    /// # Errors
    ///
    /// There is no such device or BAR.
    pub fn first_bar(&self, device: &str) -> Result<u64> {
        let line = self.sh_ok(&format!("head -n1 /sys/bus/pci/devices/{device}/resource"))?;
        let start = line
            .split(' ')
            .next()
            .and_then(|text| text.strip_prefix("0x"));
        let start = start.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        start
            .filter(|start| *start != 0)
            .with_context(|| format!("{device} has no BAR: {line}"))
    }

    /// Lets the peer's window 0 or 1 of an AMD NTB without a driver show `size` bytes of this host from `address` on.
    ///
    /// # Errors
    ///
    /// There is no such NTB.
    pub fn show_by_amd(&self, ntb: &str, window: u64, address: u64, size: u32) -> Result<()> {
        let write = |offset: u64, kind| Access {
            name: format!("{offset:x}"),
            device: ntb.into(),
            bar: 0,
            offset,
            kind,
        };
        // The peer's translation and limit, in its block of this host's BAR 0.
        let accesses = [
            write(0x830 + 8 * window, AccessKind::Write8(address)),
            write(0x814 + 4 * window, AccessKind::Write4(size)),
        ];
        self.mmio(1, &accesses).map(drop)
    }
}
