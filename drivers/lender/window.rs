// SPDX-License-Identifier: GPL-2.0

//! What the MMIO window of a link shows while leases need it.

use devlend_protocol::Span;
use kernel::{
    pci::Device,
    prelude::*, //
};
use ntb::{
    link::Link,
    pci::{
        self,
        Mapping, //
    },
    role, //
};

/// An open window. Its drop takes away what the NTB may reach, but leaves the window as it is.
pub(crate) struct Window {
    /// Id of the link.
    pub(crate) link: u32,
    /// What is shown: bus addresses of this host.
    pub(crate) span: Span,
    /// What comes through the window bears the NTB's name, so an IOMMU has to know the span as the NTB's.
    _mapping: Mapping,
}

impl Window {
    /// Opens a link's window. May sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV`: the NTB device is gone; others from the PCI core or from the hardware driver.
    pub(crate) fn open(link: &Link, span: Span) -> Result<Self> {
        let mapping = link.with_device(|ntb| Mapping::new(ntb.pci(), span.base, span.size))?;
        link.open_mmio(mapping.address(), span.size)?;
        Ok(Self {
            link: link.id(),
            span,
            _mapping: mapping,
        })
    }
}

/// Whether a span shows no part of an NTB: through its registers the peer could open all of this host's memory. Those are NTBs that a
/// link uses, and all that has their class: others may use them, or nobody yet.
pub(crate) fn is_harmless(span: &Span) -> bool {
    let end = span.base.saturating_add(span.size);
    let is_shown = |device: &Device| {
        pci::bars(device).iter().any(|bar| {
            bar.size != 0 && bar.address < end && bar.address.saturating_add(bar.size) > span.base
        })
    };
    let mut is_harmless = !pci::any(|device| pci::is_other_bridge(device) && is_shown(device));
    role::for_each_link(|link| is_harmless &= !is_shown(link.pci()));
    is_harmless
}
