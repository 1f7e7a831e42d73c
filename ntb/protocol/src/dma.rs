// SPDX-License-Identifier: GPL-2.0

//! The DMA mode: how a borrowed device reaches this host's memory.
//!
//! The device reaches what the memory window shows, from address 0. If that is all RAM, nothing is copied. If it is not,
//! the kernel copies what lies beyond through its bounce buffers (swiotlb), which works only if these are in the window, and
//! if there is memory in it for what cannot be copied: coherent memory, which the kernel takes from below 4 GiB as a last
//! resort. Otherwise I/O would be tried again for ever, so that is found out before a device is borrowed.
//!
//! Where an IOMMU translates what comes from the NTB, the window shows *its* addresses from 0, and behind them is what drivers
//! have mapped, and nothing else. The kernel takes these addresses for those that the device itself has to use, so the lender
//! has to show the device the window at address 0, too, for which it needs an IOMMU of its own.

use core::fmt;

use crate::window::Span;

/// Where the kernel looks at last for memory that a device can address: below 4 GiB (`GFP_DMA32`).
pub const LOW_END: u64 = 1 << 32;

/// How a borrowed device reaches this host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaMode {
    /// The window shows all of it; nothing is copied.
    Linear,
    /// The window shows a part, which has all that is needed to copy the rest through.
    Bounce,
    /// An IOMMU of this host's shows the device what its driver has mapped.
    Iommu,
}

impl DmaMode {
    /// The mode of that name.
    pub fn parse(name: &[u8]) -> Option<Self> {
        [Self::Linear, Self::Bounce, Self::Iommu]
            .into_iter()
            .find(|mode| mode.as_str().as_bytes() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Bounce => "bounce",
            Self::Iommu => "iommu",
        }
    }
}

/// The kernel's bounce buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BounceBuffers {
    /// It has none.
    None,
    /// They are here.
    At(Span),
    /// It allocates more when they are full, anywhere.
    Growing,
}

/// This host's memory, as a device of its own would find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaMemory {
    /// End of RAM.
    pub ram_end: u64,
    /// End of the RAM that is below [`LOW_END`].
    pub low_end: u64,
    /// What the kernel copies through.
    pub buffers: BounceBuffers,
    /// It copies everything, even what a device can reach.
    pub always_bounces: bool,
    /// An IOMMU translates what comes from the NTB.
    pub translated: bool,
}

/// A mode that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaPlan {
    /// The mode.
    pub mode: DmaMode,
    /// Bytes from address 0 that the lender has to let the device reach.
    pub needed: u64,
    /// Bytes from address 0 that the device's driver may have it reach, if it can.
    pub limit: u64,
}

/// Why a mode does not work, with what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaRefusal {
    /// The window shows too little.
    Window {
        /// End of RAM.
        needed: u64,
        /// What is needed at least, with copies; `None` if they are not wanted.
        bounced: Option<u64>,
        /// What there is.
        shown: u64,
    },
    /// There is nothing to copy through.
    NoBuffers {
        /// End of RAM.
        needed: u64,
        /// What there is.
        shown: u64,
    },
    /// What is copied through is not all in the window.
    BuffersOutside {
        /// Where it is.
        buffers: Span,
        /// What there is.
        shown: u64,
    },
    /// What is copied through may be outside of the window tomorrow.
    BuffersGrow {
        /// End of RAM.
        needed: u64,
        /// What there is.
        shown: u64,
    },
    /// The kernel is told to copy everything.
    AlwaysBounces,
    /// An IOMMU translates.
    Translated,
    /// It does, but the window does not show its addresses from 0.
    TranslatedElsewhere,
    /// No IOMMU translates.
    NotTranslated,
}

