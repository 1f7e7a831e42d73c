// SPDX-License-Identifier: GPL-2.0

//! Printing values of the pure crates, which know only `core`'s `Display`, with the kernel's.

/// Prints what it holds.
pub struct Shown<T>(pub T);

impl<T: core::fmt::Display> kernel::fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}
