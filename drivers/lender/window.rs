// SPDX-License-Identifier: GPL-2.0

//! What the MMIO window of a link shows while leases need it.

use devlend_config::Bar;
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

/// Where the NTBs of this host are: through their registers a peer could open all of its memory. They are those that links use, and
/// all that has their class: others may use them, or nobody yet.
pub(crate) struct Ntbs {
    bars: KVec<Bar>,
}

impl Ntbs {
    /// Looks for them. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn find() -> Result<Self> {
        let mut bars = KVec::new();
        let mut result = Ok(());
        let mut note = |device: &Device| {
            if result.is_ok() {
                result = bars.extend_from_slice(&pci::bars(device), GFP_KERNEL);
            }
        };
        pci::for_each(|device| {
            if pci::is_other_bridge(device) {
                note(device);
            }
        });
        role::for_each_link(|link| note(link.pci()));
        result?;
        Ok(Self { bars })
    }

    /// Whether a span shows no part of them.
    pub(crate) fn are_outside(&self, span: &Span) -> bool {
        let end = span.base.saturating_add(span.size);
        self.bars.iter().all(|bar| {
            bar.size == 0 || bar.address >= end || bar.address.saturating_add(bar.size) <= span.base
        })
    }
}