impl fmt::Display for DmaRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ROOM: &str = "give the NTB a larger window, or this host less memory (mem=)";
        match *self {
            Self::Window {
                needed,
                bounced: Some(bounced),
                shown,
            } => write!(
                f,
                "the memory window is too small: the device must reach {needed} bytes of RAM, or {bounced} if the rest is \
                 copied, the window shows {shown}; {ROOM}"
            ),
            Self::Window {
                needed,
                bounced: None,
                shown,
            } => write!(
                f,
                "the memory window is too small: the device must reach {needed} bytes of RAM, the window shows {shown}; \
                 {ROOM}, or borrow without \"dma=linear\""
            ),
            Self::NoBuffers { needed, shown } => write!(
                f,
                "the window shows {shown} of {needed} bytes of RAM, and this kernel has no bounce buffers to copy the rest \
                 through; boot it without swiotlb=noforce and iommu=off, or {ROOM}"
            ),
            Self::BuffersOutside { buffers, shown } => write!(
                f,
                "the window shows {shown} bytes of RAM, but not the bounce buffers, {} bytes at {:#x}; {ROOM}",
                buffers.size, buffers.base
            ),
            Self::BuffersGrow { needed, shown } => write!(
                f,
                "the window shows {shown} of {needed} bytes of RAM, and this kernel may allocate bounce buffers outside of \
                 it (CONFIG_SWIOTLB_DYNAMIC); {ROOM}"
            ),
            Self::AlwaysBounces => f.write_str(
                "this kernel copies everything; boot it without swiotlb=force, or borrow without \"dma=linear\"",
            ),
            Self::Translated => f.write_str(
                "an IOMMU of this host translates what comes from the NTB; boot with iommu=pt, or borrow without \"dma=\"",
            ),
            Self::TranslatedElsewhere => f.write_str(
                "an IOMMU of this host translates what comes from the NTB, but the memory window does not show its addresses \
                 from 0; boot with iommu=pt",
            ),
            Self::NotTranslated => f.write_str(
                "no IOMMU of this host translates what comes from the NTB; boot with intel_iommu=on, or borrow without \
                 \"dma=iommu\"",
            ),
        }
    }
}

/// Chooses the mode for a device: the one that is `wanted`, or the best. The memory window shows `shown` bytes from
/// address 0.
///
/// # Errors
///
/// [`DmaRefusal`]: that mode does not work, or none does.
pub fn dma_plan(
    wanted: Option<DmaMode>,
    memory: &DmaMemory,
    shown: u64,
) -> Result<DmaPlan, DmaRefusal> {
    if memory.translated {
        return match wanted {
            None | Some(DmaMode::Iommu) => iommu(shown),
            Some(DmaMode::Linear | DmaMode::Bounce) => Err(DmaRefusal::Translated),
        };
    }
    let is_all = shown >= memory.ram_end;
    match wanted {
        Some(DmaMode::Iommu) => Err(DmaRefusal::NotTranslated),
        Some(DmaMode::Linear) if memory.always_bounces => Err(DmaRefusal::AlwaysBounces),
        Some(DmaMode::Linear) if !is_all => Err(DmaRefusal::Window {
            needed: memory.ram_end,
            bounced: None,
            shown,
        }),
        Some(DmaMode::Linear) => Ok(linear(memory)),
        None if is_all && !memory.always_bounces => Ok(linear(memory)),
        None => bounce(memory, shown),
        // Somebody wants copies: then there are some, although the window may show what is copied.
        Some(DmaMode::Bounce) => bounce(memory, shown).map(|plan| DmaPlan {
            limit: plan.needed,
            ..plan
        }),
    }
}

/// Any size will do: if the window is full, a driver waits as it does for an IOMMU that is.
fn iommu(shown: u64) -> Result<DmaPlan, DmaRefusal> {
    if shown == 0 {
        return Err(DmaRefusal::TranslatedElsewhere);
    }
    Ok(DmaPlan {
        mode: DmaMode::Iommu,
        needed: shown,
        limit: shown,
    })
}

fn linear(memory: &DmaMemory) -> DmaPlan {
    DmaPlan {
        mode: DmaMode::Linear,
        needed: memory.ram_end,
        limit: u64::MAX,
    }
}

fn bounce(memory: &DmaMemory, shown: u64) -> Result<DmaPlan, DmaRefusal> {
    if shown < memory.low_end {
        return Err(DmaRefusal::Window {
            needed: memory.ram_end,
            bounced: Some(memory.low_end),
            shown,
        });
    }
    let needed = memory.ram_end;
    let buffers = match memory.buffers {
        BounceBuffers::At(buffers) if buffers.size > 0 => buffers,
        BounceBuffers::At(_) | BounceBuffers::None => {
            return Err(DmaRefusal::NoBuffers { needed, shown });
        }
        BounceBuffers::Growing => return Err(DmaRefusal::BuffersGrow { needed, shown }),
    };
    let end = buffers
        .base
        .checked_add(buffers.size)
        .filter(|&end| end <= shown)
        .ok_or(DmaRefusal::BuffersOutside { buffers, shown })?;
    Ok(DmaPlan {
        mode: DmaMode::Bounce,
        needed: memory.low_end.max(end),
        limit: u64::MAX,
    })
}

#[cfg(test)]
mod tests;
