// SPDX-License-Identifier: GPL-2.0

//! The state of both sides, and what reads and writes do to it.

use super::events::{self, Event, Queue};
use super::registers::{self, Role, Target, READY, REGISTERS};
use super::side::{PerSide, Side, WINDOWS};

/// Whether a window's translation can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// It is set by the peer.
    No,
    /// It is 0 for ever.
    AtZero,
}

/// Interrupt vectors to signal after an access, as a set of bits for each side.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Effect(PerSide<u32>);

impl Effect {
    /// The vectors to signal to a side, one a bit.
    pub fn vectors(&self, side: Side) -> u32 {
        self.0[side]
    }
}

/// Why an access through a window goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The peer is not there.
    NoLink,
    /// It is above the limit that the peer has set.
    Limit,
    /// It wraps around the end of the peer's address space.
    Address,
}

#[derive(Debug)]
struct State {
    present: bool,
    values: [u32; REGISTERS.len()],
    events: Queue,
}

impl State {
    fn new(side: Side) -> Self {
        let mut state = Self {
            present: false,
            values: [0; REGISTERS.len()],
            events: Queue::default(),
        };
        state.reset(side);
        state
    }

    fn reset(&mut self, side: Side) {
        for (value, register) in self.values.iter_mut().zip(&REGISTERS) {
            *value = match register.role {
                Role::Shared => continue,
                Role::SideInfo => u32::from(side == Side::Secondary),
                _ => register.reset,
            };
        }
        self.events.clear();
    }

    /// The value of the only register with this role.
    fn role(&self, role: Role) -> u32 {
        registers::with_role(role)
            .and_then(|index| self.values.get(index))
            .copied()
            .unwrap_or(0)
    }

    fn set(&mut self, role: Role, value: u32) {
        if let Some(slot) = registers::with_role(role).and_then(|index| self.values.get_mut(index))
        {
            *slot = value;
        }
    }

    fn ready(&self) -> bool {
        self.role(Role::SideInfo) & READY != 0
    }

    /// The interrupt lines that are up.
    fn lines(&self) -> u32 {
        let doorbells = self.role(Role::DoorbellStatus) & !self.role(Role::DoorbellMask);
        let raised = self.role(Role::EventStatus) & !self.role(Role::EventMask);
        doorbells | events::vectors(raised)
    }

    fn raise(&mut self, event: Event) {
        if self.ready() {
            self.events.push(event, self.role(Role::EventStatus));
            self.show_next_event();
        }
    }

    fn show_next_event(&mut self) {
        if self.role(Role::EventStatus) == 0 {
            if let Some(event) = self.events.pop() {
                self.set(Role::EventStatus, event.bit());
            }
        }
    }

    fn forget_latched(&mut self) {
        self.set(Role::DoorbellStatus, 0);
        self.set(Role::EventStatus, 0);
        self.events.clear();
    }

    fn close_windows(&mut self) {
        for window in 0..WINDOWS {
            for role in [
                Role::XlatLow(window),
                Role::XlatHigh(window),
                Role::LimitLow(window),
                Role::LimitHigh(window),
            ] {
                self.set(role, 0);
            }
        }
    }
}

/// Both sides of the bridge.
#[derive(Debug)]
pub struct Bridge {
    sides: PerSide<State>,
    fixed: [Fixed; WINDOWS],
}

impl Bridge {
    /// A bridge after power-on, with nobody there.
    pub fn new(fixed: [Fixed; WINDOWS]) -> Self {
        Self {
            sides: PerSide(Side::BOTH.map(State::new)),
            fixed,
        }
    }

    /// Whether both hosts are there.
    pub fn link(&self) -> bool {
        Side::BOTH.iter().all(|side| self.sides[*side].present)
    }

    /// Whether a side's driver has said that it is there.
    pub fn ready(&self, side: Side) -> bool {
        self.sides[side].ready()
    }

