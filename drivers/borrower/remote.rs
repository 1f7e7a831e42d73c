// SPDX-License-Identifier: GPL-2.0

//! The host at the other end of one link, and what it offers.
//!
//! Lock order: `commands`; `files`; `offers` or `closed`; an offer's lease. The lock in [`Bar`] is taken with none of them
//! held but `commands`, and so is that of the claim on it. A request is sent with none held but `commands`.

use crate::{
    attributes,
    bar::Bar,
    borrowed::Borrowed,
    events::Counters,
    offer::Offer,
    wish::{
        self,
        Wishes, //
    },
};
use devlend_protocol::{
    self as protocol,
    Address,
    Isolation,
    List,
    Status,
    Which, //
};
use kernel::{
    impl_has_work, new_condvar, new_mutex, new_work,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use ntb::{
    duty::Duty,
    link::{
        Link,
        Refusal, //
    },
    queue::OwnedQueue, //
};
use pci_shim::Removal;

/// From the end of a list to the next, if lists take more than half of the time.
const LONGEST_REST: Delta = Delta::from_secs(5);

/// No host offers more; a peer that says so is not believed.
const MAX_OFFERS: u32 = 256;

/// One peer.
#[pin_data]
pub(crate) struct Remote {
    /// The link to it.
    pub(crate) link: Arc<Link>,
    /// Where work of this remote runs.
    pub(crate) queue: Arc<OwnedQueue>,
    /// One borrow or return at a time; what it takes until a driver has let go is not waited for.
    #[pin]
    pub(crate) commands: Mutex<()>,
    /// What has happened over the link.
    pub(crate) counters: Counters,
    /// What is to be borrowed again.
    #[pin]
    pub(crate) wishes: Wishes,
    #[pin]
    offers: Mutex<KVec<Arc<Offer>>>,
    /// The NTB's BAR in which all that is borrowed lies.
    pub(crate) bar: Arc<Bar>,
    #[pin]
    files: Mutex<Option<attributes::Files>>,
    /// Set at the beginning of the end.
    #[pin]
    closed: Mutex<bool>,
    /// `closed` was set, or a lease has ended.
    #[pin]
    changed: CondVar,
    #[pin]
    refresh: Work<Remote>,
    /// What listing takes of a processor; only that work takes the lock, with no other held.
    #[pin]
    duty: Mutex<Duty>,
}

impl_has_work! {
    impl HasWork<Self> for Remote { self.refresh }
}

impl Remote {
    /// Shows the files of a link. May sleep.
    pub(crate) fn new(link: Arc<Link>, queue: Arc<OwnedQueue>) -> Result<Arc<Self>> {
        let bar = Bar::new()?;
        let remote = Arc::pin_init(
            pin_init!(Self {
                link,
                queue,
                commands <- new_mutex!((), "devlend_commands"),
                counters: Counters::default(),
                wishes <- Wishes::new(),
                offers <- new_mutex!(KVec::new(), "devlend_offers"),
                bar,
                files <- new_mutex!(None, "devlend_files"),
                closed <- new_mutex!(false, "devlend_closed"),
                changed <- new_condvar!("devlend_changed"),
                refresh <- new_work!("devlend_refresh"),
                duty <- new_mutex!(Duty::new(), "devlend_duty"),
            }),
            GFP_KERNEL,
        )?;
        *remote.files.lock() = Some(attributes::Files::new(&remote)?);
        Ok(remote)
    }

    /// Lists the offers anew, in a work item.
    pub(crate) fn refresh(self: &Arc<Self>) {
        let _ = self.queue.enqueue(self.clone());
    }

    /// The offer at an address of the lender.
    pub(crate) fn find(&self, address: Address) -> Option<Arc<Offer>> {
        self.offers
            .lock()
            .iter()
            .find(|offer| offer.address == address)
            .cloned()
    }

    /// Begins to use a lease.
    ///
    /// # Errors
    ///
    /// `ENOENT`: the offer was withdrawn meanwhile, so that nobody would find the lease to end it. `EBUSY`: the system is
    /// about to sleep.
    pub(crate) fn begin(&self, offer: &Arc<Offer>, borrowed: &Arc<Borrowed>) -> Result {
        let offers = self.offers.lock();
        if !offers.iter().any(|other| Arc::ptr_eq(other, offer)) {
            return Err(ENOENT);
        }
        offer.begin(borrowed.clone())
    }

    /// Whether there is a lease that has not ended.
    pub(crate) fn has_leases(&self) -> bool {
        let offers = self.offers.lock();
        offers.iter().any(|offer| offer.is_borrowed())
    }

    /// The link is down: what is borrowed is lost, at once for everybody who asks; removing it is queued.
    pub(crate) fn lose_all(self: &Arc<Self>) {
        for offer in self.offers.lock().iter() {
            offer.lose(Which::Present, "link lost");
        }
        // What is not borrowed is offered no longer.
        self.refresh();
    }

    /// The lender has taken a lease back.
    pub(crate) fn revoke(&self, address: Address, epoch: u32, why: &'static str) {
        if let Some(offer) = self.find(address) {
            offer.lose(Which::Epoch(epoch), why);
        }
    }

    /// The lender wants a device back: it gets it in good order, however much time there is for that.
    pub(crate) fn take_back(&self, address: Address, epoch: u32, seconds: u32) {
        if let Some(offer) = self.find(address) {
            offer.take_back(epoch, seconds);
        }
    }

    /// A device has reported an error, and works on: it is its driver's to find out, and the user's to know.
    pub(crate) fn device_error(&self, address: Address, epoch: u32) {
        let offer = self.find(address);
        let Some(offer) = offer.filter(|offer| offer.epoch() == Some(epoch)) else {
            return;
        };
        offer.device_error(epoch);
    }

    /// A device has raised INTx. False if there is no such lease, or nobody waits for the interrupt.
    pub(crate) fn interrupt(&self, address: Address, epoch: u32) -> bool {
        let borrowed = self.find(address).and_then(|offer| offer.borrowed());
        borrowed
            .filter(|borrowed| borrowed.epoch() == epoch)
            .is_some_and(|borrowed| borrowed.interrupt(&self.queue))
    }

    /// Takes everything away: for the end of the link or of the module. Sleeps for as long as drivers take to let go.
    pub(crate) fn close(&self, why: Removal) {
        // Who waits in `return` gives up, and so does who lists the offers.
        {
            let mut closed = self.closed.lock();
            *closed = true;
            self.changed.notify_all();
        }
        // Commands first: when their files are gone nobody borrows any more.
        let files = self.files.lock().take();
        let dir = files.map(attributes::Files::without_commands);
        // Nor does a work item: one that has begun ends here, the next finds this closed.
        drop(self.commands.lock());
        self.wishes.stop();

        // Nor is an offer added any more.
        while let Some(offer) = self.any_offer() {
            offer.close(why);
            offer.hide();
            // Only now: who closes this for another reason at the same time has to find it.
            self.offers
                .lock()
                .retain(|other| !Arc::ptr_eq(other, &offer));
        }
        drop(dir);
    }

    /// Calls `visit` for each offer, until one fails; `visit` must not wait for the lender.
    pub(crate) fn for_each_offer(&self, visit: impl FnMut(&Arc<Offer>) -> Result) -> Result {
        self.offers.lock().iter().try_for_each(visit)
    }

    fn any_offer(&self) -> Option<Arc<Offer>> {
        self.offers.lock().first().cloned()
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.lock()
    }

    /// A lease has ended: wakes those who wait for that.
    pub(crate) fn lease_ended(&self) {
        let _closed = self.closed.lock();
        self.changed.notify_all();
    }

    /// Waits until a lease of an offer has ended.
    ///
    /// # Errors
    ///
    /// `ENODEV`: the link or the module goes away; `ERESTARTSYS`: a signal. The lease ends all the same.
    pub(crate) fn wait_for_end(&self, offer: &Offer, epoch: u32) -> Result {
        let mut closed = self.closed.lock();
        while offer.epoch() == Some(epoch) {
            if *closed {
                return Err(ENODEV);
            }
            if self.changed.wait_interruptible(&mut closed) {
                return Err(ERESTARTSYS);
            }
        }
        Ok(())
    }

    /// Waits until an offer has no lease, whatever else happens; not to be called with the PCI rescan lock held.
    pub(crate) fn wait_for_end_always(&self, offer: &Offer) {
        let mut closed = self.closed.lock();
        while offer.is_borrowed() {
            self.changed.wait(&mut closed);
        }
    }

    /// Rests from a list that was begun at `start`, if there were many of late; not when this is closed.
    fn rest(&self, start: Instant<Monotonic>) {
        let rest = self.duty.lock().rest(start, LONGEST_REST);
        let mut left = msecs_to_jiffies(u32::try_from(rest.as_millis()).unwrap_or(0));
        let mut closed = self.closed.lock();
        while !*closed && left > 0 {
            match self.changed.wait_interruptible_timeout(&mut closed, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout | CondVarTimeoutResult::Signal { .. } => return,
            }
        }
    }

    /// Asks the lender for its offers. There are none while the link is down.
    fn list(&self) -> Result<KVec<protocol::Offer>> {
        let mut listed = KVec::new();
        // Before it is up the peer may not answer us yet; we are called again when it is.
        if !self.link.is_up() {
            return Ok(listed);
        }
        let Ok(peer) = self.link.peer() else {
            return Ok(listed);
        };
        for index in 0..MAX_OFFERS {
            // The end of the link or of the module waits for one request at the most.
            if self.is_closed() {
                return Err(ENODEV);
            }
            match self.link.request(
                peer.scope(0),
                &List {
                    index: index.into(),
                },
            ) {
                Ok(offer) => listed.push(offer, GFP_KERNEL)?,
                Err(Refusal::Peer(protocol::Failure::Status(Status::NotFound))) => break,
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(listed)
    }

    /// Brings our offers in line with the lender's list.
    fn update(self: &Arc<Self>, listed: &[protocol::Offer]) -> Result {
        let mut gone = KVec::new();
        {
            let mut offers = self.offers.lock();
            gone.reserve(offers.len(), GFP_KERNEL)?;
            let mut index = 0;
            while let Some(offer) = offers.get(index) {
                let is_listed = listed.iter().any(|other| offer.is(other));
                if is_listed || offer.is_borrowed() {
                    index = index.wrapping_add(1);
                } else if let Ok(offer) = offers.remove(index) {
                    gone.push(offer, GFP_KERNEL)?;
                }
            }
        }
        // Outside the lock: files that are being read may be looking at the offers.
        for offer in gone {
            offer.hide();
        }
        for other in listed {
            match self.find(Address::from(other.address.get())) {
                Some(offer) => offer.update(other),
                None => self.add(other)?,
            }
        }
        Ok(())
    }

    fn add(self: &Arc<Self>, listed: &protocol::Offer) -> Result {
        let offer = Offer::new(self, listed)?;
        {
            // Held until the offer is shown: `close` finds it in the list afterwards.
            let files = self.files.lock();
            let Some(files) = &*files else { return Ok(()) };
            // First, so that whoever sees it can borrow it.
            self.offers.lock().push(offer.clone(), GFP_KERNEL)?;
            if let Err(error) = offer.show(files.offers()) {
                self.offers
                    .lock()
                    .retain(|other| !Arc::ptr_eq(other, &offer));
                return Err(error);
            }
        }
        self.link.report(|| {
            dev_info!(
                self.link.dev(),
                "peer offers {} ({:04x}:{:04x}), isolation: {}\n",
                ntb::shown::Shown(offer.address),
                listed.vendor.get(),
                listed.device.get(),
                offer.isolation().map_or("unknown", Isolation::as_str)
            )
        });
        Ok(())
    }
}

impl WorkItem for Remote {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let start = Instant::now();
        let updated = this.list().and_then(|listed| this.update(&listed));
        let is_late = matches!(updated, Err(error) if error == ETIMEDOUT);
        if !is_late {
            // The peer may have another list each time.
            this.rest(start);
        }
        let updated = updated.and_then(|()| wish::fulfil(&this));
        if is_late && !this.is_closed() {
            // The lender was busy; the request itself is the pause between two tries.
            this.refresh();
        }
        if let (Err(error), false) = (updated, this.is_closed()) {
            this.link.complain(|| {
                dev_err!(
                    this.link.dev(),
                    "cannot list the peer's offers ({error:?})\n"
                )
            });
        }
    }
}
