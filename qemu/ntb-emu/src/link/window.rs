// SPDX-License-Identifier: GPL-2.0

//! Accesses through a memory window.

use std::sync::Arc;

use tracing::{trace, warn};

use super::{reply, Link};
use crate::connection::{Connection, PendingRead, Waiter};
use crate::counters::WindowCounters;
use crate::memory::Access;
use crate::outbox::SendError;
use crate::side::Side;
use crate::wire::{Header, RegionAccess};
use zerocopy::IntoBytes;

impl Link {
    /// A host reads through a window; the answer is sent now or when the peer has answered, but always.
    pub(super) fn window_read(
        &self,
        connection: &Arc<Connection>,
        header: &Header,
        access: RegionAccess,
        window: usize,
        data: &mut [u8],
    ) {
        let side = connection.side;
        let counters = self.window_counters(side, window);
        counters.reads.one();
        // CAST: usize has at most 64 bits.
        counters.bytes_read.add(data.len() as u64);
        let offset = access.offset.get();
        data.fill(0xff);
        if let Some(address) = self.target(side, window, offset, data.len()) {
            let peer = self.end(side.peer());
            match peer.memory.read(address, data) {
                Access::Done => counters.ram_reads.one(),
                Access::Refused => counters.blocked.one(),
                Access::Elsewhere => {
                    counters.device_reads.one();
                    let Some(target) = peer.connection() else {
                        counters.failed.one();
                        return reply(connection, header, [access.as_bytes(), data]);
                    };
                    let Some(wait) = self.waits.begin(self.end(side).host, peer.host) else {
                        counters.deadlocks.one();
                        self.report_deadlock(side, window, address, counters.deadlocks.get());
                        return reply(connection, header, [access.as_bytes(), data]);
                    };
                    let reader = connection.clone();
                    let read = PendingRead {
                        reader,
                        header: *header,
                        access,
                        window,
                        wait,
                    };
                    if let Err(waiter) = target.ask(address, data.len(), Waiter::Read(read)) {
                        counters.failed.one();
                        if let Waiter::Read(read) = *waiter {
                            self.finish_read(read, None);
                        }
                    }
                    return;
                }
            }
        } else {
            counters.blocked.one();
        }
        trace!(%side, window, offset, length = data.len(), "read");
        reply(connection, header, [access.as_bytes(), data]);
    }

    /// A host writes through a window.
    pub(super) fn window_write(&self, side: Side, window: usize, offset: u64, data: &[u8]) {
        let counters = self.window_counters(side, window);
        counters.writes.one();
        // CAST: usize has at most 64 bits.
        counters.bytes_written.add(data.len() as u64);
        let Some(address) = self.target(side, window, offset, data.len()) else {
            counters.blocked.one();
            return;
        };
        let peer = self.end(side.peer());
        match peer.memory.write(address, data) {
            Access::Done => counters.ram_writes.one(),
            Access::Refused => counters.blocked.one(),
            Access::Elsewhere => {
                counters.device_writes.one();
                let target = peer.connection();
                let sent =
                    target.map_or(Err(SendError::Closed), |target| target.write(address, data));
                if let Err(error) = sent {
                    counters.dropped.one();
                    if counters.dropped.get() == 1 {
                        warn!(link = self.name, host = self.end(side).name, peer = peer.name, %error, "writes are lost");
                    }
                }
            }
        }
    }

    /// Answers a host's read, with all-ones if there is no data.
    pub(super) fn finish_read(&self, read: PendingRead, data: Option<&[u8]>) {
        let PendingRead {
            reader,
            header,
            access,
            wait,
            ..
        } = read;
        // Before the answer is out: the host may read again at once.
        drop(wait);
        match data {
            Some(data) => reply(&reader, &header, [access.as_bytes(), data]),
            // CAST: it was checked to be at most MAX_TRANSFER.
            None => reply(
                &reader,
                &header,
                [access.as_bytes(), &vec![0xff; access.count.get() as usize]],
            ),
        }
    }

    /// Says, but not too often, that a read has failed because of how QEMU works and for no other reason.
    fn report_deadlock(&self, side: Side, window: usize, address: u64, count: u64) {
        if count.is_power_of_two() {
            warn!(
                link = self.name,
                host = self.end(side).name,
                peer = self.end(side.peer()).name,
                window,
                address = format_args!("{address:#x}"),
                count,
                "device read answered with ones: the peer is waiting for a read of this host, and two QEMUs cannot wait for each other"
            );
        }
    }

    pub(super) fn window_counters(&self, side: Side, window: usize) -> &WindowCounters {
        let windows = &self.end(side).counters.windows;
        // Windows come from the layout, which has no others.
        windows.get(window).unwrap_or(&windows[0])
    }

    /// Where in the peer's address space an access goes, if it gets through.
    fn target(&self, side: Side, window: usize, offset: u64, length: usize) -> Option<u64> {
        let translated = self.model().translate(side, window, offset, length);
        if let Err(why) = translated {
            trace!(%side, window, offset, length, ?why, "blocked");
        }
        translated.ok()
    }
}