    /// A host has appeared.
    pub fn connect(&mut self, side: Side) -> Effect {
        self.change(|bridge| {
            bridge.sides[side].present = true;
            if bridge.link() {
                for side in Side::BOTH {
                    bridge.sides[side].raise(Event::LinkUp);
                }
            }
        })
    }

    /// A host has vanished: its side is reset, and the peer is told. When the last one goes, scratchpads are cleared.
    pub fn disconnect(&mut self, side: Side) -> Effect {
        self.change(|bridge| {
            let linked = bridge.link();
            bridge.sides[side].present = false;
            bridge.reset_side(side);
            if linked {
                bridge.sides[side.peer()].raise(Event::LinkDown);
            }
            if Side::BOTH.iter().all(|side| !bridge.sides[*side].present) {
                bridge.sides = PerSide(Side::BOTH.map(State::new));
            }
        })
    }

    /// A host's function is reset. The peer sees the link go and come, if a driver was using it.
    pub fn reset(&mut self, side: Side) -> Effect {
        self.change(|bridge| {
            let seen = bridge.link() && bridge.ready(side);
            bridge.reset_side(side);
            if seen {
                bridge.sides[side.peer()].raise(Event::LinkDown);
                bridge.sides[side.peer()].raise(Event::LinkUp);
            }
        })
    }

    /// Reads BAR 0 at any offset, for as many bytes as `data` has.
    pub fn read(&self, side: Side, offset: u64, data: &mut [u8]) {
        for_each_dword(offset, data.len(), |dword, lane, range| {
            let bytes = self.read_dword(side, dword).to_le_bytes();
            if let (Some(to), Some(from)) = (
                data.get_mut(range.clone()),
                bytes.get(lane..lane + range.len()),
            ) {
                to.copy_from_slice(from);
            }
        });
    }

    /// Writes BAR 0 at any offset; bytes of a register that are not written keep their value.
    pub fn write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect {
        self.change(|bridge| {
            for_each_dword(offset, data.len(), |dword, lane, range| {
                let mut value = [0; 4];
                let mut enabled = [0; 4];
                if let (Some(to), Some(from)) = (
                    value.get_mut(lane..lane + range.len()),
                    data.get(range.clone()),
                ) {
                    to.copy_from_slice(from);
                }
                if let Some(lanes) = enabled.get_mut(lane..lane + range.len()) {
                    lanes.fill(0xff);
                }
                bridge.write_dword(
                    side,
                    dword,
                    u32::from_le_bytes(value),
                    u32::from_le_bytes(enabled),
                );
            });
        })
    }

    /// Whether a write of `length` bytes at `offset` rings the peer's doorbells.
    pub fn is_doorbell(offset: u64, length: usize) -> bool {
        let mut found = false;
        for_each_dword(offset, length, |dword, _, _| {
            found |= registers::find(dword).and_then(|target| {
                REGISTERS
                    .get(target.index)
                    .map(|register| (register.role, target.peer))
            }) == Some((Role::DoorbellRequest, false));
        });
        found
    }

    /// The translation of a side's window, as a bus address of the peer.
    pub fn translation(&self, side: Side, window: usize) -> u64 {
        self.wide(side, Role::XlatLow(window), Role::XlatHigh(window))
    }

    /// How many bytes of a side's window are open.
    pub fn limit(&self, side: Side, window: usize) -> u64 {
        self.wide(side, Role::LimitLow(window), Role::LimitHigh(window))
    }

    /// Where an access of `length` bytes at `offset` of a side's window goes in the peer's address space.
    ///
    /// # Errors
    ///
    /// It goes nowhere, and why.
    pub fn translate(
        &self,
        side: Side,
        window: usize,
        offset: u64,
        length: usize,
    ) -> Result<u64, Blocked> {
        if !self.link() {
            return Err(Blocked::NoLink);
        }
        let length = u64::try_from(length).map_err(|_| Blocked::Limit)?;
        let end = offset.checked_add(length).ok_or(Blocked::Limit)?;
        if end > self.limit(side, window) {
            return Err(Blocked::Limit);
        }
        let address = self
            .translation(side, window)
            .checked_add(offset)
            .ok_or(Blocked::Address)?;
        address
            .checked_add(length)
            .map(|_| address)
            .ok_or(Blocked::Address)
    }

