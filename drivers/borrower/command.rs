// SPDX-License-Identifier: GPL-2.0

//! `borrow` and `return`.

use crate::{
    borrowed::Borrowed,
    offer::Offer,
    remote::Remote, //
};
use devlend_protocol::{
    dma_plan,
    parse_address,
    Address,
    BorrowCommand,
    CommandError,
    DmaMode,
    DmaRefusal,
    Which, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use ntb::{
    errno::enotconn,
    memory,
    shown::Shown, //
};
use pci_shim::Removal;

/// Reports a line that was not understood.
fn malformed(remote: &Remote, error: CommandError<'_>, expected: &str) -> Error {
    dev_err!(remote.link.dev(), "{}; expected {expected}\n", Shown(error));
    EINVAL
}

/// The offer at an address of the lender.
fn offered(remote: &Remote, address: Address) -> Result<Arc<Offer>> {
    let dev = remote.link.dev();
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
    let BorrowCommand { address, auto, dma } = BorrowCommand::parse(line).map_err(|error| {
        malformed(
            remote,
            error,
            "\"DDDD:BB:DD.F [auto] [dma=linear|bounce|iommu]\", in the lender",
        )
    })?;
    let _one = remote.commands.lock();
    // Who closes it does not wait for who comes here only now.
    if remote.is_closed() {
        return Err(ENODEV);
    }
    let offer = offered(remote, address)?;
    open(remote, &offer, dma)?;
    // A loss that is already on its way comes back here for the wish.
    if auto {
        remote.wishes.add(&offer, dma)?;
        remote.refresh();
    } else {
        remote.wishes.forget(address);
    }
    Ok(())
}

/// Opens a lease and begins to use it, in the DMA mode that is `wanted` if one is. With `commands` locked.
pub(crate) fn open(remote: &Arc<Remote>, offer: &Arc<Offer>, wanted: Option<DmaMode>) -> Result {
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
    let shown = remote.link.plan().ok_or(ENODEV)?.shown();
    let memory = memory::for_dma(remote.link.pci());
    let plan = dma_plan(wanted, &memory, shown).map_err(|refusal| {
        dev_err!(dev, "{}: {}\n", Shown(offer.address), Shown(refusal));
        match refusal {
            DmaRefusal::AlwaysBounces
            | DmaRefusal::Translated
            | DmaRefusal::TranslatedElsewhere
            | DmaRefusal::NotTranslated => EINVAL,
            DmaRefusal::Window { .. }
            | DmaRefusal::NoBuffers { .. }
            | DmaRefusal::BuffersOutside { .. }
            | DmaRefusal::BuffersGrow { .. } => ENOSPC,
        }
    })?;

    let borrowed = Borrowed::open(remote, offer, &peer, &plan)?;
    if let Err(error) = remote.begin(offer, &borrowed) {
        let why = if error == EBUSY {
            "cannot be borrowed while this system goes to sleep"
        } else {
            "is no longer offered"
        };
        dev_err!(dev, "{} {why}\n", Shown(offer.address));
        borrowed.end(&remote.link, Removal::Return);
        return Err(error);
    }
    if plan.mode == DmaMode::Bounce {
        let what = if memory.always_bounces {
            "all"
        } else {
            "what is not there"
        };
        dev_warn!(
            dev,
            "{} reaches the first {} of {} bytes of RAM; {what} is copied (DMA mode bounce)\n",
            Shown(offer.address),
            borrowed.dma_size,
            memory.ram_end
        );
    }
    // If the session ended before the lease was there to be lost, nobody else says so.
    let is_same = remote
        .link
        .peer()
        .is_ok_and(|now| now.session == peer.session);
    if !is_same {
        offer.lose(Which::Epoch(borrowed.epoch()), "link lost");
        return Err(enotconn());
    }
    Ok(())
}

/// Returns a device. Sleeps for as long as its driver takes to let go, or until the NTB is removed.
///
/// The removal itself is a work item: it takes the PCI rescan lock, which whoever removes the NTB may hold while waiting
/// for this function to return.
pub(crate) fn give_back(remote: &Arc<Remote>, line: &[u8]) -> Result {
    let address = parse_address(line)
        .map_err(|error| malformed(remote, error, "DDDD:BB:DD.F, the address in the lender"))?;
    let was_wished = remote.wishes.forget(address);
    let one = remote.commands.lock();
    let borrowed = remote
        .find(address)
        .and_then(|offer| offer.epoch().map(|epoch| (offer, epoch)));
    match borrowed {
        Some((offer, epoch)) => {
            offer.give_back(Which::Epoch(epoch), "returned");
            // Its driver may take its time, for which other devices do not wait.
            drop(one);
            remote.wait_for_end(&offer, epoch)
        }
        None if was_wished => {
            dev_info!(
                remote.link.dev(),
                "{} is not borrowed again any more\n",
                Shown(address)
            );
            Ok(())
        }
        None => {
            offered(remote, address)?;
            dev_err!(remote.link.dev(), "{} is not borrowed\n", Shown(address));
            Err(ENOENT)
        }
    }
}
