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
    shown::Shown,
    suspend,
    sysfs::Dir, //
};
use pci_shim::Removal;

/// Work that adds the device.
pub(crate) const ATTACH: u64 = 0;
/// Work that removes a device that is lost or to be returned.
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

/// How far a lease has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The device has not been added yet.
    New,
    /// The device is being added, or was.
    InUse,
    /// It is to be returned.
    Returning,
    /// Somebody removes the device and ends the lease; nobody else has to.
    Ending,
}

/// A lease, from the moment the device can be added until the lender has it back.
struct Held {
    borrowed: Arc<Borrowed>,
    phase: Phase,
    /// Why it ends, once that is known.
    why: Option<&'static str>,
    /// When that was known.
    since: Option<Instant<Monotonic>>,
}

impl Held {
    /// Notes why it ends; the first reason counts.
    fn ends(&mut self, why: &'static str) {
        self.why.get_or_insert(why);
        self.since.get_or_insert_with(Instant::now);
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
    remote: Arc<Remote>,
    state: Atomic<u32>,
    /// Epoch of the last lease that had an error of the device in the log.
    failed: Atomic<u32>,
    /// What there is while we have it. Not held while the device is removed, which takes long; [`Phase::Ending`] says
    /// that somebody is at it.
    #[pin]
    lease: Mutex<Option<Held>>,
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
                failed: Atomic::new(0),
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

    fn set_state(&self, state: State) {
        self.state.store(state as u32, Relaxed);
    }

    /// Changes the state if it is `from`: a device that was lost meanwhile stays so.
    fn change_state(&self, from: State, to: State) -> bool {
        self.state.cmpxchg(from as u32, to as u32, Relaxed).is_ok()
    }

    /// What there is while we have it.
    pub(crate) fn borrowed(&self) -> Option<Arc<Borrowed>> {
        Some(self.lease.lock().as_ref()?.borrowed.clone())
    }

    /// Whether we have it, or are about to, or have not given it back yet.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.lease.lock().is_some()
    }

    /// Whether it is borrowed again when it was lost.
    pub(crate) fn is_auto(&self) -> bool {
        self.remote.wishes.has(self.address)
    }

    /// Epoch of our lease.
    pub(crate) fn epoch(&self) -> Option<u32> {
        self.borrowed()
            .map(|borrowed| borrowed.shadow.scope().epoch)
    }

    /// Begins to use a lease: the device is added in a work item.
    ///
    /// # Errors
    ///
    /// `EBUSY`: the system is about to sleep.
    pub(crate) fn begin(self: &Arc<Self>, borrowed: Arc<Borrowed>) -> Result {
        {
            let mut lease = self.lease.lock();
            if suspend::is_near() {
                return Err(EBUSY);
            }
            *lease = Some(Held {
                borrowed,
                phase: Phase::New,
                why: None,
                since: None,
            });
            self.set_state(State::Borrowing);
        }
        self.remote.counters.begun.count();
        self.event("lease-begun", None);
        let _ = self.remote.queue.enqueue::<Arc<Self>, ATTACH>(self.clone());
        Ok(())
    }

    /// The device is lost: it fails at once, and is removed in a work item. May sleep, but not for long.
    pub(crate) fn lose(self: &Arc<Self>, why: &'static str) {
        let borrowed = {
            let mut lease = self.lease.lock();
            let Some(held) = &mut *lease else { return };
            held.ends(why);
            self.set_state(State::Lost);
            held.borrowed.clone()
        };
        borrowed.mark_gone();
        self.queue_detach();
    }

    /// Has a device removed whose shadow has found out that it is lost. Does not sleep.
    pub(crate) fn lost(self: &Arc<Self>) {
        self.set_state(State::Lost);
        self.queue_detach();
    }

    /// Has the device removed and returned, in a work item. False if that is under way, or if there is none.
    pub(crate) fn give_back(self: &Arc<Self>, why: &'static str) -> bool {
        let is_due = self.begin_return(why);
        if is_due {
            self.queue_detach();
        }
        is_due
    }