    /// Does something and says which interrupt lines it raised.
    fn change(&mut self, action: impl FnOnce(&mut Self)) -> Effect {
        let before = Side::BOTH.map(|side| self.sides[side].lines());
        action(self);
        let mut effect = Effect::default();
        for (side, before) in Side::BOTH.into_iter().zip(before) {
            effect.0[side] = self.sides[side].lines() & !before;
        }
        effect
    }

    /// Resets a side, and closes the peer's windows into it: what they pointed at is no longer what was meant.
    fn reset_side(&mut self, side: Side) {
        self.sides[side].reset(side);
        self.sides[side.peer()].close_windows();
    }

    fn wide(&self, side: Side, low: Role, high: Role) -> u64 {
        let state = &self.sides[side];
        u64::from(state.role(low)) | (u64::from(state.role(high)) << 32)
    }

    fn owner(side: Side, target: Target, role: Role) -> Side {
        match role {
            // One copy serves both sides.
            Role::Shared => Side::Primary,
            _ if target.peer => side.peer(),
            _ => side,
        }
    }

    fn read_dword(&self, side: Side, offset: u64) -> u32 {
        let Some((target, register)) =
            registers::find(offset).and_then(|t| Some((t, REGISTERS.get(t.index)?)))
        else {
            return 0;
        };
        let owner = Self::owner(side, target, register.role);
        match register.role {
            Role::DoorbellMirror => self.sides[owner.peer()].role(Role::DoorbellStatus),
            _ => self.sides[owner]
                .values
                .get(target.index)
                .copied()
                .unwrap_or(0),
        }
    }

    fn write_dword(&mut self, side: Side, offset: u64, value: u32, enabled: u32) {
        let Some((target, register)) =
            registers::find(offset).and_then(|t| Some((t, REGISTERS.get(t.index)?)))
        else {
            return;
        };
        let owner = Self::owner(side, target, register.role);
        let mask = enabled
            & if target.peer {
                register.peer
            } else {
                register.own
            };
        let set = value & mask;
        match register.role {
            Role::DoorbellRequest => self.ring(owner.peer(), set),
            Role::DoorbellStatus | Role::EventStatus => {
                let state = &mut self.sides[owner];
                let left = state.role(register.role) & !set;
                state.set(register.role, left);
                state.show_next_event();
            }
            Role::XlatLow(window) | Role::XlatHigh(window) if self.is_fixed(window) => {}
            _ => {
                let state = &mut self.sides[owner];
                if let Some(slot) = state.values.get_mut(target.index) {
                    *slot = (*slot & !mask) | set;
                }
                if !state.ready() {
                    state.forget_latched();
                }
            }
        }
    }

    fn ring(&mut self, side: Side, bits: u32) {
        let state = &mut self.sides[side];
        if state.ready() {
            let rung = state.role(Role::DoorbellStatus) | bits;
            state.set(Role::DoorbellStatus, rung);
        }
    }

    fn is_fixed(&self, window: usize) -> bool {
        self.fixed.get(window) == Some(&Fixed::AtZero)
    }
}

/// Splits `length` bytes from `offset` on into dwords: calls `visit` with the dword's offset, the first byte lane
/// used in it, and the range of the data that belongs there.
fn for_each_dword(
    offset: u64,
    length: usize,
    mut visit: impl FnMut(u64, usize, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < length {
        let Some(at) = u64::try_from(done)
            .ok()
            .and_then(|done| offset.checked_add(done))
        else {
            return;
        };
        let lane = (at & 3) as usize;
        let count = (4 - lane).min(length - done);
        visit(at & !3, lane, done..done + count);
        done += count;
    }
}

#[cfg(test)]
mod tests;
