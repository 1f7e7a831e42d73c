// SPDX-License-Identifier: GPL-2.0

//! One offer of a peer, from "available" to "borrowed" and back.

use crate::{
    attributes,
    borrowed::Borrowed,
    events,
    remote::Remote, //
};
use devlend_protocol::{
    self as protocol,
    Address,
    Borrowing,
    BorrowingState,
    Isolation,
    OfferState,
    Which, //
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
    time::{
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use ntb::{
    new_raw_spinlock,
    raw_lock::RawSpinLock,
    shown::Shown,
    suspend,
    sysfs::Dir, //
};
use pci_shim::Removal;

/// Work that adds the device.
pub(crate) const ATTACH: u64 = 0;
/// Work that removes a device that is lost or to be returned.
pub(crate) const DETACH: u64 = 1;
/// Work that shuts the lender out, whose device was lost while it was being removed in good order.
pub(crate) const SHUT: u64 = 2;

/// What there is while we have the device.
struct Lease {
    /// Where it stands; a lease is there exactly as long as `borrowed`.
    borrowing: Borrowing,
    borrowed: Option<Arc<Borrowed>>,
    /// Since when it is known that the lease ends.
    since: Option<Instant<Monotonic>>,
    /// Within how many seconds the lender wanted the device back when there was no lease yet.
    asked: u32,
}

impl Lease {
    /// Notes the time if the lease `ends`; hands that on.
    fn note(&mut self, ends: bool) -> bool {
        if ends {
            self.since.get_or_insert_with(Instant::now);
        }
        ends
    }
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
    /// What holds it back in the lender: an [`Isolation`] as on the wire, since the device can be lent again in another way.
    isolation: Atomic<u32>,
    remote: Arc<Remote>,
    /// Epoch of the last lease that had an error of the device in the log.
    failed: Atomic<u32>,
    /// Raw, since who finds out that the device is lost must not sleep.
    #[pin]
    lease: RawSpinLock<Lease>,
    #[pin]
    dir: Mutex<Option<Dir>>,
    #[pin]
    attach: Work<Offer, ATTACH>,
    #[pin]
    detach: Work<Offer, DETACH>,
    #[pin]
    shut: Work<Offer, SHUT>,
}

impl_has_work! {
    impl HasWork<Self, ATTACH> for Offer { self.attach }
    impl HasWork<Self, DETACH> for Offer { self.detach }
    impl HasWork<Self, SHUT> for Offer { self.shut }
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
                isolation: Atomic::new(0),
                remote: remote.clone(),
                failed: Atomic::new(0),
                lease <- new_raw_spinlock!(Lease {
                    borrowing: Borrowing::default(),
                    borrowed: None,
                    since: None,
                    asked: 0,
                }, c"devlend_lease"),
                dir <- new_mutex!(None, "devlend_offer_dir"),
                attach <- new_work!("devlend_attach"),
                detach <- new_work!("devlend_detach"),
                shut <- new_work!("devlend_shut"),
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
        self.isolation.store(listed.isolation.into(), Relaxed);
        let is_available = listed.state() == Ok(OfferState::Available);
        self.lease.lock().borrowing.listed(is_available);
    }

    /// What holds it back from the rest of the lender; `None`: the lender has said something we do not know.
    pub(crate) fn isolation(&self) -> Option<Isolation> {
        let told = u8::try_from(self.isolation.load(Relaxed)).ok()?;
        Isolation::try_from(told).ok()
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> BorrowingState {
        self.lease.lock().borrowing.state()
    }

    /// What there is while we have it.
    pub(crate) fn borrowed(&self) -> Option<Arc<Borrowed>> {
        self.lease.lock().borrowed.clone()
    }

    /// Whether we have it, or are about to, or have not given it back yet.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.epoch().is_some()
    }

    /// Whether it is borrowed again when it was lost.
    pub(crate) fn is_auto(&self) -> bool {
        self.remote.wishes.has(self.address)
    }

    /// Epoch of our lease.
    pub(crate) fn epoch(&self) -> Option<u32> {
        self.lease.lock().borrowing.epoch()
    }

    /// Begins to use a lease: the device is added in a work item.
    ///
    /// # Errors
    ///
    /// `EBUSY`: the system is about to sleep, or there is a lease.
    pub(crate) fn begin(self: &Arc<Self>, borrowed: Arc<Borrowed>) -> Result {
        let epoch = borrowed.epoch();
        let (is_due, is_lost, asked) = {
            let mut lease = self.lease.lock();
            if suspend::is_near() || !lease.borrowing.begin(epoch) {
                return Err(EBUSY);
            }
            lease.borrowed = Some(borrowed);
            lease.since = None;
            // The lender may have thought better of it by now.
            let is_due = lease.borrowing.is_due();
            let is_lost = lease.borrowing.state() == BorrowingState::Lost;
            (lease.note(is_due), is_lost, lease.asked)
        };
        self.remote.counters.begun.count();
        self.event("lease-begun", None);
        if !is_due {
            let _ = self.remote.queue.enqueue::<Arc<Self>, ATTACH>(self.clone());
            return Ok(());
        }
        if !is_lost {
            self.tell_asked(epoch, asked);
        }
        self.queue_detach();
        Ok(())
    }

    /// The device is lost: it fails at once, and is removed in a work item. May sleep, but not for long.
    pub(crate) fn lose(self: &Arc<Self>, which: Which, why: &'static str) {
        let borrowed = {
            let mut lease = self.lease.lock();
            let ends = lease.borrowing.lose(which, why);
            if !lease.note(ends) {
                return;
            }
            lease.borrowed.clone()
        };
        if let Some(borrowed) = borrowed {
            borrowed.mark_gone();
        }
        self.queue_detach();
    }

    /// Has a device removed whose shadow has found out that it is lost. Does not sleep.
    pub(crate) fn lost(self: &Arc<Self>, epoch: u32) {
        let mut lease = self.lease.lock();
        let ends = lease.borrowing.lose(Which::Epoch(epoch), "no answer");
        lease.note(ends);
        let is_ending = lease.borrowing.is_ending();
        drop(lease);
        if is_ending {
            let _ = self.remote.queue.enqueue::<Arc<Self>, SHUT>(self.clone());
        } else {
            self.queue_detach();
        }
    }

    /// Has the device removed and returned, in a work item. False if that is under way, or if there is none.
    pub(crate) fn give_back(self: &Arc<Self>, which: Which, why: &'static str) -> bool {
        let is_due = self.begin_return(which, why);
        if is_due {
            self.queue_detach();
        }
        is_due
    }

    /// Notes that the device is to be returned. False if that is under way, or if there is none.
    fn begin_return(&self, which: Which, why: &'static str) -> bool {
        let mut lease = self.lease.lock();
        let is_due = lease.borrowing.give_back(which, why);
        lease.note(is_due)
    }

    fn queue_detach(self: &Arc<Self>) {
        let _ = self.remote.queue.enqueue::<Arc<Self>, DETACH>(self.clone());
    }

    /// Removes the device, and ends the lease. Sleeps for as long as its driver takes to let go.
    pub(crate) fn close(&self, why: Removal) {
        if why == Removal::ParentUnbound {
            let (borrowed, is_ending) = {
                let mut lease = self.lease.lock();
                let is_ending = lease.borrowing.is_ending();
                lease.borrowing.lose(Which::Present, "link removed");
                (lease.borrowed.clone(), is_ending)
            };
            if let Some(borrowed) = borrowed {
                if is_ending {
                    // Who is at it may not have come to asking the lender to stop the device.
                    borrowed.shut_out(&self.remote.link);
                }
                borrowed.mark_gone();
            }
        }
        if let Some(borrowed) = self.take(true) {
            self.end(borrowed, why);
            return;
        }
        // A work item may be at it.
        match why {
            Removal::Return => self.remote.wait_for_end_always(self),
            // It may be waiting for the rescan lock, which our caller may hold: do it in its place. It finds the bus
            // gone.
            Removal::ParentUnbound => {
                if let Some(borrowed) = self.borrowed() {
                    borrowed.remove(why);
                }
            }
        }
    }

    /// The lease, to be ended, if it is lost or to be returned, or `always`; for one caller only.
    fn take(&self, always: bool) -> Option<Arc<Borrowed>> {
        let mut lease = self.lease.lock();
        let ends = lease.borrowing.end(always);
        if !lease.note(ends) {
            return None;
        }
        lease.borrowed.clone()
    }

    /// Ends a lease that was [taken](Self::take).
    fn end(&self, borrowed: Arc<Borrowed>, why: Removal) {
        if borrowed.is_gone() {
            self.tell_loss(borrowed.epoch());
        }
        borrowed.end(&self.remote.link, why);
        let is_lost = borrowed.is_gone();
        let (why, since, held) = {
            let mut lease = self.lease.lock();
            let why = lease.borrowing.ended();
            (why, lease.since.take(), lease.borrowed.take())
        };
        let ms = since.map_or(0, |since| since.elapsed().as_millis());
        self.remote.counters.ended.count();
        if is_lost {
            self.remote.counters.lost.count();
            let longest = &self.remote.counters.longest_removal;
            longest.note(u64::try_from(ms).unwrap_or(0));
        }
        let epoch = borrowed.epoch();
        dev_info!(
            self.remote.link.dev(),
            "lease of {}, epoch {epoch} ended: {why}; its driver was gone {ms} ms later\n",
            Shown(self.address)
        );
        let link = &self.remote.link;
        events::send(
            link,
            "lease-ended",
            self.address,
            Some(epoch),
            Some(why),
            None,
        );
        drop(held);
        drop(borrowed);
        self.remote.lease_ended();
    }

    /// At once: its driver may take long to let go.
    fn tell_loss(&self, epoch: u32) {
        let why = self.lease.lock().borrowing.why();
        let link = &self.remote.link;
        dev_warn!(
            link.dev(),
            "{} is lost, epoch {epoch}: {why}; removing it\n",
            Shown(self.address)
        );
        events::send(
            link,
            "lease-lost",
            self.address,
            Some(epoch),
            Some(why),
            None,
        );
    }

    fn event(&self, event: &str, seconds: Option<u32>) {
        events::send(
            &self.remote.link,
            event,
            self.address,
            self.epoch(),
            None,
            seconds,
        );
    }

    /// The lender wants the device: it gets it in good order, however much time there is for that. If it is on its way already,
    /// a lender that asks again changes nothing.
    pub(crate) fn take_back(self: &Arc<Self>, epoch: u32, seconds: u32) {
        let is_due = {
            let mut lease = self.lease.lock();
            lease.asked = seconds;
            let is_due = lease.borrowing.give_back(Which::Epoch(epoch), "asked for");
            lease.note(is_due)
        };
        if is_due {
            self.tell_asked(epoch, seconds);
            self.queue_detach();
        }
    }

    fn tell_asked(&self, epoch: u32, seconds: u32) {
        self.remote.counters.asked.count();
        dev_warn!(
            self.remote.link.dev(),
            "the lender wants {} back within {seconds} s, epoch {epoch}: giving it back\n",
            Shown(self.address)
        );
        self.event("take-back", Some(seconds));
    }

    /// The device has reported an error.
    pub(crate) fn device_error(&self, epoch: u32) {
        // A line a lease: the lender may send as many of these as it likes.
        if self.failed.xchg(epoch, Relaxed) != epoch {
            dev_warn!(
                self.remote.link.dev(),
                "{} has reported an error to the lender, epoch {epoch}; further ones are counted\n",
                Shown(self.address)
            );
        }
        self.remote.counters.errors.count();
        self.event("device-error", None);
    }

    /// Shows the offer in sysfs. May sleep.
    pub(crate) fn show(self: &Arc<Self>, offers: &Dir) -> Result {
        let dir = attributes::add_offer(offers, self)?;
        *self.dir.lock() = Some(dir);
        self.event("offer-added", None);
        Ok(())
    }

    /// Takes the offer out of sysfs. May sleep.
    pub(crate) fn hide(&self) {
        let dir = self.dir.lock().take();
        let was_shown = dir.is_some();
        drop(dir);
        if was_shown {
            self.event("offer-gone", None);
        }
    }
}

impl WorkItem<ATTACH> for Offer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let borrowed = {
            let mut lease = this.lease.lock();
            if !lease.borrowing.attach() {
                return;
            }
            lease.borrowed.clone()
        };
        let Some(borrowed) = borrowed else { return };
        let epoch = borrowed.epoch();
        match borrowed.bus.scan() {
            Ok(()) => {
                if this.lease.lock().borrowing.attached(epoch) {
                    this.remote.wishes.fulfilled(this.address);
                    dev_info!(
                        this.remote.link.dev(),
                        "borrowed {} as {}, epoch {}\n",
                        Shown(this.address),
                        borrowed.bus.address(),
                        epoch
                    );
                }
            }
            Err(error) => {
                // Otherwise it was removed meanwhile.
                if this.give_back(Which::Epoch(epoch), "cannot be added") {
                    dev_err!(
                        this.remote.link.dev(),
                        "borrowed {}, but it cannot be added ({error:?}); giving it back\n",
                        Shown(this.address)
                    );
                }
            }
        }
    }
}

impl WorkItem<SHUT> for Offer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(borrowed) = this.borrowed().filter(|borrowed| borrowed.is_gone()) {
            borrowed.shut_out(&this.remote.link);
        }
    }
}

impl WorkItem<DETACH> for Offer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // By now there may be another lease, which is none of our business.
        if let Some(borrowed) = this.take(false) {
            // Who has found that out may not have come to it yet.
            if borrowed.is_gone() || this.state() == BorrowingState::Lost {
                borrowed.mark_gone();
            }
            this.end(borrowed, Removal::Return);
        }
        this.remote.refresh();
    }
}
