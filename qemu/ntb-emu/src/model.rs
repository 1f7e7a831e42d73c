// SPDX-License-Identifier: GPL-2.0

//! What every hardware family has in common: two functions, one in each host, joined by a link.
//!
//! A [`Model`] is the state of both functions without any I/O: registers, configuration space, translations. An access
//! names the side that makes it; what it does to interrupt lines comes back as an [`Effect`].

pub mod amd;
mod family;
pub mod intel;
mod presence;
pub mod switchtec;

pub use family::{Family, UnknownFamily, WindowError};
pub use presence::Presence;

use std::fmt::Debug;

use crate::layout::Layout;
use crate::side::{PerSide, Side};

/// A memory window as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Bytes, a power of two.
    pub size: u64,
    /// Whether the peer's RAM is to be mapped into it, with a translation of 0 that cannot be changed.
    pub direct: bool,
}

/// Interrupt vectors to signal after an access, as a set of bits for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effect(PerSide<u64>);

impl Effect {
    /// These vectors of one side.
    pub fn on(side: Side, vectors: u64) -> Self {
        let mut effect = Self::default();
        effect.0[side] = vectors;
        effect
    }

    /// The vectors to signal to a side, one a bit.
    pub fn vectors(&self, side: Side) -> u64 {
        self.0[side]
    }

    /// Both effects together.
    pub fn and(mut self, other: Self) -> Self {
        for side in Side::BOTH {
            self.0[side] |= other.0[side];
        }
        self
    }
}

/// Why an access through a window goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The peer is not there, or the cable is out.
    NoLink,
    /// The window is closed there, or the peer has set a limit below it.
    Closed,
    /// It wraps around the end of the peer's address space.
    Address,
    /// The peer's function may not access its host's memory.
    NotMaster,
    /// Nobody has been let through by name.
    Requester,
}

/// A part of a window that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where it begins in the window, in bytes.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Bus address in the peer that it shows.
    pub address: u64,
}

/// Both functions of a bridge of some family.
pub trait Model: Debug + Send {
    /// BARs and interrupt vectors, the same on both sides for ever.
    fn layout(&self) -> &Layout;

    /// A host has appeared.
    fn attach(&mut self, side: Side) -> Effect;

    /// A host has vanished: its function is as after power-on, and the peer is told as the hardware would.
    fn detach(&mut self, side: Side) -> Effect;

    /// A host resets its function. What the peer's windows showed of this host is closed.
    fn reset(&mut self, side: Side) -> Effect;

    /// The cable between the hosts is put in (`true`) or pulled. Registers keep their values; both sides are told as the
    /// hardware would.
    fn set_cable(&mut self, connected: bool) -> Effect;

    /// A tenth of a second has passed, or a little more.
    fn tick(&mut self) -> Effect {
        Effect::default()
    }

    /// Whether both hosts are there and the cable is in.
    fn link(&self) -> bool;

    /// Whether a side's driver has set its function up, as far as registers tell.
    fn ready(&self, side: Side) -> bool;

    /// Reads BAR 0 at any offset, for as many bytes as `data` has, which are zeros: so is what lies between registers.
    /// Pending bits and the vector table are not asked for.
    fn read(&self, side: Side, offset: u64, data: &mut [u8]);

    /// Writes BAR 0 at any offset; bytes of a register that are not written keep their value.
    fn write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect;

    /// What the register at `offset` of BAR 0 is called, for people.
    fn register_name(&self, _offset: u64) -> Option<&'static str> {
        None
    }

    /// Whether a write of `length` bytes at `offset` of BAR 0 interrupts the peer (doorbells, messages): such a write is
    /// carried out after all earlier writes through windows have arrived.
    fn rings(&self, side: Side, offset: u64, length: usize) -> bool;

    /// Reads configuration space; what lies outside reads as zero.
    fn config_read(&self, side: Side, offset: u64, data: &mut [u8]);

    /// Writes configuration space.
    fn config_write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect;

    /// Whether a side's function may access its host's memory.
    fn bus_master(&self, side: Side) -> bool;

    /// Where an access of `length` bytes at `offset` of a side's window goes in the peer's address space.
    ///
    /// # Errors
    ///
    /// It goes nowhere, and why.
    fn translate(
        &self,
        side: Side,
        window: usize,
        offset: u64,
        length: usize,
    ) -> Result<u64, Blocked>;

    /// The open parts of a side's window, whether or not there is a link.
    fn openings(&self, side: Side, window: usize) -> Vec<Opening>;
}
