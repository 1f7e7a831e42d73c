// SPDX-License-Identifier: GPL-2.0

//! The state of both partitions, and what reads and writes do to it.

mod control;
mod doorbell;
mod event;

use std::ops::Range;

use self::control::Lock;
use super::gas::{self, Bank, BlockId, Place, Role, BLOCKS};
use super::map::{Frame, Map, BARS, VALID};
use super::{layout, luts, partition, side_of, IDENTITY};
use crate::layout::Layout;
use crate::model::{Blocked, Effect, Model, Opening, Presence, Window, WindowError};
use crate::pci_config::ConfigSpace;
use crate::side::{PerSide, Side};

/// A host's partition.
#[derive(Debug)]
struct Partition {
    config: ConfigSpace,
    /// By [`BlockId`].
    banks: Vec<Bank>,
    frame: Frame,
    lock: Lock,
    /// The control block's entries that are in effect, and what they mean.
    in_effect: Bank,
    map: Map,
}

/// A switch with both partitions.
#[derive(Debug)]
pub struct Bridge {
    layout: Layout,
    presence: Presence,
    partitions: PerSide<Partition>,
}

impl Bridge {
    /// A switch after power-on, with nobody there.
    ///
    /// # Errors
    ///
    /// It cannot have such windows.
    pub fn new(windows: &[Window]) -> Result<Self, WindowError> {
        let layout = layout(windows)?;
        let sizes = [layout.window(0), layout.window(1)];
        let fixed = windows.last().is_some_and(|window| window.direct);
        let partitions = Side::BOTH.map(|side| {
            let banks: Vec<Bank> = BLOCKS.iter().map(Bank::new).collect();
            Partition {
                config: ConfigSpace::new(&IDENTITY, &layout),
                in_effect: Bank::new(&BLOCKS[BlockId::Control as usize]),
                banks,
                frame: Frame {
                    sizes,
                    fixed,
                    luts: luts(layout.window(0)),
                    target: partition(side.peer()),
                },
                lock: Lock::default(),
                map: Map::default(),
            }
        });
        Ok(Self {
            layout,
            presence: Presence::default(),
            partitions: PerSide(partitions),
        })
    }

    fn bank(&self, side: Side, block: BlockId) -> &Bank {
        // PANIC: each partition has all blocks.
        &self.partitions[side].banks[block as usize]
    }

    fn bank_mut(&mut self, side: Side, block: BlockId) -> &mut Bank {
        // PANIC: each partition has all blocks.
        &mut self.partitions[side].banks[block as usize]
    }

    fn read_register(&self, side: Side, place: &Place) -> u64 {
        let Place {
            block,
            owner,
            row,
            index,
            register,
            ..
        } = *place;
        let value = self.bank(owner, block).value(row, index);
        match register.role {
            Role::PartitionNumber | Role::PartitionOwner => partition(owner),
            Role::TargetPartitions => {
                side_of(index as u64).map_or(0, |of| 1 << partition(of.peer()))
            }
            Role::PartitionBitmap => self.partition_bitmap(),
            Role::PartitionSummary => self.partition_summary(owner),
            Role::PortSummary => self.port_summary(owner),
            Role::LinkStatus => self.link_status(owner),
            Role::Status => self.partitions[owner].lock.status(side),
            Role::LutEntries => self.partitions[owner].frame.luts,
            Role::BarControl if BARS.contains(&index) => value | VALID,
            Role::Requester => value | control::proxy(index) << 1,
            // They only act.
            Role::Operation | Role::DoorbellRing => 0,
            _ => value,
        }
    }

    /// Writes the bytes of a register that are `enabled`.
    fn write_register(&mut self, side: Side, place: &Place, value: u64, enabled: u64) -> Effect {
        let Place {
            block,
            owner,
            row,
            index,
            register,
            ..
        } = *place;
        let mask = enabled
            & if owner == side {
                register.own
            } else {
                register.peer
            };
        if mask == 0 {
            return Effect::default();
        }
        let set = value & mask;
        let merged = self.bank(owner, block).value(row, index) & !mask | set;
        match register.role {
            Role::EventHeader(event) => self.write_header(owner, event, merged, set),
            Role::Operation => self.operate(side, owner, merged),
            Role::BarControl
            | Role::WindowSize
            | Role::WindowSizeHigh
            | Role::WindowTarget
            | Role::Requester
            | Role::LutEntry
                if !self.may_enter(side, owner, register.role, index) => {}
            Role::DoorbellRing => return self.ring(side, set),
            Role::DoorbellPending => {
                let left = self.bank(owner, block).value(row, index) & !set;
                self.store(owner, block, row, index, left);
            }
            Role::MessageInStatus => return self.message_read(side, index, set),
            Role::MessageOut => {
                self.store(owner, block, row, index, merged);
                return self.send(side, index);
            }
            Role::DoorbellEnabled | Role::DoorbellVector | Role::MessageInEnabled => {
                return self.signal(side, |bridge| {
                    bridge.store(owner, block, row, index, merged);
                });
            }
            Role::MrpcCommand => {
                self.store(owner, block, row, index, merged);
                return self.carry_out(side, merged);
            }
            _ => self.store(owner, block, row, index, merged),
        }
        Effect::default()
    }

