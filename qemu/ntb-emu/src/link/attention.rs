// SPDX-License-Identifier: GPL-2.0

//! Whether anything but the plain way is to be gone: one load tells each access of a link.

use std::sync::atomic::{AtomicU8, Ordering};

const FAULTS: u8 = 1 << 0;
const WATCHED: u8 = 1 << 1;

/// What is to be minded besides the access itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attention(u8);

impl Attention {
    /// Faults may concern accesses.
    pub(super) fn faults(self) -> bool {
        self.0 & FAULTS != 0
    }

    /// Somebody is to be told of accesses.
    pub(super) fn watched(self) -> bool {
        self.0 & WATCHED != 0
    }
}

/// Tells [`Attention`] to everybody.
#[derive(Debug, Default)]
pub(super) struct Notice(AtomicU8);

impl Notice {
    /// Who sees that there are no faults also sees what was done because of earlier ones.
    pub(super) fn read(&self) -> Attention {
        Attention(self.0.load(Ordering::Acquire))
    }

    pub(super) fn set_faults(&self, on: bool) {
        self.set(FAULTS, on);
    }

    pub(super) fn set_watched(&self, on: bool) {
        self.set(WATCHED, on);
    }

    fn set(&self, bit: u8, on: bool) {
        if on {
            self.0.fetch_or(bit, Ordering::Release);
        } else {
            self.0.fetch_and(!bit, Ordering::Release);
        }
    }
}
