// SPDX-License-Identifier: GPL-2.0

//! What a reset takes away and nobody else brings back.

use crate::policy::Policy;

/// Most dwords of a device that are written through: Command, Device Control, five of MSI, one of MSI-X.
const MOST: usize = 8;

/// The bits that a borrower has written through, as they were before a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Offset of a dword and its bits, in the order in which they are written back.
    dwords: [Option<(u16, u32)>; MOST],
}

impl Policy {
    /// Lender: takes what is written through out of the device, before a reset. `read` reads the dword at an offset.
    ///
    /// The kernel's own save and restore around a reset leaves out MSI and MSI-X, since it is not the lender's kernel
    /// that has set them up; and the borrower does not write again what its shadow says is there.
    pub fn save(&self, mut read: impl FnMut(u16) -> u32) -> Saved {
        let mut saved = Saved::default();
        let written = self.dwords_with(|rule| rule.through);
        // What enables comes last: Message Control has the lowest offset of MSI, Command the lowest of all.
        for (place, (at, through)) in saved.dwords.iter_mut().zip(written.rev()) {
            *place = Some((at, read(at) & through));
        }
        saved
    }

    /// Lender: writes back what was saved, after a reset. `read` and `write` are for the device's dword at an offset.
    pub fn restore(
        &self,
        saved: &Saved,
        mut read: impl FnMut(u16) -> u32,
        mut write: impl FnMut(u16, u32),
    ) {
        for (at, bits) in saved.dwords.iter().copied().flatten() {
            if let Some(value) = self.admit_write(at, 4, bits, read(at)) {
                write(at, value);
            }
        }
    }
}
