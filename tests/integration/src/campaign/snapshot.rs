// SPDX-License-Identifier: GPL-2.0

//! What a fault must leave as it was.

use std::collections::BTreeSet;

use anyhow::{ensure, Result};
use devlend_bed::Host;

use super::both;
use crate::pair::Pair;

/// Modules with their reference counts, devlend's files, PCI devices with their drivers, and how many ranges are claimed by
/// whom. Where they are does not matter: a function that is found again may have its BARs elsewhere. Nor does the borrowed device's
/// domain: as long as a program has the disk open that was lost, its number is not free.
const COMMAND: &str = "{ \
    awk '$1 ~ /^(devlend|ntb|switchtec|nvme)/ { print \"module \" $1 \" used \" $3 }' /proc/modules; \
    find /sys/kernel/devlend; \
    cd /sys/bus/pci/devices && grep -H -E '^(PCI_SLOT_NAME|DRIVER)=' */uevent; \
    sed -nE '/devlend|ntb|nvme|[1-9a-f][0-9a-f]{4}:/s/.* : /claimed by /p' /proc/iomem | sort | uniq -c; \
    } | sed -E 's/1[0-9a-f]{4}:00:00/borrowed/'";

/// A host's state while a device is borrowed and nobody uses it.
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Of a host.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    fn of(host: &Host) -> Result<Self> {
        let text = host.sh_ok(COMMAND)?;
        Ok(Self(
            text.lines().map(|line| line.trim().to_string()).collect(),
        ))
    }

    /// Of the lender and the borrower.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_both(pair: &Pair<'_>) -> Result<[Self; 2]> {
        both(|| Self::of(pair.lender), || Self::of(pair.borrower))
    }

    /// Compares the states of both with earlier ones.
    ///
    /// # Errors
    ///
    /// One is another one.
    pub fn check_both(before: &[Self; 2], pair: &Pair<'_>) -> Result<()> {
        let [lender, borrower] = before;
        both(
            || lender.check(pair.lender),
            || borrower.check(pair.borrower),
        )
        .map(drop)
    }

    /// Compares a host's state with an earlier one.
    ///
    /// # Errors
    ///
    /// It is another one.
    fn check(&self, host: &Host) -> Result<()> {
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
