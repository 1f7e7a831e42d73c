// SPDX-License-Identifier: GPL-2.0

//! What the lender tells user space: events, and counters.

use devlend_protocol::Address;
use kernel::pci::Device;
use ntb::{
    link::{
        Counter,
        Link, //
    },
    uevent::Uevent, //
};

/// Since the module was loaded.
pub(crate) struct Counters {
    /// Leases that were opened.
    pub(crate) begun: Counter,
    /// Leases that have ended, however they did.
    pub(crate) ended: Counter,
    /// Those of them that ended because the link was lost.
    pub(crate) lost: Counter,
    /// Borrowers that were asked to give a device back.
    pub(crate) asked: Counter,
    /// Devices that were taken from their borrower.
    pub(crate) forced: Counter,
    /// Errors that offered devices have reported.
    pub(crate) errors: Counter,
    /// Resets of offered devices, whoever has asked for them.
    pub(crate) resets: Counter,
}

pub(crate) static COUNTERS: Counters = Counters {
    begun: Counter::new(),
    ended: Counter::new(),
    lost: Counter::new(),
    asked: Counter::new(),
    forced: Counter::new(),
    errors: Counter::new(),
    resets: Counter::new(),
};

/// Why a lease ended, when the link was lost.
pub(crate) const LINK_LOST: &str = "the link is lost";

/// An offer came or went.
pub(crate) fn offer(device: &Device, address: Address, event: &str) {
    let event = Uevent {
        event,
        role: Some("lender"),
        device: Some(address),
        ..Default::default()
    };
    event.send(device);
}

/// A lease has begun.
pub(crate) fn begun(device: &Device, address: Address, link: &Link, epoch: u32) {
    COUNTERS.begun.count();
    send(device, address, link, "lease-begun", epoch, None);
}

/// A device that is lent reports an error.
pub(crate) fn failed(device: &Device, address: Address, link: &Link, epoch: u32) {
    send(device, address, link, "device-error", epoch, None);
}

/// A lease has ended.
pub(crate) fn ended(device: &Device, address: Address, link: &Link, epoch: u32, why: &str) {
    COUNTERS.ended.count();
    if why == LINK_LOST {
        COUNTERS.lost.count();
    }
    send(device, address, link, "lease-ended", epoch, Some(why));
}

/// A borrower is asked to give a device back.
pub(crate) fn asked(device: &Device, address: Address, link: &Link, epoch: u32, seconds: u16) {
    COUNTERS.asked.count();
    let event = Uevent {
        event: "take-back",
        role: Some("lender"),
        link: Some(link),
        device: Some(address),
        epoch: Some(epoch),
        reason: None,
        seconds: Some(seconds.into()),
    };
    event.send(device);
}

fn send(
    device: &Device,
    address: Address,
    link: &Link,
    event: &str,
    epoch: u32,
    reason: Option<&str>,
) {
    let event = Uevent {
        event,
        role: Some("lender"),
        link: Some(link),
        device: Some(address),
        epoch: Some(epoch),
        reason,
        seconds: None,
    };
    event.send(device);
}