    /// Notes that the device is to be returned. False if that is under way, or if there is none.
    fn begin_return(&self, why: &'static str) -> bool {
        match &mut *self.lease.lock() {
            Some(held) if matches!(held.phase, Phase::New | Phase::InUse) => {
                held.phase = Phase::Returning;
                held.ends(why);
                true
            }
            _ => false,
        }
    }

    fn queue_detach(self: &Arc<Self>) {
        let _ = self.remote.queue.enqueue::<Arc<Self>, DETACH>(self.clone());
    }

    /// Removes the device, and ends the lease. Sleeps for as long as its driver takes to let go.
    pub(crate) fn close(&self, why: Removal) {
        if why == Removal::ParentUnbound {
            if let Some(borrowed) = self.borrowed() {
                borrowed.mark_gone();
            }
        }
        if let Some(borrowed) = self.take(|_| true) {
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

    /// The lease, to be ended, if it is one that `is_due`; for one caller only.
    fn take(&self, is_due: impl FnOnce(&Held) -> bool) -> Option<Arc<Borrowed>> {
        let mut lease = self.lease.lock();
        let held = (*lease).as_mut()?;
        if held.phase == Phase::Ending || !is_due(held) {
            return None;
        }
        held.phase = Phase::Ending;
        // Who has found that out must not sleep, and has left it to us.
        if held.borrowed.is_gone() {
            held.ends("no answer");
        }
        held.since.get_or_insert_with(Instant::now);
        Some(held.borrowed.clone())
    }

    /// Ends a lease that was [taken](Self::take).
    fn end(&self, borrowed: Arc<Borrowed>, why: Removal) {
        borrowed.end(&self.remote.link, why);
        let held = {
            let mut lease = self.lease.lock();
            for state in [State::Borrowing, State::Borrowed] {
                self.change_state(state, State::Available);
            }
            lease.take()
        };
        let is_lost = borrowed.is_gone();
        let why = held.as_ref().and_then(|held| held.why);
        let why = why.unwrap_or(if is_lost { "no answer" } else { "returned" });
        let since = held.as_ref().and_then(|held| held.since);
        let ms = since.map_or(0, |since| since.elapsed().as_millis());
        self.remote.counters.ended.count();
        if is_lost {
            self.remote.counters.lost.count();
            let longest = &self.remote.counters.longest_removal;
            longest.note(u64::try_from(ms).unwrap_or(0));
        }
        let epoch = borrowed.shadow.scope().epoch;
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

    /// The lender wants the device: it gets it in good order, however much time there is for that. False if it is on its
    /// way already: a lender that asks again changes nothing.
    pub(crate) fn take_back(self: &Arc<Self>, seconds: u32) -> bool {
        let is_due = self.begin_return("asked for");
        if is_due {
            self.remote.counters.asked.count();
            self.event("take-back", Some(seconds));
            self.queue_detach();
        }
        is_due
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
            match &mut *lease {
                Some(held) if held.phase == Phase::New => {
                    held.phase = Phase::InUse;
                    held.borrowed.clone()
                }
                // Returned before it began.
                _ => return,
            }
        };
        match borrowed.bus.scan() {
            Ok(()) => {
                if this.change_state(State::Borrowing, State::Borrowed) {
                    this.remote.wishes.fulfilled(this.address);
                    dev_info!(
                        this.remote.link.dev(),
                        "borrowed {} as {}, epoch {}\n",
                        Shown(this.address),
                        borrowed.bus.address(),
                        borrowed.shadow.scope().epoch
                    );
                }
            }
            Err(error) => {
                // Otherwise it was removed meanwhile.
                if this.give_back("cannot be added") {
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

impl WorkItem<DETACH> for Offer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // By now there may be another lease, which is none of our business.
        let due = this.take(|held| held.phase == Phase::Returning || held.borrowed.is_gone());
        if let Some(borrowed) = due {
            if borrowed.is_gone() {
                borrowed.mark_gone();
            }
            this.end(borrowed, Removal::Return);
        }
        this.remote.refresh();
    }
}
