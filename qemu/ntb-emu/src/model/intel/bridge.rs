// SPDX-License-Identifier: GPL-2.0

//! The state of both sides, and what reads and writes do to it.

use super::registers::{self, Place, Register, Role, END, LINK, MASTER, MEMORY, REGISTERS};
use super::{config, layout, LINK_ACTIVE, LINK_STATUS, TRAINING, VECTORS};
use crate::layout::Layout;
use crate::model::{Blocked, Effect, Model, Opening, Presence, Window, WindowError};
use crate::pci_config::ConfigSpace;
use crate::side::{PerSide, Side};

/// The registers of one bridge, as the bytes of BAR 0, and what its LINK_STATUS shows.
#[derive(Debug)]
struct State {
    values: Vec<u8>,
    link: bool,
}

impl State {
    fn new() -> Self {
        let mut state = Self {
            values: vec![0; END],
            link: false,
        };
        for register in &REGISTERS {
            for element in 0..register.count {
                state.put(register, element, register.reset(element));
            }
        }
        state
    }

    fn bytes(&self, register: &Register, element: u64) -> &[u8] {
        range(register, element)
            .and_then(|range| self.values.get(range))
            .unwrap_or_default()
    }

    fn put(&mut self, register: &Register, element: u64, value: u64) {
        let slots = range(register, element).and_then(|range| self.values.get_mut(range));
        for (slot, byte) in slots.into_iter().flatten().zip(value.to_le_bytes()) {
            *slot = byte;
        }
    }

    /// The value of the `element`th register with a role that only one row has.
    fn element(&self, role: Role, element: u64) -> u64 {
        registers::with_role(role).map_or(0, |register| {
            let bytes = self.bytes(register, element);
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte))
        })
    }

    fn get(&self, role: Role) -> u64 {
        self.element(role, 0)
    }

    /// Sets bits in the status of the interrupts.
    fn raise(&mut self, bits: u64) {
        if let Some(register) = registers::with_role(Role::Status) {
            let raised = self.get(Role::Status) | bits;
            self.put(register, 0, raised);
        }
    }

    fn byte(&mut self, offset: u64) -> Option<&mut u8> {
        self.values.get_mut(usize::try_from(offset).ok()?)
    }

    /// The interrupts that are up, one a bit of the status.
    fn lines(&self) -> u64 {
        self.get(Role::Status) & !self.get(Role::Disable)
    }

    /// The vectors of these interrupts.
    fn vectors(&self, lines: u64) -> u64 {
        (0..VECTORS as u64)
            .filter(|bit| lines >> bit & 1 == 1)
            .map(|bit| self.element(Role::Vectors, bit))
            .filter(|vector| *vector < VECTORS as u64)
            .fold(0, |set, vector| set | 1 << vector)
    }

    fn enabled(&self) -> bool {
        self.get(Role::Control) & registers::DISABLE == 0
    }
}

fn range(register: &Register, element: u64) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(register.at(element)).ok()?;
    Some(start..start + usize::try_from(register.width).ok()?)
}

/// Both bridges, back to back.
#[derive(Debug)]
pub struct Bridge {
    layout: Layout,
    config: PerSide<ConfigSpace>,
    presence: Presence,
    /// Ticks of training that the link has behind it.
    trained: u8,
    sides: PerSide<State>,
    fixed: Vec<bool>,
}

impl Bridge {
    /// Both after power-on, with nobody there.
    ///
    /// # Errors
    ///
    /// They cannot have such windows.
    pub fn new(windows: &[Window]) -> Result<Self, WindowError> {
        let layout = layout(windows)?;
        Ok(Self {
            config: PerSide(Side::BOTH.map(|side| config(side, &layout))),
            layout,
            presence: Presence::default(),
            trained: 0,
            sides: PerSide(Side::BOTH.map(|_| State::new())),
            fixed: windows.iter().map(|window| window.direct).collect(),
        })
    }

    /// Whether the link is up.
    pub fn active(&self) -> bool {
        self.wanted() && self.trained == TRAINING
    }

    /// Whether nothing keeps the link from coming up.
    fn wanted(&self) -> bool {
        self.presence.link() && Side::BOTH.iter().all(|side| self.sides[*side].enabled())
    }
}

impl Model for Bridge {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    /// It has no link before its driver wants one.
    fn attach(&mut self, side: Side) -> Effect {
        self.change(|bridge| bridge.presence.set(side, true))
    }

