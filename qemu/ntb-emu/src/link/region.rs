// SPDX-License-Identifier: GPL-2.0

//! Accesses to the regions of the function: registers, windows, configuration space.

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;
use std::time::Instant;

use zerocopy::IntoBytes;

use super::faults::Packet;
use super::{reply, Link, FORWARD_TIMEOUT};
use crate::connection::{Connection, PendingDoorbell, Waiter};
use crate::layout::Region;
use crate::side::Side;
use crate::trace::{Kind, Outcome, Place};
use crate::wire::{Header, RegionAccess};
use rustix::io::Errno;

impl Link {
    /// A host reads one of its function's regions; the answer is sent now or later.
    ///
    /// # Errors
    ///
    /// There is no such region, or the access does not fit into it: no answer has been sent.
    pub fn region_read(
        &self,
        connection: &Arc<Connection>,
        header: &Header,
        access: RegionAccess,
    ) -> Result<(), Errno> {
        let side = connection.side;
        let offset = access.offset.get();
        let count = usize::try_from(access.count.get()).map_err(|_| Errno::INVAL)?;
        let region = self.region(&access, count)?;
        if let Region::Window(window) = region {
            self.window_read(connection, header, access, window);
            return Ok(());
        }
        // Almost all accesses are a few bytes.
        let mut short = [0; 8];
        let mut long = Vec::new();
        let data = match short.get_mut(..count) {
            Some(data) => data,
            None => {
                long.resize(count, 0);
                &mut long[..]
            }
        };
        match region {
            Region::Registers => self.register_read(side, offset, data),
            Region::Config => {
                self.end(side).counters.config_accesses.one();
                self.model().config_read(side, offset, data);
                self.tell(side, Kind::ConfigRead, Outcome::Done, |record| {
                    record.place = Place::Config { offset };
                    record.set_data(data);
                });
            }
            Region::Window(_) | Region::Empty => {}
        }
        reply(connection, header, [access.as_bytes(), data]);
        Ok(())
    }

    /// A host writes one of its function's regions.
    ///
    /// # Errors
    ///
    /// There is no such region, or the access does not fit into it.
    pub fn region_write(&self, side: Side, access: RegionAccess, data: &[u8]) -> Result<(), Errno> {
        let offset = access.offset.get();
        match self.region(&access, data.len())? {
            Region::Window(window) => self.window_write(side, window, offset, data),
            Region::Registers => self.register_write(side, offset, data),
            Region::Config => {
                self.end(side).counters.config_accesses.one();
                let effect = self.model().config_write(side, offset, data);
                self.tell(side, Kind::ConfigWrite, Outcome::Done, |record| {
                    record.place = Place::Config { offset };
                    record.set_data(data);
                });
                self.fire(effect);
            }
            Region::Empty => {}
        }
        Ok(())
    }

    /// Carries out the register write of a doorbell that may be rung now.
    pub(super) fn ring(&self, doorbell: PendingDoorbell) {
        // What was written to RAM before must be there when the peer is interrupted.
        fence(Ordering::SeqCst);
        let effect = self
            .model()
            .write(doorbell.side, doorbell.offset, &doorbell.data);
        self.tell_doorbell(&doorbell, Outcome::Done);
        self.fire(effect);
    }

    fn region(&self, access: &RegionAccess, count: usize) -> Result<Region, Errno> {
        let (region, size) = self
            .layout()
            .region(access.region.get())
            .ok_or(Errno::INVAL)?;
        let count = u64::try_from(count).map_err(|_| Errno::INVAL)?;
        match access.offset.get().checked_add(count) {
            Some(end) if end <= size => Ok(region),
            _ => Err(Errno::INVAL),
        }
    }

    fn register_read(&self, side: Side, offset: u64, data: &mut [u8]) {
        let end = self.end(side);
        end.counters.register_reads.one();
        let pending = end.interrupts.pending().to_le_bytes();
        let first = self.layout.msix.pending;
        if (first..first + pending.len() as u64).contains(&offset) {
            for (byte, at) in data.iter_mut().zip(offset - first..) {
                *byte = usize::try_from(at)
                    .ok()
                    .and_then(|at| pending.get(at))
                    .copied()
                    .unwrap_or(0);
            }
        } else {
            self.model().read(side, offset, data);
        }
        self.tell(side, Kind::RegisterRead, Outcome::Done, |record| {
            record.place = self.register(offset);
            record.set_data(data);
        });
    }

    fn register_write(&self, side: Side, offset: u64, data: &[u8]) {
        let counters = &self.end(side).counters;
        counters.register_writes.one();
        {
            let mut model = self.model();
            if !model.rings(side, offset, data.len()) {
                let effect = model.write(side, offset, data);
                drop(model);
                self.tell(side, Kind::RegisterWrite, Outcome::Done, |record| {
                    record.place = self.register(offset);
                    record.set_data(data);
                });
                return self.fire(effect);
            }
        }
        counters.doorbells.one();
        let doorbell = PendingDoorbell {
            side,
            offset,
            data: data.to_vec(),
            since: self.begin(),
        };
        if !self.attention().faults() {
            self.ring_in_turn(doorbell);
        } else if self.faults.loses_doorbell(side) {
            self.lose_doorbell(&doorbell);
        } else {
            self.send(side, Packet::Doorbell(doorbell));
        }
    }

    /// Rings a doorbell when all that its host has written before has arrived.
    pub(super) fn ring_in_turn(&self, doorbell: PendingDoorbell) {
        let side = doorbell.side;
        match self
            .end(side.peer())
            .connection()
            .filter(|target| !target.is_settled())
        {
            None => self.ring(doorbell),
            Some(target) => {
                self.end(side).counters.doorbells_deferred.one();
                let give_up = Instant::now() + FORWARD_TIMEOUT;
                if let Err(waiter) = target.ask(0, 0, Waiter::Doorbell(doorbell), give_up) {
                    if let Waiter::Doorbell(doorbell) = *waiter {
                        self.ring(doorbell);
                    }
                }
            }
        }
    }
}
