// SPDX-License-Identifier: GPL-2.0

//! What the borrower tells user space about a link: events, and counters.

use devlend_protocol::Address;
use ntb::{
    link::{
        Counter,
        Link,
        Longest, //
    },
    uevent::Uevent, //
};

/// Of one link, since the module was loaded or the NTB bound.
#[derive(Default)]
pub(crate) struct Counters {
    /// Leases that were opened.
    pub(crate) begun: Counter,
    /// Leases that have ended, however they did.
    pub(crate) ended: Counter,
    /// Those of them that ended with the device lost.
    pub(crate) lost: Counter,
    /// Longest time from when a device was known to be lost until its driver was gone, ms.
    pub(crate) longest_removal: Longest,
    /// Devices that the lender has asked for.
    pub(crate) asked: Counter,
    /// Errors of borrowed devices that the lender has told of.
    pub(crate) errors: Counter,
}

/// Sends an event about a device of the lender's.
pub(crate) fn send(
    link: &Link,
    event: &str,
    device: Address,
    epoch: Option<u32>,
    reason: Option<&str>,
    seconds: Option<u32>,
) {
    let event = Uevent {
        event,
        role: Some("borrower"),
        link: Some(link),
        device: Some(device),
        epoch,
        reason,
        seconds,
    };
    event.send(link.pci());
}
