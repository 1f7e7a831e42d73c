// SPDX-License-Identifier: GPL-2.0

//! Which kernel a test runs on.

use crate::runner::Case;

/// The kernel with the lock validator.
const DEBUG: &str = "debug";
/// The kernel without.
const LIGHT: &str = "light";

/// Tests that run under the lock validator, by how their names begin: a cover, computed from a run with every test there, of what it
/// has seen of devlend's locks. `tests/lockdep` compares two runs; that of a run with this list was not made yet.
const UNDER_LOCKDEP: &[&str] = &[
    // In the usual hosts.
    "auto::after_the_lender_was_unloaded",
    "auto::until_it_is_returned",
    "bad_peer::as_borrower::does_not_listen",
    "bad_peer::as_borrower::has_no_key",
    "bad_peer::as_lender::answers_just_in_time",
    "bad_peer::as_lender::grants_leases_that_are_lies",
    "bad_peer::as_lender::takes_back_at_once",
    "data_path::",
    "events::",
    "keepalive::a_device_that_is_lost_while_it_is_returned",
    "keys::the_right_one",
    "keys::revoked",
    // The light kernel, entered by PVH, was seen to start anew where it should have woken up from S3.
    "sleep::",
    "take_back::",
    "unplug::",
    "using::taken_back_by_force",
    "using::modules_unload_and_load",
    // With an IOMMU; both roles in one host; an interrupt line that is shared; a function added while others are there.
    "allowed::one_of_two_borrowers",
    "dma_modes::an_iommu_shows_what_is_mapped",
    "intx::two_devices_on_one_line",
    "virtual_functions::nvme::of_an_nvme",
];

/// The flavour of the kernel for a test; `DEVLEND_KERNEL` names one for all of them.
pub fn kernel(case: &Case) -> Option<&'static str> {
    if std::env::var_os("DEVLEND_KERNEL").is_some() {
        return None;
    }
    let is_there = |part: &&str| case.name().starts_with(*part);
    Some(if UNDER_LOCKDEP.iter().any(is_there) {
        DEBUG
    } else {
        LIGHT
    })
}
