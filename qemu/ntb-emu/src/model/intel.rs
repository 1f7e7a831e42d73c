// SPDX-License-Identifier: GPL-2.0

//! The registers of an Intel NTB of the third generation (Skylake Xeon, 8086:201c), both sides of it, as a model without
//! any I/O.
//!
//! Written after what the kernel's `drivers/ntb/hw/intel/ntb_hw_gen3.[ch]` expects of the hardware, and after the
//! public data sheet of an ancestor (Xeon C5500/C3500, chapter 3.21) where that says more. There are two bridges back to
//! back: a host finds in BAR 0 the registers of its own one only, those that face it (IM) and, from 0x4000 on, those that
//! face the cable (EM). [`Bridge`] is the state of both.
//!
//! What reaches the peer: a window, the doorbells (IM_DOORBELL sets a bit of the *peer's* IM_INT_STATUS) and B2B_SPAD
//! (the *peer's* scratchpads). What a host lets its peer's window see is held in its *own* XBASE and XLMT.
//!
//! Decisions where the driver leaves room or the hardware is not documented:
//!
//! - The link comes up if both hosts are there, the cable is in, and neither NTBCNTL has DISABLE; training takes it a tenth
//!   of a second or two. It goes down at once. (`ntb_transport` counts on that: it enables the link, and forgets a link that
//!   comes up before it has looked.) DISABLE is set by a reset: a host without a driver has no link.
//! - When the link changes, LINK_STATUS in configuration space does, and bit 32 of IM_INT_STATUS is set, on both sides. A
//!   link that goes and comes before the driver has read LINK_STATUS is not noticed by the driver, here as there.
//! - Without a link, or if the ends do not fit (SPCICMD of one side is no bus master, that of the other does not take
//!   memory accesses, or one's EMBARnXBASE is not the other's EMBARn), nothing arrives, doorbells and scratchpads included.
//! - A limit is an address. A window is open from its base to there: IMBARnXLMT counts from the address of the host's own
//!   BAR, EMBARnXLMT from EMBARn, and the lower of both holds. A limit that is not within its BAR closes the window, which
//!   is what the driver means by the value it starts with; the ancestor opens it wholly then.
//! - Translations and limits are in units of 4 KiB; address bits within the BAR are not held by a translation.
//! - Each bridge has its own scratchpads, as EM_SPAD too. B2B_SPAD reads and writes the peer's; where it does not get there,
//!   it reads as ones. (The ancestor's data sheet only speaks of writes. The driver reads there, and `ntb_perf` waits for
//!   the peer to clear what it has been told.) A reset of a host clears its scratchpads.
//! - A doorbell interrupts when its pending and enabled state rises, not again while it stays set. INTVEC names the vector
//!   of each bit of IM_INT_STATUS; a vector that does not exist is not signalled.
//! - EM_DOORBELL rings the host's own doorbells. EM_INT_STATUS is for a host on the other side of a single bridge, and
//!   nothing sets it here. USMEMMISS does not count.

mod bridge;
mod registers;

pub use bridge::Bridge;
pub use registers::{Register, REGISTERS};

use crate::layout::{BarType, Layout, Msix, WindowBar};
use crate::model::{Family, Window, WindowError};
use crate::pci_config::{ConfigSpace, Identity};
use crate::side::Side;

/// What the function is.
pub const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x201c,
    revision: 4,
    class: 0x06_8000,
};
/// Memory windows of each side.
pub const WINDOWS: usize = 2;
/// Interrupt vectors, and bits of IM_INT_STATUS: one a doorbell, then the link's.
pub const VECTORS: usize = 33;

/// Ticks that training takes: one could follow at once.
const TRAINING: u8 = 2;

/// Where in configuration space the sizes of the BARs are, each as the exponent of a power of two: those that face the
/// host, then those that face the cable.
const BAR_SIZES: usize = 0xd0;
/// Where in configuration space the kind of connection is.
const PPD: usize = 0xd4;
/// In [`PPD`]: the other end is a bridge, too.
const BACK_TO_BACK: u8 = 0x01;
/// In [`PPD`]: this is the downstream device of the two.
const DOWNSTREAM: u8 = 0x10;
/// Where in configuration space the state of the link is.
const LINK_STATUS: u64 = 0x1a2;
/// In [`LINK_STATUS`]: active, 16 lanes, 8 GT/s.
const LINK_ACTIVE: u16 = 0x2000 | 16 << 4 | 3;

fn layout(windows: &[Window]) -> Result<Layout, WindowError> {
    if windows.len() != WINDOWS {
        return Err(WindowError::Count {
            family: Family::Intel,
            needed: WINDOWS,
            given: windows.len(),
        });
    }
    // Each has its place between the bridges: the first from 256 GiB, the second from 512 GiB on.
    let places = [
        (2, 1 << 38, "a 64-bit BAR of 4K to 256G"),
        (4, 1 << 39, "a 64-bit BAR of 4K to 512G"),
    ];
    let mut bars = Vec::new();
    for (number, (window, (index, most, why))) in windows.iter().zip(places).enumerate() {
        let size = window.size;
        if !(4096..=most).contains(&size) {
            return Err(WindowError::Size {
                family: Family::Intel,
                window: number,
                size,
                why,
            });
        }
        bars.push(WindowBar {
            index,
            size,
            kind: BarType::Prefetchable64,
        });
    }
    Ok(Layout {
        registers: 0x1_0000,
        registers_kind: BarType::Prefetchable64,
        windows: bars,
        msix: Msix {
            vectors: VECTORS,
            table: 0x2000,
            pending: 0x3000,
        },
    })
}

fn config(side: Side, layout: &Layout) -> ConfigSpace {
    let mut config = ConfigSpace::new(&IDENTITY, layout);
    // CAST: at most 64.
    let sizes: Vec<u8> = layout
        .windows
        .iter()
        .map(|bar| bar.size.trailing_zeros() as u8)
        .collect();
    config.add(BAR_SIZES, &[sizes.clone(), sizes].concat(), &[]);
    let device = match side {
        Side::Primary => 0,
        Side::Secondary => DOWNSTREAM,
    };
    config.add(PPD, &[BACK_TO_BACK | device], &[]);
    config
}
