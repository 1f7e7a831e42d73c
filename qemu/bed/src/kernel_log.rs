// SPDX-License-Identifier: GPL-2.0

//! What in a kernel's log is a defect.

/// Parts of lines with which the kernel reports that something is wrong with itself.
const COMPLAINTS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "kernel BUG",
    "Oops",
    "Kernel panic",
    "panicked at",
    "general protection fault",
    "unable to handle",
    "UBSAN:",
    "KASAN:",
    "KCSAN:",
    "DMA-API:",
    "refcount_t:",
    "list_add corruption",
    "list_del corruption",
    "sleeping function called",
    "scheduling while atomic",
    "possible circular locking",
    "possible recursive locking",
    "possible irq lock inversion",
    "inconsistent lock state",
    "suspicious RCU usage",
    "INFO: trying to register non-static key",
    "INFO: task ",
    "detected stall",
    "self-detected stall",
    "soft lockup",
    "hard LOCKUP",
    "nobody cared",
    "No irq handler",
    "Unexpected irq",
    "ODEBUG:",
    "DMAR: [",
];

/// Lines that hold one of the above and are harmless: what the kernel says about its own checks at boot.
const HARMLESS: &[&str] = &["DMA-API: preallocated", "DMA-API: debugging enabled"];

/// The lines of a kernel's log that report a defect.
#[must_use]
pub fn complaints(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| COMPLAINTS.iter().any(|part| line.contains(part)))
        .filter(|line| !HARMLESS.iter().any(|part| line.contains(part)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects_are_found() {
        let log = "[    1.0] DMA-API: preallocated 65536 debug entries\n\
                   [    1.1] nvme nvme0: 1/0/0 default/read/poll queues\n\
                   [    2.0] WARNING: CPU: 0 PID: 1 at drivers/x.c:1 f+0x1/0x2\n\
                   [    3.0] BUG: sleeping function called from invalid context at a.c:1\n\
                   [    4.0] DMA-API: nvme 0000:00:03.0: device driver frees DMA memory\n\
                   [    5.0] WARNING: possible circular locking dependency detected\n";
        let found = complaints(log);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().all(|line| !line.contains("preallocated")));
    }

    #[test]
    fn an_ordinary_boot_is_clean() {
        let log = "[    0.0] Linux version 7.2.12\n[    0.1] mem auto-init: stack:all(zero)\n\
                   [    0.2] PCI: Using configuration type 1 for base access\n\
                   [    0.3] debug: unmapping init memory\n";
        assert!(complaints(log).is_empty());
    }
}
