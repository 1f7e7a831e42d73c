// SPDX-License-Identifier: GPL-2.0

//! The thread that delivers what faults hold up. There is one as long as there is something to hold up.

use std::sync::Arc;
use std::thread;

use super::faults::{Entry, Errand, Packet};
use super::watch::Written;
use super::Link;
use crate::connection::PendingDoorbell;
use crate::fault::FaultError;
use crate::side::Side;
use crate::trace::Outcome;

impl Link {
    /// Sees to it that there is a courier if one is needed.
    pub(super) fn employ_courier(self: &Arc<Self>) -> Result<(), FaultError> {
        if !self.faults.hire() {
            return Ok(());
        }
        let (faults, link) = (self.faults.clone(), Arc::downgrade(self));
        let started = thread::Builder::new()
            .name(format!("{} courier", self.name))
            .spawn(move || {
                while let Some(errand) = faults.next_errand() {
                    let Some(link) = link.upgrade() else { return };
                    link.carry_out(errand);
                }
            });
        started.map(drop).map_err(|error| {
            // Without one, things would wait for ever.
            self.faults.clear();
            self.faults.dismiss();
            self.lose_all();
            FaultError::Thread(error.kind())
        })
    }

    fn carry_out(&self, errand: Errand) {
        match errand {
            Errand::Packet(side, packet) => self.deliver(side, packet),
            Errand::Doorbell(doorbell) => self.ring_in_turn(doorbell),
            Errand::Cable => self.sync_cable(),
        }
    }

    /// Has something that the host on `side` sends arrive, at once or when the faults let it.
    #[cold]
    pub(super) fn send(&self, side: Side, packet: Packet) {
        // Whose read or write it is.
        let counted = match &packet {
            Packet::Write { window, .. } => Some((side, *window)),
            Packet::Read(read) | Packet::Answer(read, _) => Some((read.reader.side, read.window)),
            Packet::Doorbell(_) => None,
        };
        match self.faults.enter(side, packet) {
            Entry::Free(packet) => self.deliver(side, packet),
            Entry::Full(packet) => self.lose(side, packet),
            Entry::Vain(packet) => self.give_up(packet),
            Entry::Waits => match counted {
                Some((side, window)) => self.window_counters(side, window).delayed.one(),
                None => self.end(side).counters.doorbells_delayed.one(),
            },
        }
    }

    fn deliver(&self, side: Side, packet: Packet) {
        let attention = self.faults.attention();
        match packet {
            Packet::Write {
                window,
                offset,
                data,
                since,
            } => self.write_arrives(attention, side, window, offset, &data, since),
            Packet::Read(read) => self.read_arrives(attention, *read),
            Packet::Answer(read, data) => self.answer_read(*read, data.as_deref()),
            Packet::Doorbell(doorbell) => match self.faults.enter_doorbell(side, doorbell) {
                Entry::Free(doorbell) => self.ring_in_turn(doorbell),
                Entry::Full(doorbell) | Entry::Vain(doorbell) => {
                    self.lose(side, Packet::Doorbell(doorbell));
                }
                Entry::Waits => self.end(side).counters.doorbells_delayed.one(),
            },
        }
    }

    /// Something never arrives. Whoever waits for it is told.
    pub(super) fn lose(&self, side: Side, packet: Packet) {
        match packet {
            Packet::Write {
                window,
                offset,
                data,
                since,
            } => {
                self.window_counters(side, window).dropped.one();
                let written = Written::new(Outcome::Lost, None);
                self.tell_write(side, window, offset, &data, since, written);
            }
            Packet::Doorbell(doorbell) => self.lose_doorbell(&doorbell),
            Packet::Read(mut read) | Packet::Answer(mut read, _) => {
                self.window_counters(read.reader.side, read.window)
                    .failed
                    .one();
                read.outcome = Outcome::Lost;
                self.answer_read(*read, None);
            }
        }
    }

    /// A doorbell is never rung.
    pub(super) fn lose_doorbell(&self, doorbell: &PendingDoorbell) {
        self.end(doorbell.side).counters.doorbells_dropped.one();
        self.tell_doorbell(doorbell, Outcome::Lost);
    }

    /// A read or the answer to one has taken too long.
    pub(super) fn give_up(&self, packet: Packet) {
        if let Packet::Read(mut read) | Packet::Answer(mut read, _) = packet {
            let counters = self.window_counters(read.reader.side, read.window);
            counters.timeouts.one();
            read.outcome = Outcome::Timeout;
            self.answer_read(*read, None);
        }
    }

    /// Everything that is under way is lost, as when a cable is pulled.
    pub(super) fn lose_all(&self) {
        for (side, packet) in self.faults.take_all() {
            self.lose(side, packet);
        }
    }
}
