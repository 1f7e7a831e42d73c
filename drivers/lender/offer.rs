// SPDX-License-Identifier: GPL-2.0

//! A device that this host offers.

use crate::{
    lease::Active,
    previous::Previous,
    watch::Watch, //
};
use devlend_config::Bar;
use devlend_protocol::{
    self as protocol,
    Address,
    Audience,
    BarInfo,
    Isolation,
    Lease,
    OfferState,
    RevokeReason, //
};
use kernel::{
    device,
    pci::Device,
    sync::{
        aref::ARef,
        Arc, //
    },
};
use ntb::{
    link::Link,
    pci,
    sysfs::Dir, //
};

/// A device bound to our driver. It is in the registry for exactly as long as it is bound.
pub(crate) struct Offer {
    /// Where it is on this host.
    pub(crate) address: Address,
    /// The function; bound while the offer is in the registry.
    pub(crate) device: ARef<Device>,
    /// Who had it before.
    pub(crate) previous: Arc<Previous>,
    /// What holds it back.
    pub(crate) isolation: Isolation,
    /// Which links it is for.
    pub(crate) audience: Audience,
    /// Its memory BARs, at bus addresses of this host.
    pub(crate) bars: [Bar; 6],
    /// Who has the lease.
    pub(crate) lease: Lease,
    /// What there is while somebody has it.
    pub(crate) active: Option<Active>,
    /// Somebody is about to reset it.
    pub(crate) is_being_reset: bool,
    /// Woken when a lease ends.
    pub(crate) watch: Arc<Watch>,
    /// Why a command is just taking the device from its borrower.
    pub(crate) taking: Option<RevokeReason>,
    /// Its directory in sysfs; taken out before the offer is dropped, since its files look the offer up.
    pub(crate) dir: Option<Dir>,
}

impl Offer {
    /// The device, for log lines.
    pub(crate) fn dev(&self) -> &device::Device {
        (*self.device).as_ref()
    }

    /// Epoch of the lease, 0 if there is none.
    pub(crate) fn epoch(&self) -> u32 {
        self.lease.holder().map_or(0, |holder| holder.epoch.get())
    }

    /// Whether the host at the other end of a link may know of it.
    pub(crate) fn is_for(&self, link: &Link) -> bool {
        is_for(&self.audience, link)
    }

    /// Bus addresses and sizes of the BARs there are.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.bars
            .iter()
            .filter(|bar| bar.size != 0)
            .map(|bar| (bar.address, bar.size))
    }

    /// From the first to the last of its BARs: bus address and length; `None` if there is none.
    pub(crate) fn hull(&self) -> Option<(u64, u64)> {
        let start = self.ranges().map(|(at, _)| at).min()?;
        let end = self
            .ranges()
            .map(|(at, size)| at.saturating_add(size))
            .max()?;
        Some((start, end.saturating_sub(start)))
    }

    /// What the borrower at a link is told. What is lent to it itself it can open: if it asks, it does not know that it has it.
    pub(crate) fn describe(&self, link: &Link) -> protocol::Offer {
        let (vendor, device, class, revision) = pci::ids(&self.device);
        let state = if self.lease.is_free_for(link.id()) {
            OfferState::Available
        } else {
            OfferState::Taken
        };

        protocol::Offer {
            address: u32::from(self.address).into(),
            vendor: vendor.into(),
            device: device.into(),
            class: class.into(),
            revision,
            state: state.into(),
            isolation: self.isolation.into(),
            reserved: 0,
            bars: self.bars.map(|bar| BarInfo {
                size: bar.size.into(),
                flags: bar.flags.bits().into(),
            }),
        }
    }
}

/// Whether a link belongs to an audience.
pub(crate) fn is_for(audience: &Audience, link: &Link) -> bool {
    audience.admits(pci::address(link.pci()))
}
