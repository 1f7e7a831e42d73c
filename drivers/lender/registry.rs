// SPDX-License-Identifier: GPL-2.0

//! All offers of this host, and the MMIO windows that leases need.
//!
//! Lock order: the registry, then the list of links, then a link's locks. Our driver's probe and remove take the registry with the
//! device lock held, so nobody waits for a device lock with the registry held.

use crate::{
    offer::Offer,
    window::{
        Ntbs,
        Window, //
    },
};
use devlend_protocol::{
    mmio_span,
    widen,
    Address,
    NoSpace,
    Span, //
};
use kernel::{
    prelude::*,
    sync::{
        global_lock,
        GlobalGuard, //
    },
};
use ntb::{
    link::Link,
    pci, //
};

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    pub(crate) unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        offers: KVec::new(),
        windows: KVec::new(),
        last_epoch: 0,
    };
}

/// See the module.
pub(crate) struct Registry {
    /// The offers, in the order in which they were made.
    pub(crate) offers: KVec<Offer>,
    /// The MMIO windows of links, at most one each, while leases need them.
    windows: KVec<Window>,
    /// The epoch given out last: no two leases of this host have the same.
    pub(crate) last_epoch: u32,
}

/// Prepares the registry.
///
/// # Safety
///
/// Called once, when the module is loaded.
#[expect(unsafe_code)]
pub(crate) unsafe fn init() {
    // SAFETY: The caller promises that this is the one call, and the first use.
    unsafe { REGISTRY.init() };
    // Peers may remember epochs of the time before the module was loaded; half of the numbers are left to count.
    lock().last_epoch = pci::random() >> 1;
}

/// Its drop lets go of the registry's memory: nothing drops what is static. There are no offers by then.
pub(crate) struct Storage;

impl Drop for Storage {
    fn drop(&mut self) {
        let (offers, windows) = {
            let mut registry = lock();
            (
                core::mem::take(&mut registry.offers),
                core::mem::take(&mut registry.windows),
            )
        };
        drop((offers, windows));
    }
}

/// Locks the registry. Sleeps.
pub(crate) fn lock() -> GlobalGuard<REGISTRY> {
    REGISTRY.lock()
}

impl Registry {
    /// The offer at an address.
    pub(crate) fn find(&mut self, address: Address) -> Option<&mut Offer> {
        self.offers
            .iter_mut()
            .find(|offer| offer.address == address)
    }

    /// Takes an offer out.
    pub(crate) fn take(&mut self, address: Address) -> Option<Offer> {
        let index = self
            .offers
            .iter()
            .position(|offer| offer.address == address)?;
        self.offers.remove(index).ok()
    }

    /// What a link's MMIO window is to show, so that it shows the BARs of an offer.
    ///
    /// While no lease needs the window, it is laid over as many of the other offers for this link as there is room for, so that the
    /// next lease finds its place. While a lease needs it, it stays where it is.
    fn span_for(&self, link: &Link, offer: &Offer) -> Result<Span, Option<NoSpace>> {
        let plan = link.plan().ok_or(None)?;

        let span = mmio_span(offer.ranges(), &plan.mmio()).map_err(Some)?;
        if let Some(window) = self.window(link) {
            return if offer
                .ranges()
                .all(|(at, size)| window.span.offset_of(at, size).is_some())
            {
                Ok(window.span)
            } else {
                Err(Some(NoSpace {
                    needed: span.size,
                    available: plan.mmio().size,
                }))
            };
        }
        let ntbs = Ntbs::find().map_err(|_| None)?;
        if !ntbs.are_outside(&span) {
            link.complain(|| {
                dev_err!(
                    offer.dev(),
                    "its BARs share pages with an NTB, which the borrower must not reach; give them other addresses\n"
                )
            });
            return Err(None);
        }
        let others = self.offers.iter().filter(|offer| offer.is_for(link));
        Ok(widen(
            span,
            others.filter_map(Offer::hull),
            &plan.mmio(),
            |span| ntbs.are_outside(span),
        ))
    }

    fn window(&self, link: &Link) -> Option<&Window> {
        self.windows.iter().find(|window| window.link == link.id())
    }

    /// Opens a link's MMIO window for an offer; returns what it shows.
    ///
    /// # Errors
    ///
    /// `Err(Some)`: the BARs do not fit; `Err(None)`: they must not be shown, or the hardware refused.
    pub(crate) fn open_window(
        &mut self,
        link: &Link,
        address: Address,
    ) -> Result<Span, Option<NoSpace>> {
        let offer = self
            .offers
            .iter()
            .find(|offer| offer.address == address)
            .ok_or(None)?;
        let span = self.span_for(link, offer)?;
        if self.window(link).is_some() {
            return Ok(span);
        }
        self.windows.reserve(1, GFP_KERNEL).map_err(|_| None)?;
        let window = Window::open(link, span).map_err(|error| {
            link.complain(|| dev_err!(link.dev(), "cannot open the MMIO window: {error:?}\n"));
            None
        })?;
        self.windows.push(window, GFP_KERNEL).map_err(|_| None)?;
        Ok(span)
    }

    /// Closes a link's MMIO window if no lease needs it any more.
    pub(crate) fn close_window(&mut self, link: &Link) {
        let is_needed = self.offers.iter().any(|offer| {
            offer
                .active
                .as_ref()
                .is_some_and(|active| active.link.id() == link.id())
        });
        if !is_needed && self.window(link).is_some() {
            link.close_mmio();
            self.windows.retain(|window| window.link != link.id());
        }
    }
}
