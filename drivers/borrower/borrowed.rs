// SPDX-License-Identifier: GPL-2.0

//! A lease, from this side: opened with the lender, checked, and given a root bus.

use crate::{
    offer::Offer,
    remote::Remote,
    shadow::Shadow, //
};
use devlend_config::{
    check_bars,
    Bar,
    Policy, //
};
use devlend_protocol::{
    Clunk,
    Failure,
    Image,
    Open,
    OpenReply,
    IMAGE_CHUNK, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use ntb::{
    errno::eproto,
    link::{
        Link,
        Peer,
        Refusal,
        Scope, //
    },
    shown::Shown, //
};
use pci_shim::{
    Description,
    DmaWindow,
    Removal,
    RootBus, //
};

/// Granule in which a window is claimed, bytes.
const PAGE: u64 = 4096;

/// A device we have.
pub(crate) struct Borrowed {
    /// Its bus.
    pub(crate) bus: Arc<RootBus>,
    /// Its configuration space.
    pub(crate) shadow: Arc<Shadow>,
}

/// An open lease that goes back to the lender unless it is put to use.
struct Lease<'a> {
    link: &'a Link,
    scope: Scope,
    kept: bool,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.link.request(self.scope, &Clunk {});
        }
    }
}

impl Borrowed {
    /// Opens the lease, and makes all that is needed to add the device. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY`: taken; `ENOENT`: the offer is gone; `ENOSPC`: a window is too small; `EPROTO`: the lender's answer
    /// makes no sense; `ENOTCONN`, `ETIMEDOUT`: the link.
    pub(crate) fn open(remote: &Remote, offer: &Arc<Offer>, peer: &Peer) -> Result<Arc<Self>> {
        let link = &remote.link;
        let reply = link
            .request(
                peer.scope(0),
                &Open {
                    address: u32::from(offer.address).into(),
                },
            )
            .map_err(|refusal| refused(link, offer, refusal))?;
        let mut lease = Lease {
            link,
            scope: peer.scope(reply.epoch.get()),
            kept: false,
        };

        let bars = check(link, offer, peer, &reply)?;
        let plan = link.plan().ok_or(ENODEV)?;
        let (start, length) = extent(&bars, &reply, peer)?;
        let image = fetch_image(link, lease.scope, reply.config_size.get())?;
        let policy = Policy::of(&image).map_err(|malformed| {
            dev_err!(
                link.dev(),
                "{}: its configuration space makes no sense: {}\n",
                Shown(offer.address),
                Shown(malformed)
            );
            eproto()
        })?;
        let shadow = Shadow::new(
            link.clone(),
            lease.scope,
            bars,
            KBox::new(policy, GFP_KERNEL)?,
            image,
            offer.clone(),
        )?;
        let window_start = peer.mmio.base.checked_add(start).ok_or_else(eproto)?;
        let bus = RootBus::new(Description {
            bar: remote.claim_bar(peer.mmio.base)?,
            window_start,
            window_len: length,
            bus_start: reply
                .mmio_base
                .get()
                .checked_add(start)
                .ok_or_else(eproto)?,
            dma: DmaWindow {
                base: reply.dma_base.get(),
                size: plan.memory_size.min(reply.dma_size.get()),
            },
            msi_base: reply.msi_base.get(),
            ops: shadow.clone(),
        })
        .inspect_err(|error| {
            dev_err!(
                link.dev(),
                "{}: no root bus for it ({error:?})\n",
                Shown(offer.address)
            );
            remote.release_bar();
        })?;
        let borrowed = Arc::new(Self { bus, shadow }, GFP_KERNEL)?;
        lease.kept = true;
        Ok(borrowed)
    }

    /// Makes everything about the device fail at once.
    pub(crate) fn mark_gone(&self) {
        self.shadow.set_gone();
        self.bus.mark_gone();
    }

    /// Removes the device and its bus. Sleeps for as long as its driver takes to let go.
    pub(crate) fn remove(&self, why: Removal) {
        self.bus.remove(why);
    }

    /// Ends the lease with the lender; if the link is down it has ended already.
    pub(crate) fn clunk(&self, link: &Link) {
        if !link.is_up() {
            return;
        }
        if let Err(refusal) = link.request(self.shadow.scope(), &Clunk {}) {
            let error: Error = refusal.into();
            dev_warn!(
                link.dev(),
                "the lender did not take the device back ({error:?}); it will when it notices\n"
            );
        }
    }
}

