// SPDX-License-Identifier: GPL-2.0

//! Accesses through a memory window.

use std::sync::Arc;
use std::time::Instant;

use tracing::{trace, warn};

use super::attention::Attention;
use super::faults::Packet;
use super::{reply, Link, FORWARD_TIMEOUT};
use crate::connection::{Connection, PendingRead, Waiter};
use crate::counters::WindowCounters;
use crate::memory::Access;
use crate::outbox::SendError;
use crate::side::Side;
use crate::wire::{Header, RegionAccess};
use zerocopy::IntoBytes;

impl Link {
    /// A host reads through a window; the answer is sent now or later, but always.
    pub(super) fn window_read(
        &self,
        connection: &Arc<Connection>,
        header: &Header,
        access: RegionAccess,
        window: usize,
    ) {
        let side = connection.side;
        let counters = self.window_counters(side, window);
        counters.reads.one();
        counters.bytes_read.add(access.count.get().into());
        let read = PendingRead {
            reader: connection.clone(),
            header: *header,
            access,
            window,
            wait: None,
            give_up: None,
        };
        let attention = self.faults.attention();
        if attention.faults() {
            self.send(side, Packet::Read(Box::new(read)));
        } else {
            self.read_arrives(attention, read);
        }
    }

    /// A host's read has come to the peer.
    pub(super) fn read_arrives(&self, attention: Attention, mut read: PendingRead) {
        let side = read.reader.side;
        let counters = self.window_counters(side, read.window);
        // CAST: it was checked to be at most MAX_TRANSFER.
        let length = read.access.count.get() as usize;
        if attention.faults() && self.faults.is_all_ones(side, read.window) {
            counters.all_ones.one();
            return self.finish_read(read, None);
        }
        let Some(address) = self.target(side, read.window, read.access.offset.get(), length) else {
            counters.blocked.one();
            return self.finish_read(read, None);
        };
        // Almost all accesses are a few bytes.
        let mut short = [0; 8];
        let mut long = Vec::new();
        let data = match short.get_mut(..length) {
            Some(data) => data,
            None => {
                long.resize(length, 0);
                &mut long[..]
            }
        };
        let peer = self.end(side.peer());
        match peer.memory.read(address, data) {
            Access::Done => {
                counters.ram_reads.one();
                return self.finish_read(read, Some(data));
            }
            Access::Refused => {
                counters.blocked.one();
                return self.finish_read(read, None);
            }
            Access::Elsewhere => counters.device_reads.one(),
        }
        let Some(target) = peer.connection() else {
            counters.failed.one();
            return self.finish_read(read, None);
        };
        read.wait = self.waits.begin(self.end(side).host, peer.host);
        if read.wait.is_none() {
            counters.deadlocks.one();
            self.report_deadlock(side, read.window, address, counters.deadlocks.get());
            return self.finish_read(read, None);
        }
        let give_up = read
            .give_up
            .unwrap_or_else(|| Instant::now() + FORWARD_TIMEOUT);
        if let Err(waiter) = target.ask(address, length, Waiter::Read(read), give_up) {
            counters.failed.one();
            if let Waiter::Read(read) = *waiter {
                self.finish_read(read, None);
            }
        }
    }

    /// A host writes through a window.
    pub(super) fn window_write(&self, side: Side, window: usize, offset: u64, data: &[u8]) {
        let counters = self.window_counters(side, window);
        counters.writes.one();
        // CAST: usize has at most 64 bits.
        counters.bytes_written.add(data.len() as u64);
        let attention = self.faults.attention();
        if attention.faults() {
            let data = data.into();
            self.send(
                side,
                Packet::Write {
                    window,
                    offset,
                    data,
                },
            );
        } else {
            self.write_arrives(attention, side, window, offset, data);
        }
    }

    /// A host's write has come to the peer.
    pub(super) fn write_arrives(
        &self,
        attention: Attention,
        side: Side,
        window: usize,
        offset: u64,
        data: &[u8],
    ) {
        let counters = self.window_counters(side, window);
        if attention.faults() && self.faults.is_all_ones(side, window) {
            counters.swallowed.one();
            return;
        }
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

    /// Sends the answer to a host's read on its way, all-ones if there is no data.
    pub(super) fn finish_read(&self, mut read: PendingRead, data: Option<&[u8]>) {
        // Before the answer is out: the host may read again at once.
        read.wait = None;
        if self.faults.attention().faults() {
            let data = data.map(Into::into);
            self.send(
                read.reader.side.peer(),
                Packet::Answer(Box::new(read), data),
            );
        } else {
            self.answer_read(read, data);
        }
    }

    /// Answers a host's read, with all-ones if there is no data.
    pub(super) fn answer_read(&self, mut read: PendingRead, data: Option<&[u8]>) {
        read.wait = None;
        let PendingRead {
            reader,
            header,
            access,
            ..
        } = read;
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
