// SPDX-License-Identifier: GPL-2.0

//! devlend_borrower: borrows PCI devices from the hosts at the other ends of this host's NTB links.
//!
//! A borrow, top to bottom: the [`follower`] keeps a [`remote`] for each link, with the peer's [`offer`]s; a write to
//! `borrow` ([`command`]) opens a lease with the lender, makes the [`shadow`] of its configuration space and a root bus
//! around it ([`borrowed`]); a work item scans that bus, and the device's own driver binds.

#[deny(unsafe_code)]
mod attributes;
#[deny(unsafe_code)]
mod bar;
#[deny(unsafe_code)]
mod borrowed;
#[deny(unsafe_code)]
mod command;
#[deny(unsafe_code)]
mod events;
#[deny(unsafe_code)]
mod follower;
#[deny(unsafe_code)]
mod intx;
#[deny(unsafe_code)]
mod offer;
#[deny(unsafe_code)]
mod remote;
#[deny(unsafe_code)]
mod shadow;
#[deny(unsafe_code)]
mod wish;

use crate::follower::Follower;
use kernel::prelude::*;
use ntb::role::BorrowerRegistration;
use pci_shim::MemoryRestriction;

module! {
    type: Module,
    name: "devlend_borrower",
    authors: ["The devlend developers"],
    description: "devlend: borrows PCI devices from other hosts over NTB",
    license: "GPL",
}

/// Dropped in this order: all that is borrowed goes back, the links tell us nothing any more, nothing is under way, and no
/// borrowed device is left whose driver could leave out the DMA API.
struct Module {
    _all: follower::ReturnAll,
    _role: BorrowerRegistration,
    _drain: follower::Drain,
    _virtio: MemoryRestriction,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // Before there can be a device that it is about.
        let virtio = MemoryRestriction::new();
        let follower = Follower::new()?;

        Ok(Self {
            _all: follower::ReturnAll(follower.clone()),
            _drain: follower::Drain(follower.clone()),
            _virtio: virtio,
            _role: BorrowerRegistration::new(follower)?,
        })
    }
}