/// Says why the lender refused.
fn refused(link: &Link, offer: &Offer, refusal: Refusal) -> Error {
    match &refusal {
        Refusal::Peer(Failure::NoSpace(no_space)) => dev_err!(
            link.dev(),
            "{}: its BARs do not fit the MMIO window: {}\n",
            Shown(offer.address),
            Shown(*no_space)
        ),
        Refusal::Peer(failure) => {
            dev_err!(
                link.dev(),
                "{}: the lender refuses: {}\n",
                Shown(offer.address),
                Shown(*failure)
            )
        }
        Refusal::Local(error) => {
            dev_err!(
                link.dev(),
                "{}: the lender does not answer ({error:?})\n",
                Shown(offer.address)
            )
        }
    }
    refusal.into()
}

/// Believes the lender's answer only where it fits our windows and our memory.
fn check(link: &Link, offer: &Offer, peer: &Peer, reply: &OpenReply) -> Result<[Bar; 6]> {
    let wrong = |what: &str| {
        dev_err!(
            link.dev(),
            "{}: the lender's answer makes no sense: {what}\n",
            Shown(offer.address)
        );
        eproto()
    };

    if reply.epoch.get() == 0 {
        return Err(wrong("epoch"));
    }
    if !matches!(reply.config_size.get(), 256 | 4096) {
        return Err(wrong("configuration space size"));
    }
    if reply.mmio_size.get() > peer.mmio.size {
        return Err(wrong("MMIO window size"));
    }
    if reply
        .dma_base
        .get()
        .checked_add(reply.dma_size.get())
        .is_none()
    {
        return Err(wrong("memory window"));
    }
    let needed = link.plan().ok_or(ENODEV)?.dma_needed;
    if reply.dma_size.get() < needed {
        dev_err!(
            link.dev(),
            "{}: the lender's window shows the device {} bytes of this host's memory, {} are needed\n",
            Shown(offer.address),
            reply.dma_size.get(),
            needed
        );
        return Err(ENOSPC);
    }

    let mut bars = [Bar::default(); 6];
    for (bar, told) in bars.iter_mut().zip(&reply.bars) {
        let kind = told.flags().ok_or_else(|| wrong("BAR flags"))?;
        *bar = Bar {
            size: told.size.get(),
            // The bits are the same on the wire and in a register's image.
            flags: devlend_config::BarFlags::from_bits(kind.bits())
                .ok_or_else(|| wrong("BAR flags"))?,
            address: told.address.get(),
        };
        if bar.size == 0 {
            continue;
        }
        let offset = bar.address.checked_sub(reply.mmio_base.get());
        let end = offset.and_then(|offset| offset.checked_add(bar.size));
        if end.is_none_or(|end| end > reply.mmio_size.get()) {
            return Err(wrong("BAR outside the MMIO window"));
        }
    }
    check_bars(&bars).map_err(|_| wrong("BARs"))?;
    Ok(bars)
}

/// The part of the MMIO window with the BARs in it, whole pages: offset and length.
fn extent(bars: &[Bar; 6], reply: &OpenReply, peer: &Peer) -> Result<(u64, u64)> {
    let base = reply.mmio_base.get();
    let present = || bars.iter().filter(|bar| bar.size != 0);

    let start = present()
        .map(|bar| bar.address.wrapping_sub(base))
        .min()
        .ok_or(ENODEV)?;
    let end = present()
        .filter_map(|bar| bar.address.wrapping_sub(base).checked_add(bar.size))
        .max()
        .ok_or(ENODEV)?;
    let start = start - start % PAGE;
    let end = end
        .checked_next_multiple_of(PAGE)
        .filter(|end| *end <= peer.mmio.size)
        .ok_or_else(eproto)?;
    Ok((start, end.checked_sub(start).ok_or_else(eproto)?))
}

fn fetch_image(link: &Link, scope: Scope, size: u16) -> Result<KVec<u8>> {
    let mut image = KVec::with_capacity(size.into(), GFP_KERNEL)?;
    // CAST: A small constant.
    for offset in (0..size).step_by(IMAGE_CHUNK) {
        let chunk = link
            .request(
                scope,
                &Image {
                    offset: offset.into(),
                },
            )
            .map_err(Error::from)?;
        image.extend_from_slice(&chunk.bytes, GFP_KERNEL)?;
    }
    Ok(image)
}
