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
    "unreferenced object",
    "BUG kmalloc",
    "kmemleak: Kernel memory leak detector disabled",
];

/// Lines that hold one of the above and are harmless: what the kernel says about its own checks at boot.
const HARMLESS: &[&str] = &["DMA-API: preallocated", "DMA-API: debugging enabled"];

/// The lines of a kernel's log that report a defect, but for those of the kernel's own drivers that are known and cannot
/// be helped here.
#[must_use]
pub fn complaints(log: &str) -> Vec<&str> {
    let lines: Vec<&str> = log.lines().collect();
    let mut found = Vec::new();
    let mut rest = lines.as_slice();
    while let [line, after @ ..] = rest {
        let known = nvme_probe_leak(rest);
        rest = rest.get(known.max(1)..).unwrap_or(after);
        if known == 0
            && is_complaint(line)
            && !is_bare_lock(&lines[lines.len() - after.len() - 1..])
        {
            found.push(*line);
        }
    }
    found
}

/// Whether lockdep has turned itself off, as it does after each of its reports: what else it would have found until the host
/// boots again is not reported.
#[must_use]
pub fn lockdep_ends(log: &str) -> bool {
    log.contains("turning off the locking correctness validator")
}

fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|part| line.contains(part))
        && !HARMLESS.iter().any(|part| line.contains(part))
}

/// How many lines a report has, if it begins here, that memory is still mapped which NVMe's driver forgets in a probe that fails
/// late: `nvme_pci_enable` makes the admin queue and does not free it when the controller does not come up. It is told by who has
/// mapped the memory. The report may be about a later device: it goes by the address of a structure, which is used again.
fn nvme_probe_leak(report: &[&str]) -> usize {
    const MAPPER: [&str; 3] = [" nvme_alloc_queue+", " nvme_pci_enable+", " nvme_probe+"];
    const PENDING: &str = "device driver has pending DMA allocations";
    /// The longest report, lines.
    const LONGEST: usize = 200;
    let begins = report.first().is_some_and(|line| line.contains(PENDING));
    let mut lines = report.iter().take(LONGEST);
    let Some(mapped) = lines.position(|line| line.contains("DMA-API: Mapped at:")) else {
        return 0;
    };
    let mapper = report.iter().skip(mapped + 3).zip(MAPPER);
    let is_known = mapper.filter(|(line, part)| line.contains(part)).count() == MAPPER.len();
    // Nothing else may hide in it.
    let is_alone = report
        .iter()
        .take(mapped)
        .filter(|line| is_complaint(line))
        .all(|line| line.contains(PENDING) || line.contains("at dma_debug_device_change+"));
    if begins && is_known && is_alone {
        mapped + 3 + MAPPER.len()
    } else {
        0
    }
}

/// Locks that NTB drivers take without having initialized them, by who takes them, innermost first. `ntb_hw_switchtec` never
/// initializes its `db_mask_lock`; `ntb_hw_amd` starts its heartbeat a second before it needs it, and on a machine that is slow
/// enough the first one comes before the device is registered, which is when its `ctx_lock` is initialized.
const BARE_LOCKS: [&[&str]; 3] = [
    &[" switchtec_ntb_db_set_mask+"],
    &[" switchtec_ntb_db_clear_mask+"],
    &[" ntb_link_event+", " amd_link_hb+"],
];

/// Whether a report begins here about one of these locks. After it [lockdep is off](lockdep_ends).
fn is_bare_lock(report: &[&str]) -> bool {
    let begins = report
        .first()
        .is_some_and(|line| line.contains("trying to register non-static key"));
    let callers: Vec<&&str> = report
        .iter()
        .take_while(|line| !line.contains("</TASK>"))
        // What the kernel only suspects to be a caller.
        .filter(|line| !line.contains(" ? "))
        .skip_while(|line| !line.contains(" _raw_spin_lock_irqsave+"))
        .skip(1)
        .collect();
    let takes = |takers: &&[&str]| {
        takers.len() <= callers.len()
            && takers
                .iter()
                .zip(&callers)
                .all(|(taker, line)| line.contains(taker))
    };
    begins && BARE_LOCKS.iter().any(takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_a_driver_has_not_initialized_is_known_by_who_takes_it() {
        let report = |taker: &str| {
            format!(
                "[   73.443529] INFO: trying to register non-static key.\n\
                 [   73.443937] The code is fine but needs lockdep annotation, or maybe\n\
                 [   73.444012] turning off the locking correctness validator.\n\
                 [   73.449667] Call Trace:\n\
                 [   73.449750]  <TASK>\n\
                 [   73.450835]  ? switchtec_ntb_db_clear_mask+0x31/0x80 [ntb_hw_switchtec]\n\
                 [   73.450877]  _raw_spin_lock_irqsave+0x39/0x50\n\
                 [   73.450891]  ? switchtec_ntb_db_clear_mask+0x31/0x80 [ntb_hw_switchtec]\n\
                 [   73.450905]  {taker}+0x31/0x80\n\
                 [   73.451050]  do_syscall_64+0xa7/0x330\n\
                 [   73.451060]  </TASK>\n"
            )
        };
        let heartbeat = "ntb_link_event+0x1d/0x80 [ntb]\n[   73.450910]  amd_link_hb";
        for known in [
            "switchtec_ntb_db_clear_mask",
            "switchtec_ntb_db_set_mask",
            heartbeat,
        ] {
            assert!(complaints(&report(known)).is_empty(), "{known}");
            assert!(lockdep_ends(&report(known)));
        }
        for other in ["devlend_ring", "switchtec_ntb_part_op", "ntb_link_event"] {
            assert_eq!(complaints(&report(other)).len(), 1, "{other}");
        }
        let two = report("switchtec_ntb_db_clear_mask") + "[   80.0] BUG: something else\n";
        assert_eq!(complaints(&two), ["[   80.0] BUG: something else"]);
    }

    #[test]
    fn what_nvme_forgets_is_known_by_who_has_mapped_it() {
        let report = |mapper: &str| {
            format!(
                "[   44.154832] ------------[ cut here ]------------\n\
                 [   44.156424] DMA-API: pci 10000:00:00.0: device driver has pending DMA allocations while released from device [count=2]\n\
                 [   44.156424] One of leaked entries details: [device address=0x00000000c4cce000]\n\
                 [   44.158014] WARNING: at dma_debug_device_change+0xdf/0x240, CPU#0: rmmod/335\n\
                 [   44.182568] ---[ end trace 0000000000000000 ]---\n\
                 [   44.204644] DMA-API: Mapped at:\n\
                 [   44.204839]  debug_dma_alloc_coherent+0x4d/0x100\n\
                 [   44.206158]  dma_alloc_attrs+0xda/0x180\n\
                 [   44.206601]  nvme_alloc_queue+0xc9/0x190 [nvme]\n\
                 [   44.207000]  {mapper}+0x37f/0x680 [nvme]\n\
                 [   44.207688]  nvme_probe+0x4b1/0x6a0 [nvme]\n"
            )
        };
        assert!(complaints(&report("nvme_pci_enable")).is_empty());
        assert_eq!(complaints(&report("nvme_setup_io_queues")).len(), 3);
        let two = report("nvme_pci_enable") + "[   80.0] BUG: something else\n";
        assert_eq!(complaints(&two), ["[   80.0] BUG: something else"]);
        // Nothing hides behind it.
        let between = report("nvme_pci_enable").replace("---[ end", "BUG: [ end");
        assert_eq!(complaints(&between).len(), 4);
    }

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
        assert!(!lockdep_ends(log));
    }
}
