// SPDX-License-Identifier: GPL-2.0

//! One end of a link: a host, as far as the function in its slot knows it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{EndSpec, Place};
use crate::connection::Connection;
use crate::counters::EndCounters;
use crate::interrupts::Interrupts;
use crate::layout::Layout;
use crate::memory::{FileId, GuestMemory};

/// An end of a link.
#[derive(Debug)]
pub struct End {
    /// What it is called in logs and counters.
    pub name: String,
    /// Which host it is in, by its number in [`Waits`](crate::waits::Waits).
    pub host: usize,
    /// The file that is the host's RAM.
    pub ram: PathBuf,
    /// The host's address space.
    pub memory: GuestMemory,
    /// The function's interrupt vectors.
    pub interrupts: Interrupts,
    /// What the host has done and seen here.
    pub counters: EndCounters,
    /// The place that the host's connection takes.
    pub place: Place,
    connection: Mutex<Option<Arc<Connection>>>,
    mapped_by_peer: Mutex<Option<FileId>>,
}

impl End {
    pub(super) fn new(spec: EndSpec, layout: &Layout) -> Self {
        Self {
            name: spec.name,
            host: spec.host,
            memory: GuestMemory::new(spec.ram.clone()),
            ram: spec.ram,
            interrupts: Interrupts::new(layout.msix.vectors),
            counters: EndCounters::new(layout.windows.len()),
            place: Place::default(),
            connection: Mutex::default(),
            mapped_by_peer: Mutex::default(),
        }
    }

    /// Its connection, if it has one.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        lock(&self.connection).clone()
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

    /// Forgets all that its QEMU has told us.
    pub(super) fn forget(&self) {
        self.set_connection(None);
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
