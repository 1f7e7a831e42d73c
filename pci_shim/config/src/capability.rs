// SPDX-License-Identifier: GPL-2.0

//! The capability list in the first 256 bytes.

use crate::{
    bytes::{
        get16,
        get8, //
    },
    malformed::Malformed,
    regs::{
        CAPABILITY_LIST,
        CAP_FLAGS,
        CAP_ID_EXP,
        CAP_ID_MSI,
        CAP_ID_MSIX,
        CAP_ID_PM,
        CAP_ID_VNDR,
        CAP_LIST_NEXT,
        CAP_MSIX_SIZEOF,
        EXP_FLAGS_VERS,
        EXP_TYPE_ENDPOINT,
        EXP_TYPE_LEG_END,
        EXP_TYPE_RC_END,
        MSI_FLAGS_64BIT,
        MSI_FLAGS_MASKBIT,
        PM_SIZEOF,
        STATUS,
        STATUS_CAP_LIST,
        STD_HEADER_SIZEOF, //
    },
    CONFIG_SIZE, //
};

/// Offsets of capabilities, one bit per dword of the first 256 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offsets(u64);

impl Offsets {
    /// Adds an offset; says whether it is new.
    fn insert(&mut self, at: usize) -> bool {
        let bit = Self::bit(at);
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    /// The bit of the dword at `at`; none beyond 256 bytes.
    fn bit(at: usize) -> u64 {
        u32::try_from(at / 4)
            .ok()
            .and_then(|dword| 1u64.checked_shl(dword))
            .unwrap_or(0)
    }

    /// The lowest offset in the set above `at`, the end of the space if there is none.
    fn after(&self, at: usize) -> usize {
        (at / 4 + 1..CONFIG_SIZE / 4)
            .map(|dword| dword * 4)
            .find(|&at| self.0 & Self::bit(at) != 0)
            .unwrap_or(CONFIG_SIZE)
    }
}

/// Walks the list: yields the offset of each capability once, then where the list comes back to, if it does.
struct Walk<'a> {
    space: &'a [u8],
    next: u8,
    seen: Offsets,
}

impl<'a> Walk<'a> {
    fn new(space: &'a [u8]) -> Self {
        let listed = get16(space, STATUS).is_some_and(|status| status & STATUS_CAP_LIST != 0);
        Self {
            space,
            next: if listed {
                get8(space, CAPABILITY_LIST).unwrap_or(0)
            } else {
                0
            },
            seen: Offsets::default(),
        }
    }
}

impl Iterator for Walk<'_> {
    /// `Err` is the last item.
    type Item = Result<u8, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // The low two bits are reserved (PCI 3.0, 6.7); a pointer into the header ends the list.
        let at = self.next & !3;
        self.next = 0;
        if usize::from(at) < STD_HEADER_SIZEOF {
            return None;
        }
        if !self.seen.insert(usize::from(at)) {
            return Some(Err(Malformed::Loop(at)));
        }
        self.next = get8(self.space, usize::from(at) + CAP_LIST_NEXT).unwrap_or(0);
        Some(Ok(at))
    }
}

/// The capabilities that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Power management (PCI PM 1.2, 3.2).
    Pm,
    /// Message-signalled interrupts (PCI 3.0, 6.8.1).
    Msi {
        /// Upper half of the address present.
        wide: bool,
        /// Mask and pending bits present.
        maskable: bool,
    },
    /// MSI-X (PCI 3.0, 6.8.2).
    Msix,
    /// PCI Express (PCIe 5.0, 7.5.3).
    Exp {
        /// Link registers present.
        link: bool,
        /// Registers of the second version present.
        second: bool,
    },
    /// Vendor-specific (PCI 3.0, 6.7 and appendix H).
    Vendor,
}

impl Kind {
    /// Whether there can be only one.
    fn is_single(self) -> bool {
        !matches!(self, Kind::Vendor)
    }

    /// Which single kind this is, for noticing a second.
    fn number(self) -> u8 {
        match self {
            Kind::Pm => CAP_ID_PM,
            Kind::Msi { .. } => CAP_ID_MSI,
            Kind::Msix => CAP_ID_MSIX,
            Kind::Exp { .. } => CAP_ID_EXP,
            Kind::Vendor => CAP_ID_VNDR,
        }
    }
}

