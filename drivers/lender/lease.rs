// SPDX-License-Identifier: GPL-2.0

//! What a lease holds on this host: mappings for the device's DMA, and what the borrower sees of its configuration
//! space.

use crate::{
    config,
    intx::Relay,
    offer::Offer, //
};
use devlend_config::{
    present,
    Policy,
    Saved, //
};
use devlend_protocol::{
    OpenBar,
    OpenReply,
    Span,
    Status,
    MSI_RANGE, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use ntb::{
    device::Outbound,
    link::{
        Link,
        Peer, //
    },
    pci::{
        self,
        Mapping, //
    },
};

/// What there is of a lease. Its drop lets go of the mappings and of the interrupt.
pub(crate) struct Active {
    /// The link to the borrower.
    pub(crate) link: Arc<Link>,
    /// Which of its registers the borrower may touch.
    pub(crate) policy: KBox<Policy>,
    /// What it sees at first.
    pub(crate) image: KVec<u8>,
    /// What brings it the device's INTx, if something does.
    pub(crate) intx: Option<Relay>,
    /// While the device is reset: what the borrower had set up.
    pub(crate) saved: Option<Saved>,
    memory: Mapping,
    msi: Mapping,
}

impl Active {
    /// Prepares a lease of `offer` for the host at the other end of `link`.
    ///
    /// # Errors
    ///
    /// [`Status::Io`]: the device cannot be mapped or has no usable configuration space; [`Status::Gone`]: the link
    /// went down.
    pub(crate) fn new(offer: &Offer, link: &Arc<Link>) -> Result<Self, Status> {
        let peer = link.peer().map_err(|_| Status::Gone)?;
        let map = |base, size| {
            Mapping::new(&offer.device, base, size).map_err(|error| {
                link.complain(|| {
                    dev_err!(
                        offer.dev(),
                        "cannot map {size:#x} bytes at {base:#x} for the device: {error:?}\n"
                    )
                });
                Status::Io
            })
        };

        let intx = Relay::new(offer, link, &peer);
        let image = image(offer, link, intx.is_some())?;
        let policy = Policy::of(&image).map_err(|malformed| unusable(offer, link, malformed))?;
        Ok(Self {
            link: link.clone(),
            policy: KBox::new(policy, GFP_KERNEL).map_err(|_| Status::Io)?,
            image,
            intx,
            saved: None,
            memory: match at_zero(offer, &peer) {
                Some(mapping) => mapping,
                None => map(peer.memory.base, peer.memory.size)?,
            },
            msi: map(peer.msi, MSI_RANGE.1)?,
        })
    }

    /// What the borrower needs to know.
    pub(crate) fn describe(&self, offer: &Offer, epoch: u32, span: Span) -> OpenReply {
        // CAST: The size of the image is 256 or 4096, that of the window was a `u64`.
        OpenReply {
            epoch: epoch.into(),
            config_size: (self.image.len() as u16).into(),
            reserved: 0.into(),
            mmio_base: span.base.into(),
            mmio_size: span.size.into(),
            dma_base: self.memory.address().into(),
            dma_size: (self.memory.size() as u64).into(),
            msi_base: self.msi.address().into(),
            bars: offer.bars.map(|bar| OpenBar {
                address: bar.address.into(),
                size: bar.size.into(),
                flags: bar.flags.bits().into(),
                reserved: 0.into(),
            }),
        }
    }
}

/// The borrower's memory where the borrower has it, if an IOMMU can put it there: so that also devices with few address bits
/// reach it, and so that the borrower's IOMMU may choose the addresses.
///
/// [`None`]: the device sees it elsewhere. Addresses of [`MSI_RANGE`] are interrupts here, too.
fn at_zero(offer: &Offer, peer: &Peer) -> Option<Mapping> {
    let Outbound { base, size } = peer.memory;
    if size > MSI_RANGE.0 {
        return None;
    }
    Mapping::new_at(&offer.device, 0, base, size).ok()
}

fn unusable(offer: &Offer, link: &Link, malformed: devlend_config::Malformed) -> Status {
    link.complain(|| {
        dev_err!(
            offer.dev(),
            "configuration space cannot be shown to a borrower: {}\n",
            ntb::shown::Shown(malformed)
        )
    });
    Status::Io
}

/// Reads the device's configuration space, and makes of it what a borrower sees.
fn image(offer: &Offer, link: &Link, intx: bool) -> Result<KVec<u8>, Status> {
    let space = config::whole(&offer.device, |device, at| pci::read_config(device, at, 4))
        .map_err(|_| Status::Io)?;
    let mut image = KVec::from_elem(0u8, space.len(), GFP_KERNEL).map_err(|_| Status::Io)?;
    present(&space, &offer.bars, intx, &mut image)
        .map_err(|malformed| unusable(offer, link, malformed))?;
    Ok(image)
}

/// Ends a lease: DMA stops first, then the mappings go. The window is the registry's to close, then the device is to be
/// reset.
pub(crate) fn end(offer: &mut Offer) -> Option<Arc<Link>> {
    offer.active.as_ref()?;
    stop(offer);
    offer.lease.end();
    release(offer)
}

/// The same for a device that is cut off by an error, and reset by the PCI core; its lease has not to be there.
pub(crate) fn cut_off(offer: &mut Offer) -> Option<Arc<Link>> {
    stop(offer);
    offer.lease.cut_off();
    release(offer)
}

/// Stops the device, whose interrupt handler must not write Command at the same time.
fn stop(offer: &Offer) {
    let active = offer.active.as_ref();
    if let Some(intx) = active.and_then(|active| active.intx.as_ref()) {
        intx.hold();
    }
    pci::stop(&offer.device);
}

fn release(offer: &mut Offer) -> Option<Arc<Link>> {
    offer.watch.wake();
    offer.active.take().map(|active| active.link.clone())
}
