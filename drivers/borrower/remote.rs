// SPDX-License-Identifier: GPL-2.0

//! The host at the other end of one link, and what it offers.
//!
//! Lock order: `commands`, then an offer's lease, then `offers`, then `bar`. A request is sent with none of them held
//! but `commands`.

use crate::{
    attributes,
    offer::Offer, //
};
use devlend_protocol::{
    self as protocol,
    Address,
    List,
    Status, //
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use ntb::{
    link::{
        Link,
        Refusal, //
    },
    queue::OwnedQueue, //
};
use pci_shim::{
    Removal,
    WindowBar, //
};

/// No host offers more; a peer that says so is not believed.
const MAX_OFFERS: u32 = 256;

/// One peer.
#[pin_data]
pub(crate) struct Remote {
    /// The link to it.
    pub(crate) link: Arc<Link>,
    /// Where work of this remote runs.
    pub(crate) queue: Arc<OwnedQueue>,
    /// One borrow or return at a time.
    #[pin]
    pub(crate) commands: Mutex<()>,
    #[pin]
    offers: Mutex<KVec<Arc<Offer>>>,
    /// The NTB's BAR while something borrowed lies in it.
    #[pin]
    bar: Mutex<Option<Arc<WindowBar>>>,
    #[pin]
    files: Mutex<Option<attributes::Files>>,
    #[pin]
    refresh: Work<Remote>,
}

impl_has_work! {
    impl HasWork<Self> for Remote { self.refresh }
}

impl Remote {
    /// Shows the files of a link. May sleep.
    pub(crate) fn new(link: Arc<Link>, queue: Arc<OwnedQueue>) -> Result<Arc<Self>> {
        let remote = Arc::pin_init(
            pin_init!(Self {
                link,
                queue,
                commands <- new_mutex!((), "devlend_commands"),
                offers <- new_mutex!(KVec::new(), "devlend_offers"),
                bar <- new_mutex!(None, "devlend_bar"),
                files <- new_mutex!(None, "devlend_files"),
                refresh <- new_work!("devlend_refresh"),
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

    /// The NTB BAR with the MMIO window, made claimable.
    pub(crate) fn claim_bar(&self, address: u64) -> Result<Arc<WindowBar>> {
        let mut slot = self.bar.lock();
        if let Some(bar) = &*slot {
            return Ok(bar.clone());
        }
        let bar = self
            .link
            .with_device(|ntb| WindowBar::new(ntb.pci(), address))?;
        *slot = Some(bar.clone());
        Ok(bar)
    }

    /// Gives the NTB BAR back if nothing borrowed lies in it any more.
    pub(crate) fn release_bar(&self) {
        let is_needed = self.offers.lock().iter().any(|offer| offer.is_borrowed());
        if !is_needed {
            let bar = self.bar.lock().take();
            drop(bar);
        }
    }

    /// The link is down: what is borrowed is lost, at once for everybody who asks; removing it is queued.
    pub(crate) fn lose_all(self: &Arc<Self>) {
        for offer in self.snapshot() {
            offer.lose();
        }
        // What is not borrowed is offered no longer.
        self.refresh();
    }

    /// The lender has taken a lease back.
    pub(crate) fn revoke(&self, address: Address, epoch: u32) {
        if let Some(offer) = self
            .find(address)
            .filter(|offer| offer.epoch() == Some(epoch))
        {
            offer.lose();
        }
    }

    /// Takes everything away: for the end of the link or of the module. Sleeps for as long as drivers take to let go.
    pub(crate) fn close(&self, why: Removal) {
        // Commands first: when their files are gone nobody borrows any more.
        let files = self.files.lock().take();
        let dir = files.map(attributes::Files::without_commands);

        for offer in self.snapshot() {
            if why == Removal::ParentUnbound {
                offer.mark_gone();
            }
            offer.give_back(self, why);
            offer.hide();
        }
        self.offers.lock().clear();
        self.release_bar();
        drop(dir);
    }

    fn snapshot(&self) -> KVec<Arc<Offer>> {
        let offers = self.offers.lock();
        let mut snapshot = KVec::new();
        for offer in offers.iter() {
            // Without memory for the list nothing is done to the rest; their devices answer all ones anyway.
            if snapshot.push(offer.clone(), GFP_KERNEL).is_err() {
                break;
            }
        }
        snapshot
    }

    /// Asks the lender for its offers. There are none while the link is down.
    fn list(&self) -> Result<KVec<protocol::Offer>> {
        let mut listed = KVec::new();
        let Ok(peer) = self.link.peer() else {
            return Ok(listed);
        };
        for index in 0..MAX_OFFERS {
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
            let files = self.files.lock();
            let Some(files) = &*files else { return Ok(()) };
            offer.show(files.offers())?;
        }
        dev_info!(
            self.link.dev(),
            "peer offers {} ({:04x}:{:04x})\n",
            ntb::shown::Shown(offer.address),
            listed.vendor.get(),
            listed.device.get()
        );
        Ok(self.offers.lock().push(offer, GFP_KERNEL)?)
    }
}

impl WorkItem for Remote {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let updated = this.list().and_then(|listed| this.update(&listed));
        if let Err(error) = updated {
            dev_err!(
                this.link.dev(),
                "cannot list the peer's offers ({error:?})\n"
            );
        }
    }
}
