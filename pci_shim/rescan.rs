// SPDX-License-Identifier: GPL-2.0

//! The lock that serialises every addition and removal of PCI devices in the system.

use devlend_bindings as bindings;
use kernel::types::NotThreadSafe;

/// Holds the PCI rescan/remove lock.
///
/// # Invariants
///
/// The lock is held by the current task while a value exists.
pub(crate) struct RescanLock(NotThreadSafe);

impl RescanLock {
    /// Takes the lock; may sleep for as long as another device's probe or removal lasts.
    pub(crate) fn new() -> Self {
        // SAFETY: No requirements beyond process context, which every caller has.
        unsafe { bindings::pci_lock_rescan_remove() };
        // INVARIANT: Taken above.
        Self(NotThreadSafe)
    }
}

impl Drop for RescanLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the current task holds the lock.
        unsafe { bindings::pci_unlock_rescan_remove() };
    }
}
