// SPDX-License-Identifier: GPL-2.0

//! A reset of an offered device, whoever asks for it: its borrower, who ends its lease, or somebody on this host.
//!
//! A borrower finds its device as it was, with interrupts set up, which only its kernel knows of; what it asks for meanwhile waits. DMA
//! is off before what the PCI core saves and puts back: so a lease that ends meanwhile leaves none on.

use crate::{
    events::COUNTERS,
    registry, //
};
use kernel::pci::Device;
use ntb::pci;

/// A reset begins. With the device locked; sleeps.
pub(crate) fn begins(device: &Device) {
    let mut registry = registry::lock();
    let Some(offer) = registry.find(pci::address(device)) else {
        return;
    };
    offer.is_being_reset = true;
    if let Some(active) = &mut offer.active {
        // During one there is no INTx, and its handler writes no Command.
        if let Some(intx) = &active.intx {
            intx.hold();
        }
        let saved = active.policy.save(|at| pci::read_config(device, at, 4));
        active.saved = Some(saved);
    }
    pci::stop(device);
}

/// It has ended, and the PCI core has put back what it had saved. With the device locked; sleeps.
pub(crate) fn ended(device: &Device) {
    let mut registry = registry::lock();
    let Some(offer) = registry.find(pci::address(device)) else {
        return;
    };
    offer.is_being_reset = false;
    COUNTERS.resets.count();
    let Some(active) = &mut offer.active else {
        return;
    };
    let Some(saved) = active.saved.take() else {
        return;
    };
    active.policy.restore(
        &saved,
        |at| pci::read_config(device, at, 4),
        |at, value| pci::write_config(device, at, 4, value),
    );
    if let Some(intx) = &active.intx {
        intx.release();
    }
}
