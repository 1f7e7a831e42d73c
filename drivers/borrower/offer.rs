// SPDX-License-Identifier: GPL-2.0

//! One offer of a peer, from "available" to "borrowed" and back.

use crate::{
    attributes,
    borrowed::Borrowed,
    remote::Remote, //
};
use devlend_protocol::{
    self as protocol,
    Address,
    OfferState, //
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use ntb::sysfs::Dir;
use pci_shim::Removal;

/// Work that adds the device.
pub(crate) const ATTACH: u64 = 0;
/// Work that removes a device that is lost.
pub(crate) const DETACH: u64 = 1;

/// Where an offer stands, seen from here.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// Nobody has it.
    Available = 0,
    /// Somebody else has it.
    Taken = 1,
    /// We have it; its driver has not been found yet.
    Borrowing = 2,
    /// We have it.
    Borrowed = 3,
    /// We had it; the link or the device is gone.
    Lost = 4,
}

/// What the lender says the device is.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    pub(crate) class: u32,
}

/// One offer.
#[pin_data]
pub(crate) struct Offer {
    /// Where the device is in the lender.
    pub(crate) address: Address,
    /// What it is.
    pub(crate) ids: Ids,
    remote: Arc<Remote>,
    state: Atomic<u32>,
    /// What there is while we have it. Taken out to be removed: a removal sleeps for long, and this lock must not be
    /// held meanwhile.
    #[pin]
    lease: Mutex<Option<Arc<Borrowed>>>,
    #[pin]
    dir: Mutex<Option<Dir>>,
    #[pin]
    attach: Work<Offer, ATTACH>,
    #[pin]
    detach: Work<Offer, DETACH>,
}

impl_has_work! {
    impl HasWork<Self, ATTACH> for Offer { self.attach }
    impl HasWork<Self, DETACH> for Offer { self.detach }
}

impl Offer {
    /// An offer as the lender lists it.
    pub(crate) fn new(remote: &Arc<Remote>, listed: &protocol::Offer) -> Result<Arc<Self>> {
        let ids = Ids {
            vendor: listed.vendor.get(),
            device: listed.device.get(),
            class: listed.class.get() & 0x00ff_ffff,
        };
        let offer = Arc::pin_init(
            pin_init!(Self {
                address: Address::from(listed.address.get()),
                ids,
                remote: remote.clone(),
                state: Atomic::new(State::Available as u32),
                lease <- new_mutex!(None, "devlend_lease"),
                dir <- new_mutex!(None, "devlend_offer_dir"),
                attach <- new_work!("devlend_attach"),
                detach <- new_work!("devlend_detach"),
            }),
            GFP_KERNEL,
        )?;
        offer.update(listed);
        Ok(offer)
    }

    /// Whether a listed offer is this one: same place, same device.
    pub(crate) fn is(&self, listed: &protocol::Offer) -> bool {
        self.address == Address::from(listed.address.get())
            && self.ids.vendor == listed.vendor.get()
            && self.ids.device == listed.device.get()
    }

    /// Takes over what the lender says, unless we have the device and know better.
    pub(crate) fn update(&self, listed: &protocol::Offer) {
        let lease = self.lease.lock();
        if lease.is_none() {
            self.set_state(match listed.state() {
                Ok(OfferState::Available) => State::Available,
                _ => State::Taken,
            });
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Available,
            1 => State::Taken,
            2 => State::Borrowing,
            3 => State::Borrowed,
            _ => State::Lost,
        }
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u32, Relaxed);
    }

    /// What there is while we have it.
    pub(crate) fn borrowed(&self) -> Option<Arc<Borrowed>> {
        self.lease.lock().clone()
    }

    /// Whether we have it, or are about to.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.lease.lock().is_some()
    }

    /// Epoch of our lease.
    pub(crate) fn epoch(&self) -> Option<u32> {
        self.borrowed().map(|borrowed| borrowed.shadow.scope().epoch)
    }

    /// Begins to use a lease: the device is added in a work item.
    pub(crate) fn begin(self: &Arc<Self>, borrowed: Arc<Borrowed>) {
        *self.lease.lock() = Some(borrowed);
        self.set_state(State::Borrowing);
        let _ = self.remote.queue.enqueue::<Arc<Self>, ATTACH>(self.clone());
    }

    /// Makes everything about the device fail at once.
    pub(crate) fn mark_gone(&self) {
        if let Some(borrowed) = self.borrowed() {
            borrowed.mark_gone();
        }
    }

    /// The device is lost: it fails at once, and is removed in a work item.
    pub(crate) fn lose(self: &Arc<Self>) {
        if self.is_borrowed() {
            self.set_state(State::Lost);
            self.mark_gone();
            self.queue_removal();
        }
    }

    /// Queues the removal of a device that is lost. Does not sleep.
    pub(crate) fn queue_removal(self: &Arc<Self>) {
        self.set_state(State::Lost);
        let _ = self.remote.queue.enqueue::<Arc<Self>, DETACH>(self.clone());
    }

    /// Removes the device, and ends the lease. Sleeps for as long as its driver takes to let go.
    pub(crate) fn give_back(&self, remote: &Remote, why: Removal) {
        let Some(borrowed) = self.borrowed() else {
            return;
        };
        borrowed.remove(why);
        // Only now: as long as the lease is there the NTB's BAR stays claimed.
        *self.lease.lock() = None;
        borrowed.clunk(&remote.link);
        drop(borrowed);
        remote.release_bar();
    }

    /// Shows the offer in sysfs. May sleep.
    pub(crate) fn show(self: &Arc<Self>, offers: &Dir) -> Result {
        let dir = attributes::add_offer(offers, self)?;
        *self.dir.lock() = Some(dir);
        Ok(())
    }

    /// Takes the offer out of sysfs. May sleep.
    pub(crate) fn hide(&self) {
        let dir = self.dir.lock().take();
        drop(dir);
    }
}

impl WorkItem<ATTACH> for Offer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let Some(borrowed) = this.borrowed() else {
            return;
        };
        match borrowed.bus.scan() {
            Ok(()) => {
                // Lost or returned while it was scanned: leave the state alone.
                if this.state() == State::Borrowing {
                    this.set_state(State::Borrowed);
                }
                dev_info!(
                    this.remote.link.dev(),
                    "borrowed {} as {}\n",
                    ntb::shown::Shown(this.address),
                    borrowed.bus.address()
                );
            }
            Err(error) => {
                dev_err!(
                    this.remote.link.dev(),
                    "borrowed {}, but it cannot be added ({error:?}); giving it back\n",
                    ntb::shown::Shown(this.address)
                );
                this.queue_removal();
            }
        }
    }
}

impl WorkItem<DETACH> for Offer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(borrowed) = this.borrowed() {
            borrowed.mark_gone();
        }
        this.give_back(&this.remote, Removal::Return);
        this.remote.refresh();
    }
}
