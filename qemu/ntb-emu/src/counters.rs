// SPDX-License-Identifier: GPL-2.0

//! What has crossed the bridge, by host and window.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// Some more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// Accesses of one host through one of its windows. What goes through a direct mapping is not seen and not counted.
#[derive(Debug, Default, Serialize)]
pub struct WindowCounters {
    /// Reads by the host.
    pub reads: Counter,
    /// Writes by the host.
    pub writes: Counter,
    /// Bytes of all reads.
    pub bytes_read: Counter,
    /// Bytes of all writes.
    pub bytes_written: Counter,
    /// Reads of the peer's RAM.
    pub ram_reads: Counter,
    /// Writes to the peer's RAM.
    pub ram_writes: Counter,
    /// Reads handed to the peer's QEMU: device registers.
    pub device_reads: Counter,
    /// Writes handed to the peer's QEMU: device registers, MSI.
    pub device_writes: Counter,
    /// Reads and writes that went nowhere: no link, above the limit, peer's function not bus master, read-only RAM.
    pub blocked: Counter,
    /// Reads not answered in time: by the peer, or because a host is frozen.
    pub timeouts: Counter,
    /// Reads that the peer refused or was lost with, or that were under way when the cable was pulled.
    pub failed: Counter,
    /// Reads failed because the peer was waiting for a read of this host.
    pub deadlocks: Counter,
    /// Writes lost because the peer has gone or has stopped reading its socket, or under way when the cable was pulled, or
    /// because too many waited already.
    pub dropped: Counter,
    /// Reads, writes and answers to reads that had to wait for a fault.
    pub delayed: Counter,
    /// Reads answered with all-ones by a fault.
    pub all_ones: Counter,
    /// Writes that a fault has swallowed.
    pub swallowed: Counter,
    /// Whether the host has the peer's RAM mapped into this window: what goes through the mapping is not in any count.
    pub direct: Flag,
}

/// Yes or no.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Changes it.
    pub fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Asks for it.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Flag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.get())
    }
}

/// What one host has done and seen at one link.
#[derive(Debug, Default, Serialize)]
pub struct EndCounters {
    /// Reads of BAR 0.
    pub register_reads: Counter,
    /// Writes of BAR 0.
    pub register_writes: Counter,
    /// Writes that ring the peer's doorbells.
    pub doorbells: Counter,
    /// Of these, those that waited until earlier writes had reached the peer's devices.
    pub doorbells_deferred: Counter,
    /// Of these, those that a fault has lost.
    pub doorbells_dropped: Counter,
    /// Of these, those that had to wait for a fault.
    pub doorbells_delayed: Counter,
    /// MSI-X vectors signalled to this host.
    pub msix_fired: Counter,
    /// Accesses to configuration space.
    pub config_accesses: Counter,
    /// Answers to reads that came after we had given up.
    pub late_replies: Counter,
    /// Writes that this host's QEMU reported as failed.
    pub write_errors: Counter,
    /// Connections so far.
    pub connections: Counter,
    /// Resets of the function.
    pub resets: Counter,
    /// Its windows, in their order.
    pub windows: Vec<WindowCounters>,
}

impl EndCounters {
    /// All 0, for a function with this many windows.
    pub fn new(windows: usize) -> Self {
        let mut counters = Self::default();
        counters
            .windows
            .resize_with(windows, WindowCounters::default);
        counters
    }
}
