// SPDX-License-Identifier: GPL-2.0

//! One of the two hosts, as far as the bridge knows it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection::Connection;
use crate::counters::{Flag, HostCounters};
use crate::interrupts::Interrupts;
use crate::layout::Layout;
use crate::memory::{FileId, GuestMemory};
use crate::pci_config::ConfigSpace;

/// A host.
#[derive(Debug)]
pub struct Host {
    /// What it is called in logs and counters.
    pub name: String,
    /// The file that is its RAM.
    pub ram: PathBuf,
    /// Its address space.
    pub memory: GuestMemory,
    /// Its interrupt vectors.
    pub interrupts: Interrupts,
    /// What it has done and seen.
    pub counters: HostCounters,
    config: Mutex<ConfigSpace>,
    bus_master: Flag,
    connection: Mutex<Option<Arc<Connection>>>,
    mapped_by_peer: Mutex<Option<FileId>>,
}

impl Host {
    pub(super) fn new(name: String, ram: PathBuf, layout: &Layout) -> Self {
        Self {
            name,
            ram,
            memory: GuestMemory::default(),
            interrupts: Interrupts::default(),
            counters: HostCounters::default(),
            config: Mutex::new(ConfigSpace::new(layout)),
            bus_master: Flag::default(),
            connection: Mutex::default(),
            mapped_by_peer: Mutex::default(),
        }
    }

    /// Its connection, if it has one.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        lock(&self.connection).clone()
    }

    /// Whether the NTB function may access this host's memory.
    pub fn bus_master(&self) -> bool {
        self.bus_master.get()
    }

    /// Remembers the RAM file that has been given to the peer's QEMU to be mapped into a direct window.
    pub fn set_mapped_by_peer(&self, file: FileId) {
        *lock(&self.mapped_by_peer) = Some(file);
    }

    /// Whether the peer maps this file as this host's RAM, while the host itself uses another.
    pub fn is_stale(&self) -> bool {
        let mapped = *lock(&self.mapped_by_peer);
        let used = self.memory.file_at(0);
        mapped.is_some() && used.is_some() && mapped != used
    }

    pub(super) fn set_connection(&self, connection: Option<Arc<Connection>>) {
        *lock(&self.connection) = connection;
    }

    pub(super) fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.counters.config_accesses.one();
        lock(&self.config).read(offset, data);
    }

    pub(super) fn config_write(&self, offset: u64, data: &[u8]) {
        self.counters.config_accesses.one();
        let mut config = lock(&self.config);
        config.write(offset, data);
        self.bus_master.set(config.bus_master());
    }

    pub(super) fn reset(&self) {
        self.bus_master.set(false);
        lock(&self.config).reset();
    }

    /// Forgets all that its QEMU has told us.
    pub(super) fn forget(&self) {
        self.set_connection(None);
        self.reset();
        self.memory.clear();
        self.interrupts.disable();
        for window in &self.counters.windows {
            window.direct.set(false);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
