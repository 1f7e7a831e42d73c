// SPDX-License-Identifier: GPL-2.0

//! All offers of this host, and the parts of MMIO windows that leases need.
//!
//! Lock order: the lender role's lock (held by a request), then the registry, then a link's locks. Our driver's probe
//! and remove take the registry with the device lock held, so nobody waits for a device lock with the registry held.

use crate::offer::Offer;
use devlend_protocol::{
    mmio_span,
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
use ntb::link::Link;

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    pub(crate) unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        offers: KVec::new(),
        spans: KVec::new(),
        last_epoch: 0,
    };
}

/// See the module.
pub(crate) struct Registry {
    /// The offers, in the order in which they were made.
    pub(crate) offers: KVec<Offer>,
    /// What the MMIO window of a link, by its id, shows while leases need it.
    spans: KVec<(u32, Span)>,
    /// The highest epoch ever given out: epochs are not used twice, even if a device is offered anew.
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

    /// Where in a link's MMIO window the BARs of an offer can be, with a span that covers them.
    ///
    /// While no lease needs the window, it is laid over all offers if they fit, so that the next lease finds its place;
    /// else over this one. While a lease needs it, it stays where it is.
    fn span_for(&self, link: &Link, offer: &Offer) -> Result<Span, NoSpace> {
        let plan = link.plan().ok_or(NoSpace {
            needed: 0,
            available: 0,
        })?;
        let fit = |ranges: &mut dyn Iterator<Item = (u64, u64)>| {
            mmio_span(ranges, plan.mmio_size, plan.mmio_align)
        };

        if let Some((_, span)) = self.spans.iter().find(|(id, _)| *id == link.id()) {
            return if offer
                .ranges()
                .all(|(at, size)| span.offset_of(at, size).is_some())
            {
                Ok(*span)
            } else {
                let needed = offer.ranges().map(|(_, size)| size).sum();
                Err(NoSpace {
                    needed,
                    available: 0,
                })
            };
        }
        fit(&mut self.offers.iter().flat_map(Offer::ranges)).or_else(|_| fit(&mut offer.ranges()))
    }

    /// Opens a link's MMIO window for an offer; returns what it shows.
    ///
    /// # Errors
    ///
    /// `Err(Some)`: the BARs do not fit; `Err(None)`: the hardware refused.
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
        let span = self.span_for(link, offer).map_err(Some)?;
        if self.spans.iter().any(|(id, _)| *id == link.id()) {
            return Ok(span);
        }
        self.spans.reserve(1, GFP_KERNEL).map_err(|_| None)?;
        link.open_mmio(span.base, span.size).map_err(|_| None)?;
        self.spans
            .push((link.id(), span), GFP_KERNEL)
            .map_err(|_| None)?;
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
        if !is_needed {
            link.close_mmio();
            self.spans.retain(|(id, _)| *id != link.id());
        }
    }
}
