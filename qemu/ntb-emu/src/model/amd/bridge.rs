// SPDX-License-Identifier: GPL-2.0

//! The state of both sides, and what reads and writes do to it.

use super::events::{self, Event, Queue};
use super::registers::{self, Role, Target, READY, REGISTERS};
use super::{layout, IDENTITY, WINDOWS};
use crate::layout::Layout;
use crate::model::{Blocked, Effect, Model, Opening, Presence, Window, WindowError};
use crate::pci_config::ConfigSpace;
use crate::side::{PerSide, Side};

#[derive(Debug)]
struct State {
    values: [u32; REGISTERS.len()],
    events: Queue,
}

impl State {
    fn new(side: Side) -> Self {
        let mut state = Self {
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

    /// Whether a link-down event is shown or still to be shown.
    fn link_down_unseen(&self) -> bool {
        self.role(Role::EventStatus) == Event::LinkDown.bit() || !self.events.is_empty()
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
    layout: Layout,
    config: PerSide<ConfigSpace>,
    presence: Presence,
    sides: PerSide<State>,
    fixed: Vec<bool>,
}

impl Bridge {
    /// A bridge after power-on, with nobody there.
    ///
    /// # Errors
    ///
    /// It cannot have such windows.
    pub fn new(windows: &[Window]) -> Result<Self, WindowError> {
        let layout = layout(windows)?;
        Ok(Self {
            config: PerSide(Side::BOTH.map(|_| ConfigSpace::new(&IDENTITY, &layout))),
            layout,
            presence: Presence::default(),
            sides: PerSide(Side::BOTH.map(State::new)),
            fixed: windows.iter().map(|window| window.direct).collect(),
        })
    }

    /// The translation of a side's window, as a bus address of the peer.
    pub fn translation(&self, side: Side, window: usize) -> u64 {
        self.wide(side, Role::XlatLow(window), Role::XlatHigh(window))
    }

    /// The limit of a side's window in bytes.
    pub fn limit(&self, side: Side, window: usize) -> u64 {
        self.wide(side, Role::LimitLow(window), Role::LimitHigh(window))
    }
}

impl Model for Bridge {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn attach(&mut self, side: Side) -> Effect {
        self.change(|bridge| {
            bridge.presence.set(side, true);
            bridge.tell_both_if(bridge.link(), Event::LinkUp);
        })
    }

    /// When the last host goes, scratchpads are cleared.
    fn detach(&mut self, side: Side) -> Effect {
        self.change(|bridge| {
            let linked = bridge.link();
            bridge.presence.set(side, false);
            bridge.reset_side(side);
            if linked {
                bridge.sides[side.peer()].raise(Event::LinkDown);
            }
            if bridge.presence.empty() {
                bridge.sides = PerSide(Side::BOTH.map(State::new));
            }
        })
    }

    /// The peer sees the link go and come, if a driver was using it.
    fn reset(&mut self, side: Side) -> Effect {
        self.change(|bridge| {
            let seen = bridge.link() && bridge.ready(side);
            bridge.reset_side(side);
            if seen {
                bridge.sides[side.peer()].raise(Event::LinkDown);
                bridge.sides[side.peer()].raise(Event::LinkUp);
            }
        })
    }

    fn set_cable(&mut self, connected: bool) -> Effect {
        self.change(|bridge| {
            let before = bridge.link();
            bridge.presence.set_cable(connected);
            let after = bridge.link();
            bridge.tell_both_if(before && !after, Event::LinkDown);
            bridge.tell_both_if(after && !before, Event::LinkUp);
        })
    }

    fn link(&self) -> bool {
        self.presence.link()
    }

    fn ready(&self, side: Side) -> bool {
        self.sides[side].ready()
    }

    fn read(&self, side: Side, offset: u64, data: &mut [u8]) {
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

    fn write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect {
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

    fn register_name(&self, offset: u64) -> Option<&'static str> {
        let target = registers::find(offset & !3)?;
        let register = REGISTERS.get(target.index)?;
        Some(if target.peer {
            register.peer_name
        } else {
            register.name
        })
    }

    fn rings(&self, _: Side, offset: u64, length: usize) -> bool {
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

    fn config_read(&self, side: Side, offset: u64, data: &mut [u8]) {
        self.config[side].read(offset, data);
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
        if !self.link() {
            return Err(Blocked::NoLink);
        }
        let length = u64::try_from(length).map_err(|_| Blocked::Closed)?;
        let end = offset.checked_add(length).ok_or(Blocked::Closed)?;
        if end > self.open(side, window) {
            return Err(Blocked::Closed);
        }
        let address = self
            .translation(side, window)
            .checked_add(offset)
            .ok_or(Blocked::Address)?;
        if !self.bus_master(side.peer()) {
            return Err(Blocked::NotMaster);
        }
        address
            .checked_add(length)
            .map(|_| address)
            .ok_or(Blocked::Address)
    }

    fn openings(&self, side: Side, window: usize) -> Vec<Opening> {
        let size = self.open(side, window);
        let open = (size > 0).then(|| Opening {
            offset: 0,
            size,
            address: self.translation(side, window),
        });
        open.into_iter().collect()
    }
}

impl Bridge {
    /// How many bytes of a side's window are open: a limit may be larger than the window.
    fn open(&self, side: Side, window: usize) -> u64 {
        self.limit(side, window).min(self.layout.window(window))
    }

    /// Does something and says which interrupt lines it raised.
    fn change(&mut self, action: impl FnOnce(&mut Self)) -> Effect {
        let before = Side::BOTH.map(|side| self.sides[side].lines());
        action(self);
        let mut effect = Effect::default();
        for (side, before) in Side::BOTH.into_iter().zip(before) {
            let raised = self.sides[side].lines() & !before;
            effect = effect.and(Effect::on(side, raised.into()));
        }
        effect
    }

    fn tell_both_if(&mut self, happened: bool, event: Event) {
        if happened {
            for side in Side::BOTH {
                self.sides[side].raise(event);
            }
        }
    }

    /// Resets a side, and closes the peer's windows into it: what they pointed at is no longer what was meant.
    fn reset_side(&mut self, side: Side) {
        self.config[side].reset();
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
            Role::SideInfo if target.peer && self.hides_peer(side) => {
                self.sides[owner].role(Role::SideInfo) & !READY
            }
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

    /// Whether a side is to see its peer as not READY, whatever the peer says.
    fn hides_peer(&self, side: Side) -> bool {
        !self.presence.cable() || self.sides[side].link_down_unseen()
    }

    fn ring(&mut self, side: Side, bits: u32) {
        let cable = self.presence.cable();
        let state = &mut self.sides[side];
        if cable && state.ready() {
            let rung = state.role(Role::DoorbellStatus) | bits;
            state.set(Role::DoorbellStatus, rung);
        }
    }

    fn is_fixed(&self, window: usize) -> bool {
        self.fixed.get(window) == Some(&true)
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
