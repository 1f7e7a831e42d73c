// SPDX-License-Identifier: GPL-2.0

//! What moved while a borrowed device was used: counted before and after.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::bed::Bed;
use crate::devlend::Link;
use crate::emulator::Counters;
use crate::host::Host;

/// The difference of all counters over a stretch of time.
#[derive(Debug, Serialize)]
pub struct Traffic {
    /// Interrupts by vector (Linux number in the borrower) of the borrowed device.
    pub interrupts: BTreeMap<u32, u64>,
    /// Control messages on the channel, counted at both ends.
    pub control_messages: u64,
    /// Most bytes that were in the borrower's bounce buffers at a time; none when it has no such buffers.
    pub bounced_bytes: Option<u64>,
    /// What `ntb-emu` counted; only what changed.
    pub emulator: Counters,
}

impl Traffic {
    /// All interrupts of the device.
    #[must_use]
    pub fn all_interrupts(&self) -> u64 {
        self.interrupts.values().sum()
    }

    /// How much one of `ntb-emu`'s counters grew.
    #[must_use]
    pub fn emulated(&self, name: &str) -> u64 {
        self.emulator.get(name).copied().unwrap_or(0)
    }
}

/// The state of all counters.
pub struct Snapshot {
    interrupts: BTreeMap<u32, u64>,
    messages: u64,
    emulator: Counters,
}

impl Snapshot {
    /// Reads the counters; `device` is the borrowed device's address in `borrower`.
    ///
    /// # Errors
    ///
    /// A host or `ntb-emu` cannot be asked.
    pub fn take(bed: &Bed, borrower: &Host, device: &str, links: [&Link<'_>; 2]) -> Result<Self> {
        borrower.reset_bounced()?;
        let mut messages = 0;
        for link in links {
            messages += link.messages()?;
        }
        Ok(Self {
            interrupts: borrower.interrupts(device)?,
            messages,
            emulator: bed.emulator().counters()?,
        })
    }

    /// What has moved since.
    ///
    /// # Errors
    ///
    /// As for [`take`](Self::take).
    pub fn since(
        &self,
        bed: &Bed,
        borrower: &Host,
        device: &str,
        links: [&Link<'_>; 2],
    ) -> Result<Traffic> {
        // Before anything that clears the mark of the bounce buffers.
        let bounced_bytes = borrower.bounced()?.map(|(_, most)| most);
        let now = Self::take(bed, borrower, device, links)?;
        Ok(Traffic {
            interrupts: grown(&self.interrupts, &now.interrupts),
            control_messages: now.messages.saturating_sub(self.messages),
            bounced_bytes,
            emulator: grown(&self.emulator, &now.emulator),
        })
    }
}

/// The counters that grew, and by how much.
fn grown<K: Ord + Clone>(before: &BTreeMap<K, u64>, after: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    after
        .iter()
        .map(|(key, count)| {
            let old = before.get(key).copied().unwrap_or(0);
            (key.clone(), count.saturating_sub(old))
        })
        .filter(|(_, by)| *by > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grew_is_kept() {
        let before = [("a", 1), ("b", 2)].into();
        let after = [("a", 5), ("b", 2), ("c", 7)].into();
        assert_eq!(grown(&before, &after), [("a", 4), ("c", 7)].into());
    }
}