    fn detach(&mut self, side: Side) -> Effect {
        self.change(|bridge| {
            bridge.presence.set(side, false);
            bridge.reset_side(side);
        })
    }

    /// The peer loses its link until the driver here wants one again.
    fn reset(&mut self, side: Side) -> Effect {
        self.change(|bridge| bridge.reset_side(side))
    }

    fn set_cable(&mut self, connected: bool) -> Effect {
        self.change(|bridge| bridge.presence.set_cable(connected))
    }

    fn tick(&mut self) -> Effect {
        self.change(|bridge| {
            if bridge.wanted() && bridge.trained < TRAINING {
                bridge.trained += 1;
            }
        })
    }

    fn link(&self) -> bool {
        self.presence.link()
    }

    fn ready(&self, side: Side) -> bool {
        let wanted = MEMORY | MASTER;
        self.sides[side].get(Role::OuterCommand) & wanted == wanted
    }

    fn read(&self, side: Side, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offsets(offset)) {
            *byte = at.map_or(0, |at| self.read_byte(side, at));
        }
    }

    fn write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect {
        self.change(|bridge| {
            for (byte, at) in data.iter().zip(offsets(offset)) {
                if let Some(place) = at.and_then(registers::find) {
                    bridge.write_byte(side, place, *byte);
                }
            }
        })
    }

    fn rings(&self, _: Side, offset: u64, length: usize) -> bool {
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| offset.checked_add(length));
        registers::with_role(Role::Doorbells).is_some_and(|bells| {
            offset < bells.offset + bells.length() && end.is_none_or(|end| end > bells.offset)
        })
    }

    fn config_read(&self, side: Side, offset: u64, data: &mut [u8]) {
        self.config[side].read(offset, data);
        let status = if self.sides[side].link {
            LINK_ACTIVE
        } else {
            0
        };
        for (byte, at) in data.iter_mut().zip(offsets(offset)) {
            match at.and_then(|at| at.checked_sub(LINK_STATUS)) {
                Some(0) => *byte = status.to_le_bytes()[0],
                Some(1) => *byte = status.to_le_bytes()[1],
                _ => {}
            }
        }
    }

    fn config_write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect {
        self.config[side].write(offset, data);
        Effect::default()
    }

    fn bus_master(&self, side: Side) -> bool {
        self.config[side].bus_master()
    }

    fn translate(
        &self,
        side: Side,
        window: usize,
        offset: u64,
        length: usize,
    ) -> Result<u64, Blocked> {
        if !self.active() {
            return Err(Blocked::NoLink);
        }
        let length = u64::try_from(length).map_err(|_| Blocked::Closed)?;
        let end = offset.checked_add(length).ok_or(Blocked::Closed)?;
        let open = self
            .opening(side, window)
            .filter(|open| end <= open.size)
            .ok_or(Blocked::Closed)?;
        let address = open.address.checked_add(offset).ok_or(Blocked::Address)?;
        if !self.bus_master(side.peer()) {
            return Err(Blocked::NotMaster);
        }
        address
            .checked_add(length)
            .map(|_| address)
            .ok_or(Blocked::Address)
    }

    fn openings(&self, side: Side, window: usize) -> Vec<Opening> {
        self.opening(side, window).into_iter().collect()
    }
}

impl Bridge {
    /// Does something, lets the link follow, and says which interrupts that raised.
    fn change(&mut self, action: impl FnOnce(&mut Self)) -> Effect {
        let before = Side::BOTH.map(|side| self.sides[side].lines());
        action(self);
        self.follow_link();
        let mut effect = Effect::default();
        for (side, before) in Side::BOTH.into_iter().zip(before) {
            let state = &self.sides[side];
            let raised = state.lines() & !before;
            effect = effect.and(Effect::on(side, state.vectors(raised)));
        }
        effect
    }

    /// Shows both sides the link as it is, and tells those to whom that is news.
    fn follow_link(&mut self) {
        if !self.wanted() {
            self.trained = 0;
        }
        let active = self.active();
        for side in Side::BOTH {
            let state = &mut self.sides[side];
            if state.link != active {
                state.link = active;
                state.raise(LINK);
            }
        }
    }

    fn reset_side(&mut self, side: Side) {
        self.config[side].reset();
        self.sides[side] = State::new();
    }

