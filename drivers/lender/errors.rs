// SPDX-License-Identifier: GPL-2.0

//! A device that reports errors (AER, DPC): what its borrower is told, and when its lease ends.
//!
//! An error after which the device works on is the borrower's to judge. One that cuts the device off ends the lease: the
//! PCI core resets the device, and nobody but its borrower's driver would know how to set it up again.

use crate::{
    driver::LenderDriver,
    events,
    lease,
    registry,
    resets,
    serve, //
};
use devlend_protocol::{
    Address,
    DeviceError,
    Features,
    RevokeReason, //
};
use kernel::{
    device::Core,
    pci,
    prelude::*, //
};
use ntb::pci::ErrorHandlers;

impl ErrorHandlers for LenderDriver {
    fn nonfatal(device: &pci::Device<Core<'_>>) {
        let address = ntb::pci::address(device);
        events::COUNTERS.errors.count();
        let lent = {
            let mut registry = registry::lock();
            registry.find(address).and_then(|offer| {
                let link = offer.active.as_ref()?.link.clone();
                Some((link, offer.epoch()))
            })
        };
        let Some((link, epoch)) = lent else { return };
        // Limited: a borrower can make its device report errors.
        link.report(|| {
            dev_warn!(
                device,
                "it reports an error: telling the borrower at link {}, epoch {epoch}\n",
                link.name()
            )
        });
        events::failed(device, address, &link, epoch);
        let is_understood = link
            .peer()
            .is_ok_and(|peer| peer.features.contains(Features::DEVICE_ERROR));
        if is_understood {
            let event = DeviceError {
                address: u32::from(address).into(),
            };
            let _ = link.notify(epoch, &event);
        }
    }

    fn cut_off(device: &pci::Device<Core<'_>>) {
        let address = ntb::pci::address(device);
        events::COUNTERS.errors.count();
        if !take(device, address) {
            dev_warn!(device, "it reports an error that cuts it off\n");
        }
    }

    fn reset_begins(device: &pci::Device<Core<'_>>) {
        resets::begins(device);
    }

    fn reset_ended(device: &pci::Device<Core<'_>>) {
        resets::ended(device);
    }

    fn recovered(device: &pci::Device<Core<'_>>) {
        let address = ntb::pci::address(device);
        // It was reset for the error of another device below the same port: its borrower does not know.
        let is_lent = registry::lock()
            .find(address)
            .is_some_and(|offer| offer.active.is_some());
        if is_lent {
            take(device, address);
        }
        // What was restored may be of a time when a borrower had let it.
        ntb::pci::stop(device);
        let audience = {
            let mut registry = registry::lock();
            let Some(offer) = registry.find(address) else {
                return;
            };
            offer.lease.recovered();
            offer.audience
        };
        dev_info!(device, "reset after an error: offered again\n");
        serve::announce(address, &audience);
    }
}

/// Takes a device that is being reset from its borrower, if there is one. Nobody opens it until it has recovered.
fn take(device: &pci::Device<Core<'_>>, address: Address) -> bool {
    let ended = {
        let mut registry = registry::lock();
        let Some(offer) = registry.find(address) else {
            return false;
        };
        let holder = offer.lease.holder();
        let link = lease::cut_off(offer);
        if let Some(link) = &link {
            registry.close_window(link);
        }
        holder.zip(link)
    };
    let Some((holder, link)) = ended else {
        return false;
    };
    serve::tell_revoked(device, address, &link, holder, RevokeReason::Failed);
    true
}
