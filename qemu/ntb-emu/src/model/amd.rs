// SPDX-License-Identifier: GPL-2.0

//! The register block of an AMD NTB (1022:145b), both sides of it, as a model without any I/O.
//!
//! Written after what the kernel's `drivers/ntb/hw/amd/ntb_hw_amd.[ch]` expects of the hardware. [`Bridge`] is the
//! state of both sides; an access names the side that makes it and yields the interrupt vectors to signal.
//!
//! A side finds its own registers at 0x200 of BAR 0 and its peer's 0x400 further on. What a side's memory windows
//! reach is held in *its* XLAT and LMT registers, which only the *peer* can write: a host decides what of its memory
//! is seen.
//!
//! Decisions where the driver leaves room or the hardware is not documented:
//!
//! - LMT is the number of bytes of the window that are open; 0, its reset value, closes the window.
//! - Only one link event is shown in INTSTAT at a time: the driver handles no more. The next follows when it is cleared.
//! - While the cable is out, and until the driver has seen the event that says so, the peer's SIDEINFO shows it as not
//!   READY: otherwise the primary's driver would clear READY over there, and only a reload would set it again.
//! - A side whose SIDEINFO is not READY latches no doorbells and no events, and clearing READY drops what was latched.
//!   The driver unmasks them in its probe before its device is initialized, so an old one would be delivered too early.
//! - A doorbell interrupts when its pending and unmasked state rises, not again while it stays set.

mod bridge;
mod events;
mod registers;

pub use bridge::Bridge;
pub use events::Event;
pub use registers::{peer_offset, Register, REGISTERS};

use crate::layout::{BarType, Layout, Msix, WindowBar};
use crate::model::{Family, Window, WindowError};
use crate::pci_config::Identity;

/// What the function is: the NTB with three windows.
pub const IDENTITY: Identity = Identity {
    vendor: 0x1022,
    device: 0x145b,
    revision: 0,
    class: 0x06_8000,
};
/// Memory windows of each side.
pub const WINDOWS: usize = 3;
/// Interrupt vectors: one a doorbell, then one an event.
pub const VECTORS: usize = 24;
/// Doorbells, and the vector of the first event.
pub const DOORBELLS: u32 = 16;

fn layout(windows: &[Window]) -> Result<Layout, WindowError> {
    if windows.len() != WINDOWS {
        return Err(WindowError::Count {
            family: Family::Amd,
            needed: WINDOWS,
            given: windows.len(),
        });
    }
    let kinds = [
        (1, BarType::Memory32),
        (2, BarType::Prefetchable64),
        (4, BarType::Prefetchable64),
    ];
    let windows: Vec<WindowBar> = windows
        .iter()
        .zip(kinds)
        .map(|(window, (index, kind))| WindowBar {
            index,
            size: window.size,
            kind,
        })
        .collect();
    match windows.first() {
        Some(bar) if bar.size > 1 << 30 => Err(WindowError::Size {
            family: Family::Amd,
            window: 0,
            size: bar.size,
            why: "a 32-bit BAR of at most 1G",
        }),
        _ => Ok(Layout {
            registers: 0x4000,
            registers_kind: BarType::Memory32,
            windows,
            msix: Msix {
                vectors: VECTORS,
                table: 0x2000,
                pending: 0x3000,
            },
        }),
    }
}
