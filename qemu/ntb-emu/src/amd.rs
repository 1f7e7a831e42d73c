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
//! - A side whose SIDEINFO is not READY latches no doorbells and no events, and clearing READY drops what was latched.
//!   The driver unmasks them in its probe before its device is initialized, so an old one would be delivered too early.
//! - A doorbell interrupts when its pending and unmasked state rises, not again while it stays set.

mod bridge;
mod events;
mod registers;
mod side;

pub use bridge::{Blocked, Bridge, Effect, Fixed};
pub use events::Event;
pub use registers::{peer_offset, Register, REGISTERS};
pub use side::{PerSide, Side, WINDOWS};

/// Vendor identifier.
pub const VENDOR: u16 = 0x1022;
/// Device identifier of the NTB with three windows.
pub const DEVICE: u16 = 0x145b;
/// Interrupt vectors: one a doorbell, then one an event.
pub const VECTORS: usize = 24;
/// Doorbells, and the vector of the first event.
pub const DOORBELLS: u32 = 16;
