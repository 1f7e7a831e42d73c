// SPDX-License-Identifier: GPL-2.0

//! Devices that are borrowed again whenever they were lost, until somebody returns them.

use crate::{
    command,
    offer::{
        Ids,
        Offer, //
    },
    remote::Remote, //
};
use devlend_protocol::{
    Address,
    BorrowingState,
    DmaMode,
    Retry, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};
use ntb::{
    shown::Shown,
    ticker::{
        self,
        Tick,
        Ticking, //
    },
};

/// One device to have again.
struct Wish {
    address: Address,
    /// What it was: another device in its place is not what was wished for.
    ids: Ids,
    /// The DMA mode to have it in, if not in any.
    dma: Option<DmaMode>,
    /// Attempts since the device was had last, or since the link came up.
    retry: Retry,
    /// The attempt before, and how long to wait after it.
    last: Option<(Instant<Monotonic>, Delta)>,
}

impl Wish {
    /// Time until it may be tried, ms.
    fn wait_ms(&self) -> i64 {
        self.last.map_or(0, |(at, delay)| {
            delay.as_millis().saturating_sub(at.elapsed().as_millis())
        })
    }
}

/// The wishes of one link.
#[pin_data]
pub(crate) struct Wishes {
    #[pin]
    list: Mutex<KVec<Wish>>,
    /// Runs while an attempt waits for its time.
    #[pin]
    timer: Mutex<Option<Ticking<Remote>>>,
}

impl Wishes {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(KVec::new(), "devlend_wishes"),
            timer <- new_mutex!(None, "devlend_wishes_timer"),
        })
    }

    /// Whether a device is wished for.
    pub(crate) fn has(&self, address: Address) -> bool {
        self.list.lock().iter().any(|wish| wish.address == address)
    }

    /// Adds a wish, or changes the one there is.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add(&self, offer: &Offer, dma: Option<DmaMode>) -> Result {
        let mut list = self.list.lock();
        if let Some(wish) = list.iter_mut().find(|wish| wish.address == offer.address) {
            wish.dma = dma;
            return Ok(());
        }
        let wish = Wish {
            address: offer.address,
            ids: offer.ids,
            dma,
            retry: Retry::new(),
            last: None,
        };
        Ok(list.push(wish, GFP_KERNEL)?)
    }

    /// Forgets a wish; false if there is none.
    pub(crate) fn forget(&self, address: Address) -> bool {
        let mut list = self.list.lock();
        let before = list.len();
        list.retain(|wish| wish.address != address);
        list.len() != before
    }

    /// The link is up again: all is to be tried anew.
    pub(crate) fn renew(&self) {
        for wish in self.list.lock().iter_mut() {
            wish.retry = Retry::new();
        }
    }

    /// A device is there: the next loss is another matter.
    pub(crate) fn fulfilled(&self, address: Address) {
        let mut list = self.list.lock();
        if let Some(wish) = list.iter_mut().find(|wish| wish.address == address) {
            wish.retry = Retry::new();
        }
    }

    /// Nothing is tried any more when this returns, if nobody begins to.
    pub(crate) fn stop(&self) {
        let timer = self.timer.lock().take();
        drop(timer);
    }

    /// Counts an attempt to have what is offered, if it is time for one: which it is, and the DMA mode.
    fn attempt(&self, offer: &Offer) -> Option<(usize, Option<DmaMode>)> {
        let mut list = self.list.lock();
        let wish = list
            .iter_mut()
            .find(|wish| wish.address == offer.address)
            .filter(|wish| wish.retry.may_try() && wish.wait_ms() <= 0)?;
        let delay = wish.retry.attempt().unwrap_or(0);
        wish.last = Some((Instant::now(), Delta::from_secs(delay.into())));
        Some((wish.retry.made(), wish.dma))
    }

    /// Time until the first of the offers that may be tried can be, ms.
    fn next_ms(&self, open: &[Arc<Offer>]) -> Option<i64> {
        self.list
            .lock()
            .iter()
            .filter(|wish| wish.retry.may_try())
            .filter(|wish| open.iter().any(|offer| offer.address == wish.address))
            .map(Wish::wait_ms)
            .min()
    }

    /// Whether what is offered now is not what was had.
    fn is_other(&self, offer: &Offer) -> bool {
        let list = self.list.lock();
        let wish = list.iter().find(|wish| wish.address == offer.address);
        wish.is_some_and(|wish| {
            (wish.ids.vendor, wish.ids.device) != (offer.ids.vendor, offer.ids.device)
        })
    }
}

impl Tick for Remote {
    fn tick(this: &Arc<Self>) -> Option<Delta> {
        this.refresh();
        None
    }
}

/// Borrows what is wished for and offered. Sleeps for round trips to the lender.
pub(crate) fn fulfil(remote: &Arc<Remote>) -> Result {
    let _one = remote.commands.lock();
    if remote.is_closed() {
        return Ok(());
    }
    for offer in wished(remote)? {
        // Who closes it waits for one device at the most.
        if remote.is_closed() {
            return Ok(());
        }
        if remote.wishes.is_other(&offer) {
            remote.wishes.forget(offer.address);
            dev_warn!(
                remote.link.dev(),
                "{} is another device now: not borrowed again\n",
                Shown(offer.address)
            );
            continue;
        }
        let Some((number, dma)) = remote.wishes.attempt(&offer) else {
            continue;
        };
        dev_info!(
            remote.link.dev(),
            "borrowing {} again, attempt {number} of {}\n",
            Shown(offer.address),
            Retry::MOST
        );
        if let Err(error) = command::open(remote, &offer, dma) {
            let end = if number == Retry::MOST {
                "; not tried any more until the link comes up again"
            } else {
                ""
            };
            dev_warn!(
                remote.link.dev(),
                "{} was not borrowed again ({error:?}){end}\n",
                Shown(offer.address)
            );
        }
    }
    // What is left is tried when its time comes.
    remote.wishes.stop();
    if let Some(ms) = remote.wishes.next_ms(&wished(remote)?) {
        let timer = ticker::start(remote, Delta::from_millis(ms.max(1)))?;
        *remote.wishes.timer.lock() = Some(timer);
    }
    Ok(())
}

/// What is wished for, offered, and free.
fn wished(remote: &Remote) -> Result<KVec<Arc<Offer>>> {
    let mut free = KVec::new();
    remote.for_each_offer(|offer| {
        if offer.state() == BorrowingState::Available
            && !offer.is_borrowed()
            && remote.wishes.has(offer.address)
        {
            free.push(offer.clone(), GFP_KERNEL)?;
        }
        Ok(())
    })?;
    Ok(free)
}
