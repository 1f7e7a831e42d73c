// SPDX-License-Identifier: GPL-2.0

//! Whether a lease fits the borrower: the lender says where everything is, and may say anything.

use core::fmt;

use crate::{
    dma::{
        DmaMode,
        DmaPlan, //
    },
    message::{
        OpenBar,
        OpenReply, //
    },
};

/// Granule in which a window is claimed, bytes.
const PAGE: u64 = 4096;

/// A part of the MMIO window that a device needs, whole pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// From the start of the window, bytes.
    pub offset: u64,
    /// Bytes, not 0.
    pub length: u64,
}

impl Extent {
    /// The first byte behind it. It lies in a window, so there is one.
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The parts of the MMIO window that a device needs: one a register, or fewer where they touch. What lies between them may be
/// another device's, as it is with the virtual functions of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extents([Extent; 6]);

impl Extents {
    /// The parts, none of which touches another.
    pub fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        self.0.iter().copied().filter(|extent| extent.length != 0)
    }

    /// Adds a part, and joins it with those that it touches.
    fn add(&mut self, mut new: Extent) {
        for old in &mut self.0 {
            if old.length != 0 && old.offset <= new.end() && new.offset <= old.end() {
                let end = old.end().max(new.end());
                new.offset = new.offset.min(old.offset);
                new.length = end.saturating_sub(new.offset);
                *old = Extent::default();
            }
        }
        // There is a place for each register.
        if let Some(place) = self.0.iter_mut().find(|old| old.length == 0) {
            *place = new;
        }
    }
}

/// Why a lease does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// There is no lease with the epoch 0.
    Epoch,
    /// A configuration space has 256 or 4096 bytes.
    ConfigSize,
    /// More of the MMIO window is said to be translated than there is.
    WindowSize,
    /// The device would see our memory across the end of its addresses.
    MemoryWindow,
    /// The device would not see all of our memory.
    MemoryShown {
        /// What it would see, bytes.
        shown: u64,
    },
    /// The device would see our memory elsewhere than at address 0, where our IOMMU has it.
    MemoryElsewhere {
        /// Where it would.
        base: u64,
    },
    /// A base address register of a kind that does not exist.
    BarFlags,
    /// A base address register outside of what is translated.
    BarOutside,
    /// There is nothing to be borrowed.
    NoBars,
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoch => "epoch",
            Self::ConfigSize => "configuration space size",
            Self::WindowSize => "MMIO window size",
            Self::MemoryWindow => "memory window",
            Self::BarFlags => "BAR flags",
            Self::BarOutside => "BAR outside the MMIO window",
            Self::NoBars => "no BARs",
            Self::MemoryShown { shown } => {
                return write!(f, "only {shown} bytes of memory");
            }
            Self::MemoryElsewhere { base } => {
                return write!(f, "memory at {base:#x}");
            }
        })
    }
}

/// Checks a lease against our windows: the MMIO window has `window` bytes, and the device has to see our memory as `dma`
/// needs it. Whether the base address registers can exist side by side is not looked at.
///
/// # Errors
///
/// The first thing that does not fit.
pub fn check(lease: &OpenReply, window: u64, dma: &DmaPlan) -> Result<Extents, GrantError> {
    if lease.epoch.get() == 0 {
        return Err(GrantError::Epoch);
    }
    if !matches!(lease.config_size.get(), 256 | 4096) {
        return Err(GrantError::ConfigSize);
    }
    if lease.mmio_size.get() > window {
        return Err(GrantError::WindowSize);
    }
    let shown = lease.dma_size.get();
    if lease.dma_base.get().checked_add(shown).is_none() {
        return Err(GrantError::MemoryWindow);
    }
    if shown < dma.needed {
        return Err(GrantError::MemoryShown { shown });
    }
    let base = lease.dma_base.get();
    if dma.mode == DmaMode::Iommu && base != 0 {
        return Err(GrantError::MemoryElsewhere { base });
    }
    let mut extents = Extents::default();
    for bar in &lease.bars {
        bar.flags().ok_or(GrantError::BarFlags)?;
        if bar.size.get() == 0 {
            continue;
        }
        let (start, end) = place(bar, lease).ok_or(GrantError::BarOutside)?;
        // Whole pages, which may be more than is translated, but not more than there is.
        let offset = start - start % PAGE;
        let end = end.checked_next_multiple_of(PAGE);
        let end = end.filter(|&end| end <= window);
        extents.add(Extent {
            offset,
            length: end.ok_or(GrantError::WindowSize)? - offset,
        });
    }
    if extents.iter().next().is_none() {
        return Err(GrantError::NoBars);
    }
    Ok(extents)
}

