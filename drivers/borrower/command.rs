// SPDX-License-Identifier: GPL-2.0

//! `borrow` and `return`.

use crate::{
    borrowed::Borrowed,
    offer::Offer,
    remote::Remote, //
};
use devlend_protocol::parse_address;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use ntb::{
    errno::enotconn,
    shown::Shown, //
};
use pci_shim::Removal;

/// The offer that a line names.
fn named(remote: &Remote, line: &[u8]) -> Result<Arc<Offer>> {
    let dev = remote.link.dev();
    let address = parse_address(line).map_err(|error| {
        dev_err!(
            dev,
            "{}; expected the device's address in the lender, DDDD:BB:DD.F\n",
            Shown(error)
        );
        EINVAL
    })?;
    let peer = remote.link.peer();
    let offer = remote.find(address);
    match (peer, offer) {
        (_, Some(offer)) => Ok(offer),
        (Err(error), None) => {
            dev_err!(dev, "the link is not up, so there are no offers\n");
            Err(error)
        }
        (Ok(_), None) => {
            dev_err!(
                dev,
                "the peer does not offer {}; what it offers is in offers/\n",
                Shown(address)
            );
            Err(ENOENT)
        }
    }
}

/// Borrows a device; its driver binds a little later, see the offer's `state`. Sleeps for round trips to the lender.
pub(crate) fn borrow(remote: &Arc<Remote>, line: &[u8]) -> Result {
    let _one = remote.commands.lock();
    let offer = named(remote, line)?;
    let dev = remote.link.dev();

    let peer = remote
        .link
        .peer()
        .inspect_err(|_| dev_err!(dev, "the link is not up\n"))?;
    // Whether another host has it only the lender knows for sure.
    if offer.is_borrowed() {
        dev_err!(dev, "{} is taken\n", Shown(offer.address));
        return Err(EBUSY);
    }
    let plan = remote.link.plan().ok_or(ENODEV)?;
    if plan.dma_available < plan.dma_needed {
        dev_err!(
            dev,
            "memory window {} is too small: the device must reach {} bytes of RAM, the window shows {}; \
             give the NTB a larger window, or this host less memory (mem=)\n",
            plan.memory_window,
            plan.dma_needed,
            plan.dma_available
        );
        return Err(ENOSPC);
    }
    if ntb::pci::is_translated(remote.link.pci()) {
        dev_err!(dev, "this host's IOMMU translates what comes from the NTB, which is not supported yet; boot with iommu=pt\n");
        return Err(EINVAL);
    }

    let borrowed = Borrowed::open(remote, &offer, &peer)?;
    if let Err(error) = remote.begin(&offer, &borrowed) {
        dev_err!(dev, "{} is no longer offered\n", Shown(offer.address));
        borrowed.end(&remote.link, Removal::Return);
        return Err(error);
    }
    // If the session ended before the lease was there to be lost, nobody else says so.
    let is_same = remote
        .link
        .peer()
        .is_ok_and(|now| now.session == peer.session);
    if !is_same {
        offer.lose("link lost");
        return Err(enotconn());
    }
    Ok(())
}

/// Returns a device. Sleeps for as long as its driver takes to let go, or until the NTB is removed.
///
/// The removal itself is a work item: it takes the PCI rescan lock, which whoever removes the NTB may hold while waiting
/// for this function to return.
pub(crate) fn give_back(remote: &Arc<Remote>, line: &[u8]) -> Result {
    let _one = remote.commands.lock();
    let offer = named(remote, line)?;

    if !offer.is_borrowed() {
        dev_err!(
            remote.link.dev(),
            "{} is not borrowed\n",
            Shown(offer.address)
        );
        return Err(ENOENT);
    }
    offer.give_back("returned");
    remote.wait_for_end(&offer)
}
