// SPDX-License-Identifier: GPL-2.0

//! What a fault must leave as it was.

use std::collections::BTreeSet;

use anyhow::{ensure, Result};
use devlend_bed::Host;

/// Modules with their reference counts, devlend's files, PCI devices with their drivers, and what is claimed of the NTB.
const COMMAND: &str = "\
    awk '$1 ~ /^(devlend|ntb|switchtec|nvme)/ { print \"module \" $1 \" used \" $3 }' /proc/modules; \
    find /sys/kernel/devlend; \
    for device in /sys/bus/pci/devices/*; do \
        driver=$(readlink $device/driver); echo \"device ${device##*/} driver ${driver##*/}\"; \
    done; \
    grep -E 'devlend|ntb|nvme|[1-9a-f][0-9a-f]{4}:' /proc/iomem";

/// A host's state while a device is borrowed and nobody uses it.
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Of a host.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    pub fn of(host: &Host) -> Result<Self> {
        let text = host.sh_ok(COMMAND)?;
        Ok(Self(text.lines().map(|line| line.trim().to_string()).collect()))
    }

    /// Compares a host's state with an earlier one.
    ///
    /// # Errors
    ///
    /// It is another one.
    pub fn check(&self, host: &Host) -> Result<()> {
        let now = Self::of(host)?;
        let (gone, new): (Vec<_>, Vec<_>) = (
            self.0.difference(&now.0).collect(),
            now.0.difference(&self.0).collect(),
        );
        ensure!(
            gone.is_empty() && new.is_empty(),
            "the {} is not as before: gone {gone:#?}, new {new:#?}",
            host.name()
        );
        Ok(())
    }
}