    /// Whether what a side sends to a BAR (0: registers, then windows) gets into its peer's bridge, if there is a link.
    fn fits(&self, side: Side, bar: usize) -> bool {
        let (from, to) = (&self.sides[side], &self.sides[side.peer()]);
        from.get(Role::OuterCommand) & MASTER != 0
            && to.get(Role::OuterCommand) & MEMORY != 0
            && from.get(Role::OuterBase(bar)) == base(to.get(Role::OuterBar(bar)))
    }

    /// What a side's window shows, if there is a link.
    fn opening(&self, side: Side, window: usize) -> Option<Opening> {
        let bar = self.layout.windows.get(window)?;
        if !self.fits(side, window + 1) {
            return None;
        }
        let owner = &self.sides[side.peer()];
        let within =
            |limit: u64, base: u64| limit.checked_sub(base).filter(|open| *open <= bar.size);
        let inner = within(
            owner.get(Role::Limit(window)),
            self.config[side.peer()].bar64(bar.index),
        )?;
        let outer = within(
            owner.get(Role::OuterLimit(window)),
            base(owner.get(Role::OuterBar(window + 1))),
        )?;
        let size = inner.min(outer);
        (size > 0).then(|| Opening {
            offset: 0,
            size,
            address: owner.get(Role::Base(window)),
        })
    }

    fn read_byte(&self, side: Side, offset: u64) -> u8 {
        let Some(place) = registers::find(offset) else {
            return 0;
        };
        let (owner, at) = match place.register.role {
            Role::PeerScratchpads if !self.registers_reach(side) => return 0xff,
            Role::PeerScratchpads => (side.peer(), same_byte(place, Role::Scratchpads)),
            Role::OuterScratchpads => (side, same_byte(place, Role::Scratchpads)),
            _ => (side, Some(offset)),
        };
        at.and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.sides[owner].values.get(at))
            .copied()
            .unwrap_or(0)
    }

    fn write_byte(&mut self, side: Side, place: Place, byte: u8) {
        let register = place.register;
        let offset = register.at(place.element) + place.byte;
        let mask = place.lane(register.writable);
        let set = byte & mask;
        match register.role {
            Role::Doorbells if set != 0 && self.registers_reach(side) => {
                self.sides[side.peer()].raise(1 << place.element);
            }
            Role::OuterDoorbells if set != 0 => self.sides[side].raise(1 << place.element),
            Role::Doorbells | Role::OuterDoorbells => {}
            Role::Status | Role::OuterStatus => {
                if let Some(slot) = self.sides[side].byte(offset) {
                    *slot &= !set;
                }
            }
            Role::PeerScratchpads if !self.registers_reach(side) => {}
            Role::PeerScratchpads => {
                let offset = same_byte(place, Role::Scratchpads);
                self.hold(side.peer(), offset, mask, byte);
            }
            Role::OuterScratchpads => {
                self.hold(side, same_byte(place, Role::Scratchpads), mask, byte);
            }
            Role::Base(window) if self.fixed.get(window) == Some(&true) => {}
            Role::Base(window) => {
                let outside = place.lane(!self.layout.window(window).saturating_sub(1));
                self.hold(side, Some(offset), mask & outside, byte);
            }
            _ => self.hold(side, Some(offset), mask, byte),
        }
    }

    /// Changes the bits of `mask` in a byte of a side's registers.
    fn hold(&mut self, side: Side, offset: Option<u64>, mask: u8, byte: u8) {
        if let Some(slot) = offset.and_then(|offset| self.sides[side].byte(offset)) {
            *slot = (*slot & !mask) | (byte & mask);
        }
    }

    /// Whether doorbells and scratchpads of a side arrive.
    fn registers_reach(&self, side: Side) -> bool {
        self.active() && self.fits(side, 0)
    }
}

/// The address in a BAR register.
fn base(bar: u64) -> u64 {
    bar & !0xf
}

/// Where the same byte of the same element is in another row.
fn same_byte(place: Place, role: Role) -> Option<u64> {
    let register = registers::with_role(role)?;
    Some(register.at(place.element) + place.byte)
}

/// Consecutive offsets; `None` from where there are no more.
fn offsets(first: u64) -> impl Iterator<Item = Option<u64>> {
    (0..).map(move |i: u64| first.checked_add(i))
}

#[cfg(test)]
mod tests;