    fn store(&mut self, owner: Side, block: BlockId, row: usize, index: usize, value: u64) {
        if let Some(slot) = self.bank_mut(owner, block).slot(row, index) {
            *slot = value;
        }
    }

    /// A host's partition is as after power-on, and the peer's windows into it are closed: what they pointed at is no
    /// longer what was meant.
    fn reset_side(&mut self, side: Side) {
        let own = &mut self.partitions[side];
        own.config.reset();
        for (block, bank) in BLOCKS.iter().zip(&mut own.banks) {
            // Ports belong to the switch.
            if block.id != BlockId::Port {
                bank.reset();
            }
        }
        self.forget_entries(side);
        self.forget_messages_to(side);
    }
}

impl Model for Bridge {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn attach(&mut self, side: Side) -> Effect {
        self.change_links(|presence| presence.set(side, true))
    }

    fn detach(&mut self, side: Side) -> Effect {
        self.reset_side(side);
        let effect = self.change_links(|presence| presence.set(side, false));
        if self.presence.empty() {
            for side in Side::BOTH {
                self.bank_mut(side, BlockId::Port).reset();
                self.reset_side(side);
            }
        }
        effect
    }

    /// The peer sees the host's port go down and up.
    fn reset(&mut self, side: Side) -> Effect {
        self.reset_side(side);
        if self.port_up(side) {
            self.link_event(side, 2)
        } else {
            Effect::default()
        }
    }

    fn set_cable(&mut self, connected: bool) -> Effect {
        self.change_links(|presence| presence.set_cable(connected))
    }

    fn link(&self) -> bool {
        self.presence.link()
    }

    /// Its driver takes messages.
    fn ready(&self, side: Side) -> bool {
        let enabled = self
            .bank(side, BlockId::Doorbell)
            .get(Role::MessageInEnabled, 0);
        self.bus_master(side) && enabled != 0
    }

    fn read(&self, side: Side, offset: u64, data: &mut [u8]) {
        for_each_register(side, offset, data.len(), |place, range| {
            let bytes = self.read_register(side, place).to_le_bytes();
            let lanes = place.lane..place.lane + range.len();
            if let (Some(to), Some(from)) = (data.get_mut(range.clone()), bytes.get(lanes)) {
                to.copy_from_slice(from);
            }
        });
    }

    fn write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect {
        let mut effect = Effect::default();
        for_each_register(side, offset, data.len(), |place, range| {
            let (mut value, mut enabled) = ([0; 8], [0; 8]);
            let lanes = place.lane..place.lane + range.len();
            if let (Some(to), Some(from)) = (value.get_mut(lanes.clone()), data.get(range)) {
                to.copy_from_slice(from);
            }
            if let Some(lanes) = enabled.get_mut(lanes) {
                lanes.fill(0xff);
            }
            let (value, enabled) = (u64::from_le_bytes(value), u64::from_le_bytes(enabled));
            effect = effect.and(self.write_register(side, place, value, enabled));
        });
        effect
    }

    fn rings(&self, side: Side, offset: u64, length: usize) -> bool {
        let mut found = false;
        for_each_register(side, offset, length, |place, _| {
            found |= place.owner == side
                && matches!(place.register.role, Role::DoorbellRing | Role::MessageOut);
        });
        found
    }

    fn config_read(&self, side: Side, offset: u64, data: &mut [u8]) {
        self.partitions[side].config.read(offset, data);
    }

    fn config_write(&mut self, side: Side, offset: u64, data: &[u8]) -> Effect {
        self.partitions[side].config.write(offset, data);
        Effect::default()
    }

    fn bus_master(&self, side: Side) -> bool {
        self.partitions[side].config.bus_master()
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
        let address = self.partitions[side]
            .map
            .translate(window, offset, length)?;
        if !self.bus_master(side.peer()) {
            return Err(Blocked::NotMaster);
        }
        Ok(address)
    }

    fn openings(&self, side: Side, window: usize) -> Vec<Opening> {
        self.partitions[side].map.openings(window)
    }
}

/// Splits `length` bytes from `offset` on into registers: calls `visit` with each and the range of the data that belongs
/// there, leaving out what lies between registers.
fn for_each_register(
    side: Side,
    offset: u64,
    length: usize,
    mut visit: impl FnMut(&Place, Range<usize>),
) {
    let mut done = 0;
    while done < length {
        let at = u64::try_from(done).ok();
        let Some(at) = at.and_then(|done| offset.checked_add(done)) else {
            return;
        };
        match gas::find(side, at) {
            Some(place) => {
                let count = place.room.min(length - done);
                visit(&place, done..done + count);
                done += count;
            }
            None => done += 1,
        }
    }
}

#[cfg(test)]
mod tests;
