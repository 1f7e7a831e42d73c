// SPDX-License-Identifier: GPL-2.0

//! Doorbells and messages, and what interrupts.

use super::super::gas::{BlockId, Role};
use super::super::{partition, VECTORS};
use super::Bridge;
use crate::model::Effect;
use crate::side::Side;

/// Messages of each direction, and the first doorbell that shares its vector with one.
const MESSAGES: usize = 4;
const FIRST: usize = 60;

impl Bridge {
    /// Rings doorbells in the peer's partition.
    pub(super) fn ring(&mut self, side: Side, bits: u64) -> Effect {
        let rung = bits
            & self
                .bank(side, BlockId::Doorbell)
                .get(Role::DoorbellAllowed, 0);
        if !self.presence.link() {
            return Effect::default();
        }
        let peer = side.peer();
        self.signal(peer, |bridge| {
            let bank = bridge.bank_mut(peer, BlockId::Doorbell);
            let pending = bank.get(Role::DoorbellPending, 0) | rung;
            bank.set(Role::DoorbellPending, 0, pending);
        })
    }

    /// Sends what is in `omsg`, or lets it wait until the last message is read.
    pub(super) fn send(&mut self, side: Side, index: usize) -> Effect {
        let Some(inbox) = self.inbox(side, index).filter(|_| self.presence.link()) else {
            return Effect::default();
        };
        let unread = self
            .bank(side.peer(), BlockId::Doorbell)
            .get(Role::MessageInStatus, inbox);
        if unread != 0 {
            let bank = self.bank_mut(side, BlockId::Doorbell);
            bank.set(Role::MessageOutStatus, index, 1);
            return Effect::default();
        }
        self.deliver(side, index, inbox)
    }

    /// The driver has read the message in an inbox, if it says so; the one that waits for that comes next.
    pub(super) fn message_read(&mut self, side: Side, inbox: usize, clear: u64) -> Effect {
        if clear == 0 {
            return Effect::default();
        }
        let bank = self.bank_mut(side, BlockId::Doorbell);
        bank.set(Role::MessageInStatus, inbox, 0);
        let peer = side.peer();
        let waiting = (0..MESSAGES).find(|index| {
            let status = self
                .bank(peer, BlockId::Doorbell)
                .get(Role::MessageOutStatus, *index);
            status != 0 && self.inbox(peer, *index) == Some(inbox)
        });
        match waiting {
            Some(index) => self.deliver(peer, index, inbox),
            None => Effect::default(),
        }
    }

    /// Forgets the messages that wait to be read by a side.
    pub(super) fn forget_messages_to(&mut self, side: Side) {
        let bank = self.bank_mut(side.peer(), BlockId::Doorbell);
        for index in 0..MESSAGES {
            bank.set(Role::MessageOutStatus, index, 0);
        }
    }

    /// Does something and says which vectors of a side signal because of it.
    pub(super) fn signal(&mut self, side: Side, action: impl FnOnce(&mut Self)) -> Effect {
        let before = self.sources(side);
        action(self);
        let after = self.sources(side);
        let vectors = before
            .into_iter()
            .zip(after)
            .filter(|(before, after)| before != after)
            .filter_map(|(_, after)| after)
            .fold(0, |vectors, vector| vectors | 1 << vector);
        Effect::on(side, vectors)
    }

    fn deliver(&mut self, side: Side, index: usize, inbox: usize) -> Effect {
        let bank = self.bank_mut(side, BlockId::Doorbell);
        bank.set(Role::MessageOutStatus, index, 0);
        let message = bank.get(Role::MessageOut, index);
        let peer = side.peer();
        self.signal(peer, |bridge| {
            let bank = bridge.bank_mut(peer, BlockId::Doorbell);
            bank.set(Role::MessageIn, inbox, message);
            bank.set(Role::MessageInSource, inbox, partition(side));
            bank.set(Role::MessageInStatus, inbox, 1);
        })
    }

    /// Which of the peer's inboxes a side's message goes to; `None` if it is for nobody.
    fn inbox(&self, side: Side, index: usize) -> Option<usize> {
        let map = self.bank(side, BlockId::Doorbell).get(Role::MessageMap, 0);
        // CAST: at most 3.
        let to = map >> (8 * index as u32) & 0xff;
        (to >> 2 == partition(side.peer())).then_some((to & 3) as usize)
    }

    /// What interrupts a side now, and on which vector: each doorbell, then each message.
    fn sources(&self, side: Side) -> [Option<u32>; FIRST + 2 * MESSAGES] {
        let bank = self.bank(side, BlockId::Doorbell);
        let doorbells = bank.get(Role::DoorbellPending, 0) & bank.get(Role::DoorbellEnabled, 0);
        let mut sources = [None; FIRST + 2 * MESSAGES];
        for (source, slot) in sources.iter_mut().enumerate() {
            let message = source.checked_sub(FIRST + MESSAGES);
            let (raised, doorbell) = match message {
                None => (doorbells >> source & 1 != 0, source),
                Some(message) => (
                    bank.get(Role::MessageInStatus, message) != 0
                        && bank.get(Role::MessageInEnabled, message) != 0,
                    FIRST + message,
                ),
            };
            let vector = bank.get(Role::DoorbellVector, doorbell);
            if raised && vector < VECTORS as u64 {
                // CAST: at most 63.
                *slot = Some(vector as u32);
            }
        }
        sources
    }
}
