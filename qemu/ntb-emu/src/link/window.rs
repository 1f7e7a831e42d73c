// SPDX-License-Identifier: GPL-2.0

//! Accesses through a memory window.

use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::attention::Attention;
use super::faults::Packet;
use super::watch::Written;
use super::{reply, Link, FORWARD_TIMEOUT};
use crate::connection::{Connection, PendingRead, Waiter};
use crate::counters::WindowCounters;
use crate::memory::Access;
use crate::model::Blocked;
use crate::outbox::SendError;
use crate::side::Side;
use crate::trace::Outcome;
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
        let attention = self.attention();
        let read = PendingRead {
            reader: connection.clone(),
            header: *header,
            access,
            window,
            wait: None,
            give_up: None,
            since: attention.watched().then(Instant::now),
            address: None,
            outcome: Outcome::Done,
            why: None,
        };
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
            return self.finish_in_vain(read, Outcome::AllOnes);
        }
        let address = match self.translate(side, read.window, read.access.offset.get(), length) {
            Ok(address) => address,
            Err(why) => {
                counters.blocked.one();
                read.why = Some(why);
                return self.finish_in_vain(read, Outcome::Blocked);
            }
        };
        read.address = Some(address);
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
                read.outcome = Outcome::Ram;
                return self.finish_read(read, Some(data));
            }
            Access::Refused => {
                counters.blocked.one();
                return self.finish_in_vain(read, Outcome::Blocked);
            }
            Access::Elsewhere => counters.device_reads.one(),
        }
        let Some(target) = peer.connection() else {
            counters.failed.one();
            return self.finish_in_vain(read, Outcome::Failed);
        };
        read.wait = self.waits.begin(self.end(side).host, peer.host);
        if read.wait.is_none() {
            counters.deadlocks.one();
            self.report_deadlock(side, read.window, address, counters.deadlocks.get());
            return self.finish_in_vain(read, Outcome::Deadlock);
        }
        let give_up = read
            .give_up
            .unwrap_or_else(|| Instant::now() + FORWARD_TIMEOUT);
        if let Err(waiter) = target.ask(address, length, Waiter::Read(read), give_up) {
            counters.failed.one();
            if let Waiter::Read(read) = *waiter {
                self.finish_in_vain(read, Outcome::Failed);
            }
        }
    }

    /// A host writes through a window.
    pub(super) fn window_write(&self, side: Side, window: usize, offset: u64, data: &[u8]) {
        let counters = self.window_counters(side, window);
        counters.writes.one();
        // CAST: usize has at most 64 bits.
        counters.bytes_written.add(data.len() as u64);
        let attention = self.attention();
        if attention.faults() {
            let write = Packet::Write {
                window,
                offset,
                data: data.into(),
                since: self.begin(),
            };
            self.send(side, write);
        } else {
            self.write_arrives(attention, side, window, offset, data, None);
        }
    }

    /// A host's write has come to the peer.
    // Writes come by the million, and most of them straight here.
    #[inline(always)]
    pub(super) fn write_arrives(
        &self,
        attention: Attention,
        side: Side,
        window: usize,
        offset: u64,
        data: &[u8],
        since: Option<Instant>,
    ) {
        let written = self.carry_out_write(attention, side, window, offset, data);
        if attention.watched() {
            self.tell_write(side, window, offset, data, since, written);
        }
    }

    #[inline(always)]
    fn carry_out_write(
        &self,
        attention: Attention,
        side: Side,
        window: usize,
        offset: u64,
        data: &[u8],
    ) -> Written {
        let counters = self.window_counters(side, window);
        if attention.faults() && self.faults.is_all_ones(side, window) {
            counters.swallowed.one();
            return Written::new(Outcome::AllOnes, None);
        }
        let address = match self.translate(side, window, offset, data.len()) {
            Ok(address) => address,
            Err(why) => {
                counters.blocked.one();
                return Written::blocked(why);
            }
        };
        let peer = self.end(side.peer());
        let outcome = match peer.memory.write(address, data) {
            Access::Done => {
                counters.ram_writes.one();
                Outcome::Ram
            }
            Access::Refused => {
                counters.blocked.one();
                Outcome::Blocked
            }
            Access::Elsewhere => {
                counters.device_writes.one();
                let target = peer.connection();
                let sent =
                    target.map_or(Err(SendError::Closed), |target| target.write(address, data));
                match sent {
                    Ok(()) => Outcome::Device,
                    Err(error) => {
                        counters.dropped.one();
                        if counters.dropped.get() == 1 {
                            warn!(link = self.name, host = self.end(side).name, peer = peer.name, %error, "writes are lost");
                        }
                        Outcome::Dropped
                    }
                }
            }
        };
        Written::new(outcome, Some(address))
    }

    /// Sends the answer to a host's read on its way, all-ones if there is no data.
    pub(super) fn finish_read(&self, mut read: PendingRead, data: Option<&[u8]>) {
        // Before the answer is out: the host may read again at once.
        read.wait = None;
        if self.attention().faults() {
            let data = data.map(Into::into);
            self.send(
                read.reader.side.peer(),
                Packet::Answer(Box::new(read), data),
            );
        } else {
            self.answer_read(read, data);
        }
    }

    fn finish_in_vain(&self, mut read: PendingRead, outcome: Outcome) {
        read.outcome = outcome;
        self.finish_read(read, None);
    }

    /// Answers a host's read, with all-ones if there is no data.
    pub(super) fn answer_read(&self, mut read: PendingRead, data: Option<&[u8]>) {
        read.wait = None;
        self.tell_read(&read, data);
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

    pub(super) fn window_counters(&self, side: Side, window: usize) -> &WindowCounters {
        let windows = &self.end(side).counters.windows;
        // Windows come from the layout, which has no others.
        windows.get(window).unwrap_or(&windows[0])
    }

    fn translate(
        &self,
        side: Side,
        window: usize,
        offset: u64,
        length: usize,
    ) -> Result<u64, Blocked> {
        self.model().translate(side, window, offset, length)
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
}