/// A capability that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capability {
    pub(crate) kind: Kind,
    /// Offset, a multiple of 4 from 0x40.
    pub(crate) at: u8,
    /// Bytes; the end is not beyond 256, nor beyond the start of another capability.
    pub(crate) length: usize,
}

/// How many bytes a capability has, and how few of them would do.
struct Length {
    full: usize,
    least: usize,
}

impl Length {
    const fn exact(length: usize) -> Self {
        Self {
            full: length,
            least: length,
        }
    }
}

/// What kind of capability is at `at` and how long it says it is; `None` for those that are not shown.
fn identify(space: &[u8], at: usize) -> Result<Option<(Kind, Length)>, Malformed> {
    let Some(id) = get8(space, at) else {
        return Ok(None);
    };
    // Flags beyond the end count as 0; the length check refuses the capability.
    let flags = get16(space, at + CAP_FLAGS).unwrap_or(0);
    Ok(Some(match id {
        CAP_ID_PM => (Kind::Pm, Length::exact(PM_SIZEOF)),
        CAP_ID_MSI => {
            let wide = flags & MSI_FLAGS_64BIT != 0;
            let maskable = flags & MSI_FLAGS_MASKBIT != 0;
            let length = 10 + if wide { 4 } else { 0 } + if maskable { 10 } else { 0 };
            (Kind::Msi { wide, maskable }, Length::exact(length))
        }
        CAP_ID_MSIX => (Kind::Msix, Length::exact(CAP_MSIX_SIZEOF)),
        CAP_ID_EXP => {
            let second = flags & EXP_FLAGS_VERS >= 2;
            // CAST: four bits.
            let kind = (flags >> 4 & 0xf) as u8;
            let link = match kind {
                EXP_TYPE_ENDPOINT | EXP_TYPE_LEG_END => true,
                EXP_TYPE_RC_END => false,
                _ => return Err(Malformed::PortType(kind)),
            };
            // The second version has slot registers behind the link's, which an endpoint does not use and some devices
            // leave out; what must be there is Device Control 2.
            let length = match (second, link) {
                (true, _) => Length {
                    full: 0x34,
                    least: 0x2c,
                },
                (false, true) => Length::exact(0x14),
                (false, false) => Length::exact(0x0c),
            };
            (Kind::Exp { link, second }, length)
        }
        CAP_ID_VNDR => {
            // The length byte is the vendor's word and sometimes wrong: what another capability has is not counted.
            let length = usize::from(flags & 0xff).max(3);
            (
                Kind::Vendor,
                Length {
                    full: length,
                    least: 3,
                },
            )
        }
        _ => return Ok(None),
    }))
}

/// What to do with a list that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// A device's own: end the list where it loops, leave out what does not fit. Devices are as they are.
    Lenient,
    /// An image made by [`present`](crate::present): refuse it.
    Strict,
}

/// Calls `found` for each capability that is shown, in list order.
pub(crate) fn for_each(
    space: &[u8],
    strictness: Strictness,
    mut found: impl FnMut(Capability),
) -> Result<(), Malformed> {
    let strict = |error| match strictness {
        Strictness::Strict => Err(error),
        Strictness::Lenient => Ok(()),
    };

    let mut starts = Offsets::default();
    for at in Walk::new(space).flatten() {
        starts.insert(usize::from(at));
    }

    // Single kinds met so far, by capability id, all below 32.
    let mut met = 0u32;
    for at in Walk::new(space) {
        let at = match at {
            Ok(at) => at,
            Err(error) => {
                strict(error)?;
                break;
            }
        };
        let Some((kind, length)) = identify(space, usize::from(at))? else {
            continue;
        };
        // PANIC: what is after it is not below it.
        let room = starts.after(usize::from(at)) - usize::from(at);
        if room < length.least {
            strict(Malformed::Cut(at))?;
            continue;
        }
        let bit = 1u32.checked_shl(u32::from(kind.number())).unwrap_or(0);
        if kind.is_single() && met & bit != 0 {
            strict(Malformed::Twice(at))?;
            continue;
        }
        met |= bit;
        found(Capability {
            kind,
            at,
            length: length.full.min(room),
        });
    }
    Ok(())
}