/// Where a register begins and ends in the window; `None` if it is not in what is translated.
fn place(bar: &OpenBar, lease: &OpenReply) -> Option<(u64, u64)> {
    let start = bar.address.get().checked_sub(lease.mmio_base.get())?;
    let end = start.checked_add(bar.size.get())?;
    (end <= lease.mmio_size.get()).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Lie = fn(&mut OpenReply);

    const WINDOW: u64 = 64 << 20;
    const NEEDED: u64 = 1 << 30;
    const LINEAR: DmaPlan = DmaPlan {
        mode: DmaMode::Linear,
        needed: NEEDED,
        limit: u64::MAX,
    };

    fn honest() -> OpenReply {
        let mut bars = [OpenBar::default(); 6];
        bars[0] = bar(0xfe00_4000, 0x4000, 1);
        bars[2] = bar(0xfe10_0100, 0x100, 0);
        OpenReply {
            epoch: 7.into(),
            config_size: 4096.into(),
            reserved: 0.into(),
            mmio_base: 0xfe00_0000.into(),
            mmio_size: 0x20_0000.into(),
            dma_base: (1 << 40).into(),
            dma_size: NEEDED.into(),
            msi_base: 0.into(),
            bars,
        }
    }

    fn bar(address: u64, size: u64, flags: u32) -> OpenBar {
        OpenBar {
            address: address.into(),
            size: size.into(),
            flags: flags.into(),
            reserved: 0.into(),
        }
    }

    #[test]
    fn what_is_true_fits() {
        let extents = |lease: &OpenReply| {
            let extents = check(lease, WINDOW, &LINEAR).unwrap();
            let mut list: Vec<_> = extents.iter().map(|it| (it.offset, it.length)).collect();
            list.sort_unstable();
            list
        };
        assert_eq!(extents(&honest()), [(0x4000, 0x4000), (0x10_0000, 0x1000)]);
        // What touches is one part, whatever the order: the kernel would join it, in the middle of its tree.
        let mut touching = honest();
        touching.bars[2] = bar(0xfe00_9000, 0x1000, 0);
        touching.bars[3] = bar(0xfe00_8000, 0x800, 0);
        touching.bars[4] = bar(0xfe00_8800, 0x100, 0);
        assert_eq!(extents(&touching), [(0x4000, 0x6000)]);
    }

    #[test]
    fn what_is_not_true_does_not() {
        let lies: [(GrantError, Lie); 13] = [
            (GrantError::Epoch, |it| it.epoch = 0.into()),
            (GrantError::ConfigSize, |it| it.config_size = 257.into()),
            (GrantError::WindowSize, |it| {
                it.mmio_size = (WINDOW + 1).into();
            }),
            (GrantError::MemoryWindow, |it| {
                it.dma_base = (u64::MAX - NEEDED + 1).into();
            }),
            (GrantError::MemoryShown { shown: NEEDED - 1 }, |it| {
                it.dma_size = (NEEDED - 1).into();
            }),
            (GrantError::BarFlags, |it| {
                it.bars[0].flags = u32::MAX.into()
            }),
            (GrantError::BarOutside, |it| {
                it.bars[0] = bar(0xfdff_f000, 0x4000, 1);
            }),
            (GrantError::BarOutside, |it| {
                it.bars[0] = bar(0xfe20_0000, 0x4000, 1);
            }),
            (GrantError::BarOutside, |it| {
                it.bars[0] = bar(0xfe00_0000, u64::MAX, 1);
            }),
            (GrantError::BarOutside, |it| it.mmio_size = 0.into()),
            (GrantError::BarOutside, |it| {
                it.mmio_base = (u64::MAX - 4095).into();
                it.bars[0] = bar(u64::MAX - 15, 4096, 0);
            }),
            (GrantError::NoBars, |it| it.bars = Default::default()),
            (GrantError::WindowSize, |it| {
                // Translated up to the very end, which is no whole page.
                it.mmio_size = (0x10_0200).into();
            }),
        ];
        for (wanted, lie) in lies {
            let mut lease = honest();
            lie(&mut lease);
            // For the last one the window ends there, too.
            let window = if lease.mmio_size.get() == 0x10_0200 {
                0x10_0200
            } else {
                WINDOW
            };
            assert_eq!(check(&lease, window, &LINEAR), Err(wanted), "{lease:?}");
        }
    }

    #[test]
    fn an_iommu_wants_the_device_to_use_its_own_addresses() {
        let iommu = DmaPlan {
            mode: DmaMode::Iommu,
            ..LINEAR
        };
        let mut lease = honest();
        let base = lease.dma_base.get();
        assert_eq!(
            check(&lease, WINDOW, &iommu),
            Err(GrantError::MemoryElsewhere { base })
        );
        lease.dma_base = 0.into();
        assert!(check(&lease, WINDOW, &iommu).is_ok());
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (0..64_u32).prop_map(|bit| 1 << bit),
            0..WINDOW,
            (0..WINDOW).prop_map(|less| u64::MAX - less),
        ]
    }

    proptest! {
        /// Nothing of what fits lies outside of the window, or of what is shown.
        #[test]
        fn whatever_fits_is_in_the_window(
            base in number(), size in number(), window in number(), needed in number(), dma in [number(), number()],
            bars in prop::array::uniform6((number(), number(), 0..4_u32)),
        ) {
            let mut lease = honest();
            lease.mmio_base = base.into();
            lease.mmio_size = size.into();
            lease.dma_base = dma[0].into();
            lease.dma_size = dma[1].into();
            lease.bars = bars.map(|(address, size, flags)| bar(base.wrapping_add(address), size, flags));
            if let Ok(extents) = check(&lease, window, &DmaPlan { needed, ..LINEAR }) {
                let mut end = None;
                let mut sorted: Vec<Extent> = extents.iter().collect();
                sorted.sort_unstable_by_key(|extent| extent.offset);
                for Extent { offset, length } in sorted {
                    prop_assert!(length > 0 && offset % PAGE == 0 && length % PAGE == 0);
                    prop_assert!(end.is_none_or(|end| end < offset), "two that touch");
                    end = offset.checked_add(length);
                    prop_assert!(end.is_some_and(|end| end <= window));
                }
                prop_assert!(needed <= dma[1] && dma[0].checked_add(dma[1]).is_some());
                for bar in lease.bars.iter().filter(|bar| bar.size.get() != 0) {
                    let start = bar.address.get().checked_sub(base).unwrap();
                    prop_assert!(bar.size.get() <= size - start);
                    let holds = |it: Extent| start >= it.offset && start + bar.size.get() <= it.end();
                    prop_assert!(extents.iter().any(holds));
                }
            }
        }
    }
}
