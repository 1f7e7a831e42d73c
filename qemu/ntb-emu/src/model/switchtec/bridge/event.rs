// SPDX-License-Identifier: GPL-2.0

//! Events: firmware commands that have ended, and ports whose link has changed.

use super::super::gas::{BlockId, Event, Role};
use super::super::{partition, EVENT_VECTOR};
use super::Bridge;
use crate::model::{Effect, Presence};
use crate::side::Side;

/// Bits of an event's header: EVENT_OCCURRED, which is cleared by writing one, and EVENT_EN_IRQ.
const OCCURRED: u64 = 1 << 0;
const INTERRUPT: u64 = 1 << 3;
/// The number of events, modulo 256.
const COUNT: u64 = 0xff << 5;

/// Summary bits.
const PARTITION_MRPC: u64 = 1 << 1;
const PORT_LINK_STATE: u64 = 1 << 12;

/// The only firmware command there is: answers the complement of what it is given.
const ECHO: u64 = 65;
/// MRPC_STATUS_DONE and MRPC_STATUS_ERROR.
const DONE: u64 = 2;
const FAILED: u64 = 0xff;
/// What firmware returns for a command that it does not know.
const UNKNOWN: u64 = 0x6_4005;

impl Bridge {
    /// Carries out a firmware command.
    pub(super) fn carry_out(&mut self, side: Side, command: u64) -> Effect {
        let bank = self.bank_mut(side, BlockId::Mrpc);
        let (status, result, output) = match command & 0xffff {
            ECHO => (DONE, 0, !bank.get(Role::MrpcInput, 0) & 0xffff_ffff),
            _ => (FAILED, UNKNOWN, 0),
        };
        bank.set(Role::MrpcOutput, 0, output);
        bank.set(Role::MrpcReturn, 0, result);
        bank.set(Role::MrpcStatus, 0, status);
        if self.count(side, Event::MrpcDone, 1) {
            Effect::on(side, 1 << EVENT_VECTOR)
        } else {
            Effect::default()
        }
    }

    /// The link of a side's port has changed so many times.
    pub(super) fn link_event(&mut self, side: Side, times: u64) -> Effect {
        if !self.count(side, Event::LinkState, times) {
            return Effect::default();
        }
        let vector = 1 << EVENT_VECTOR;
        Effect::on(Side::Primary, vector).and(Effect::on(Side::Secondary, vector))
    }

    /// Changes who is there, and lets the ports say what has become of their links.
    pub(super) fn change_links(&mut self, action: impl FnOnce(&mut Presence)) -> Effect {
        let before = Side::BOTH.map(|side| self.port_up(side));
        action(&mut self.presence);
        let mut effect = Effect::default();
        for (side, before) in Side::BOTH.into_iter().zip(before) {
            if self.port_up(side) != before {
                effect = effect.and(self.link_event(side, 1));
            }
        }
        effect
    }

    /// Whether the link of a side's port is up.
    pub(super) fn port_up(&self, side: Side) -> bool {
        self.presence.here(side) && self.presence.cable()
    }

    /// Writes an event's header; `set` are the ones written.
    pub(super) fn write_header(&mut self, owner: Side, event: Event, merged: u64, set: u64) {
        let before = self.header(owner, event);
        let occurred = before & OCCURRED & !set;
        self.set_header(owner, event, merged & !OCCURRED | occurred);
    }

    pub(super) fn link_status(&self, owner: Side) -> u64 {
        // As the capability has it: 16 lanes at 8 GT/s, and that the data link is active.
        if self.port_up(owner) {
            1 << 13 | 16 << 4 | 3
        } else {
            0
        }
    }

    pub(super) fn partition_bitmap(&self) -> u64 {
        Side::BOTH
            .into_iter()
            .filter(|side| self.partition_summary(*side) != 0)
            .fold(0, |bitmap, side| bitmap | 1 << partition(side))
    }

    pub(super) fn partition_summary(&self, owner: Side) -> u64 {
        match self.header(owner, Event::MrpcDone) & OCCURRED {
            0 => 0,
            _ => PARTITION_MRPC,
        }
    }

    pub(super) fn port_summary(&self, owner: Side) -> u64 {
        match self.header(owner, Event::LinkState) & OCCURRED {
            0 => 0,
            _ => PORT_LINK_STATE,
        }
    }

    /// Lets an event happen so many times, and says whether it interrupts.
    fn count(&mut self, owner: Side, event: Event, times: u64) -> bool {
        let header = self.header(owner, event);
        let count = (header + (times << 5)) & COUNT;
        self.set_header(owner, event, header & !COUNT | count | OCCURRED);
        header & INTERRUPT != 0
    }

    fn header(&self, owner: Side, event: Event) -> u64 {
        self.bank(owner, block(event))
            .get(Role::EventHeader(event), 0)
    }

    fn set_header(&mut self, owner: Side, event: Event, value: u64) {
        self.bank_mut(owner, block(event))
            .set(Role::EventHeader(event), 0, value);
    }
}

/// Where an event's header is.
fn block(event: Event) -> BlockId {
    match event {
        Event::MrpcDone => BlockId::Partition,
        Event::LinkState => BlockId::Port,
    }
}
