// SPDX-License-Identifier: GPL-2.0

//! Events that must not get lost.
//!
//! Interrupts are raised and unmasked where nobody can wait for room in the peer's ring, and one that got lost would be the last of
//! its device; a borrower that does not hear that its device was taken goes on to use it. So an event that finds the ring full stays
//! due, and a work item tries again until there is room, or the session ends.

use super::Link;
use devlend_protocol::{
    Interrupt,
    OfferChanged,
    Revoked,
    TakeBack,
    Unmask, //
};
use kernel::{
    impl_has_work, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// Id of the link's own work item.
pub(super) const WORK: u64 = 3;

/// For how long a peer may have no room to hear that a device is no longer its own.
const LONGEST: Delta = Delta::from_secs(5);

/// Between two tries while the ring is full.
const RETRY: Delta = Delta::from_millis(1);

/// No lease has this epoch.
const NONE: u32 = 0;

/// What a notice says. Said twice, it means no more than once.
#[derive(Clone, Copy)]
pub enum Signal {
    /// The lender's device at that address has raised INTx.
    Interrupt {
        /// The device.
        address: u32,
    },
    /// The borrower takes one more interrupt.
    Unmask,
    /// The lender has taken a device back.
    Revoked(Revoked),
    /// The lender wants a device back.
    TakeBack(TakeBack),
}

/// One event about one device, sent as often as it is due.
#[pin_data]
pub struct Notice {
    link: Arc<Link>,
    signal: Signal,
    /// Epoch of the lease it is due for.
    due: Atomic<u32>,
    over: Atomic<bool>,
    /// When it was made, and the session then.
    made: (Instant<Monotonic>, u32),
    #[pin]
    work: Work<Notice>,
}

impl_has_work! {
    impl HasWork<Self> for Notice { self.work }
}

impl Notice {
    /// A notice for the peer at the other end of a link; not due yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(link: Arc<Link>, signal: Signal) -> Result<Arc<Self>> {
        let made = (Instant::now(), link.session_id());
        Arc::pin_init(
            pin_init!(Self {
                link,
                made,
                signal,
                due: Atomic::new(NONE),
                over: Atomic::new(false),
                work <- new_work!("devlend_notice"),
            }),
            GFP_KERNEL,
        )
    }

    /// Sends an event that is not sent again, as [`send`](Self::send) does. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: it was not sent.
    pub fn once(link: &Arc<Link>, signal: Signal, epoch: u32) -> Result {
        Self::new(link.clone(), signal)?.send(epoch);
        Ok(())
    }

    /// Sends the event, now or as soon as there is room for it; it is forgotten when the session ends. For any context, hard
    /// interrupts too.
    pub fn send(self: &Arc<Self>, epoch: u32) {
        self.due.store(epoch, Relaxed);
        self.try_send();
    }

    /// From here on nothing is sent any more, but for what is just being sent. Does not sleep.
    pub fn cancel(&self) {
        self.over.store(true, Relaxed);
    }

    fn try_send(self: &Arc<Self>) {
        let epoch = self.due.xchg(NONE, Relaxed);
        if epoch == NONE || self.over.load(Relaxed) {
            return;
        }
        // With the session locked: before it ends the queue is not drained.
        let when_full = || {
            // Unless it is due for another lease by now.
            let _ = self.due.cmpxchg(NONE, epoch, Relaxed);
            let _ = self.link.queue.enqueue(self.clone());
        };
        // Without a session there is no lease either.
        let _ = match self.signal {
            Signal::Interrupt { address } => {
                let event = Interrupt {
                    address: address.into(),
                };
                self.link.notify_or(epoch, &event, when_full)
            }
            Signal::Unmask => self.link.notify_or(epoch, &Unmask {}, when_full),
            Signal::Revoked(event) => self.link.notify_or(epoch, &event, when_full),
            Signal::TakeBack(event) => self.link.notify_or(epoch, &event, when_full),
        };
    }
}

impl WorkItem for Notice {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        fsleep(RETRY);
        let (at, session) = this.made;
        if matches!(this.signal, Signal::Revoked(_)) && at.elapsed() > LONGEST {
            if this.link.end_session(session) {
                this.link.complain(|| {
                    dev_err!(
                        this.link.dev(),
                        "the peer has no room to hear that a device was taken: ending the session\n"
                    )
                });
            }
            return;
        }
        this.try_send();
    }
}

impl Link {
    /// Tells the peer that an offer, by its address, came, went or changed hands: now or as soon as there is room, if there are
    /// several, perhaps of the last one only; the peer asks for the whole list. Does not sleep.
    pub fn tell_offer_changed(self: &Arc<Self>, address: u32) {
        // With the session locked: before it ends the queue is not drained.
        let when_full = || {
            self.changed_offer.store(address, Relaxed);
            let _ = self.queue.enqueue::<Arc<Self>, WORK>(self.clone());
        };
        let event = OfferChanged {
            address: address.into(),
        };
        // A peer that is not there lists the offers when it is.
        let _ = self.notify_or(0, &event, when_full);
    }
}

impl WorkItem<WORK> for Link {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        fsleep(RETRY);
        this.tell_offer_changed(this.changed_offer.load(Relaxed));
    }
}
