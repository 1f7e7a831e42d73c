// SPDX-License-Identifier: GPL-2.0

//! Accesses to the regions of the function: registers, windows, configuration space.

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::{reply, Ntb};
use crate::amd::{Bridge, Side};
use crate::connection::{Connection, PendingDoorbell, Waiter};
use crate::layout::{Region, MSIX_PENDING_OFFSET, MSIX_TABLE_OFFSET};
use crate::wire::{Header, RegionAccess};
use rustix::io::Errno;

impl Ntb {
    /// A host reads one of its regions; the answer is sent now or later.
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
            Region::Window(window) => {
                self.window_read(connection, header, access, window, data);
                return Ok(());
            }
            Region::Registers => self.register_read(side, offset, data),
            Region::Config => self.host(side).config_read(offset, data),
            Region::Empty => {}
        }
        reply(connection, header, [access.as_bytes(), data]);
        Ok(())
    }

    /// A host writes one of its regions.
    ///
    /// # Errors
    ///
    /// There is no such region, or the access does not fit into it.
    pub fn region_write(&self, side: Side, access: RegionAccess, data: &[u8]) -> Result<(), Errno> {
        let offset = access.offset.get();
        match self.region(&access, data.len())? {
            Region::Window(window) => self.window_write(side, window, offset, data),
            Region::Registers => self.register_write(side, offset, data),
            Region::Config => self.host(side).config_write(offset, data),
            Region::Empty => {}
        }
        Ok(())
    }

    /// Carries out the register write of a doorbell that may be rung now.
    pub(super) fn ring(&self, doorbell: PendingDoorbell) {
        let PendingDoorbell { side, offset, data } = doorbell;
        // What was written to RAM before must be there when the peer is interrupted.
        fence(Ordering::SeqCst);
        let effect = self.registers().write(side, offset, &data);
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
        let host = self.host(side);
        host.counters.register_reads.one();
        if offset >= MSIX_PENDING_OFFSET {
            let pending = u64::from(host.interrupts.pending()).to_le_bytes();
            for (byte, at) in data.iter_mut().zip(offset - MSIX_PENDING_OFFSET..) {
                *byte = usize::try_from(at)
                    .ok()
                    .and_then(|at| pending.get(at))
                    .copied()
                    .unwrap_or(0);
            }
        } else {
            self.registers().read(side, offset, data);
        }
    }

    fn register_write(&self, side: Side, offset: u64, data: &[u8]) {
        let counters = &self.host(side).counters;
        counters.register_writes.one();
        if offset >= MSIX_TABLE_OFFSET {
            return;
        }
        if !Bridge::is_doorbell(offset, data.len()) {
            let effect = self.registers().write(side, offset, data);
            return self.fire(effect);
        }
        counters.doorbells.one();
        let doorbell = PendingDoorbell {
            side,
            offset,
            data: data.to_vec(),
        };
        match self
            .host(side.peer())
            .connection()
            .filter(|target| !target.is_settled())
        {
            None => self.ring(doorbell),
            Some(target) => {
                counters.doorbells_deferred.one();
                if let Err(waiter) = target.ask(0, 0, Waiter::Doorbell(doorbell)) {
                    if let Waiter::Doorbell(doorbell) = *waiter {
                        self.ring(doorbell);
                    }
                }
            }
        }
    }
}
