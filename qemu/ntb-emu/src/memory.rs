// SPDX-License-Identifier: GPL-2.0

//! What a host has told us of its address space: which ranges are RAM we can reach directly, and which are not.
//!
//! A range that is not RAM here (a device's registers, memory without a descriptor, anything never named) is left to
//! the host itself, by messages. Whoever copies holds the table's read lock, so that removing a range waits for copies
//! in flight: after the reply to an unmap nothing of ours touches that memory.

mod file;

pub use file::{FileId, RamFile};

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::wire::{DmaMap, DmaMapFlags};
use file::{Files, NamedFile};

/// Most ranges a host may name at once: the protocol's default.
const MAX_RANGES: usize = 65535;

/// Why a range cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is empty or wraps around.
    #[error("range {address:#x}+{size:#x} is empty or wraps around")]
    Range {
        /// Guest bus address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// It overlaps one that is there.
    #[error("range {address:#x}+{size:#x} overlaps one that is there")]
    Exists {
        /// Guest bus address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// None begins there, or it has another size.
    #[error("no range {address:#x}+{size:#x}")]
    Missing {
        /// Guest bus address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// There are too many.
    #[error("more than {MAX_RANGES} ranges")]
    TooMany,
    /// The descriptor cannot be mapped.
    #[error("descriptor for {address:#x}+{size:#x}: {source}")]
    File {
        /// Guest bus address.
        address: u64,
        /// Bytes.
        size: u64,
        /// What is wrong with it.
        source: file::FileError,
    },
}

impl MapError {
    /// What to tell the client.
    pub fn errno(&self) -> rustix::io::Errno {
        match self {
            Self::Range { .. } | Self::File { .. } => rustix::io::Errno::INVAL,
            Self::Exists { .. } => rustix::io::Errno::EXIST,
            Self::Missing { .. } => rustix::io::Errno::NOENT,
            Self::TooMany => rustix::io::Errno::NOSPC,
        }
    }
}

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is done.
    Done,
    /// It is RAM that may not be accessed like this.
    Refused,
    /// It is not (all) RAM we can reach: ask the host.
    Elsewhere,
}

/// How a range is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By our own mapping of its file.
    Mapped,
    /// By asking the host: there is no file.
    Host,
    /// By asking the host, because its file could be made shorter while it is mapped.
    Shrinkable,
}

#[derive(Debug)]
struct Range {
    size: u64,
    flags: u32,
    file: Option<NamedFile>,
    /// Where the range begins in the file.
    offset: u64,
}

impl Range {
    /// Our mapping of its file; none if the host must be asked.
    fn mapping(&self) -> Option<&RamFile> {
        self.file.as_ref()?.mapping.as_deref()
    }
}

type Table = BTreeMap<u64, Range>;

/// The ranges of one host.
#[derive(Debug, Default)]
pub struct GuestMemory {
    table: RwLock<Table>,
    /// Only needed to add a range; not locked together with the table, so that a file that keeps us waiting keeps only
    /// its owner waiting.
    files: Mutex<Files>,
}

impl GuestMemory {
    /// No ranges yet. `ram` is the file whose owner is trusted not to make it shorter.
    pub fn new(ram: PathBuf) -> Self {
        Self {
            table: RwLock::default(),
            files: Mutex::new(Files::new(ram)),
        }
    }

    /// Adds a range, backed by `fd` if there is one, and says how it is reached.
    ///
    /// # Errors
    ///
    /// It is malformed, overlaps another, or its descriptor cannot be mapped.
    pub fn map(&self, map: &DmaMap, fd: Option<OwnedFd>) -> Result<Reach, MapError> {
        let (address, size) = (map.address.get(), map.size.get());
        let last = size
            .checked_sub(1)
            .and_then(|size| address.checked_add(size));
        let last = last.ok_or(MapError::Range { address, size })?;
        let offset = map.offset.get();
        let file = fd.map(|fd| self.files().get(fd, offset, size)).transpose();
        let file = file.map_err(|source| MapError::File {
            address,
            size,
            source,
        })?;
        let reach = match &file {
            None => Reach::Host,
            Some(file) if file.mapping.is_none() => Reach::Shrinkable,
            Some(_) => Reach::Mapped,
        };
        let mut table = self.write_table();
        if table.len() >= MAX_RANGES {
            return Err(MapError::TooMany);
        }
        if let Some((begin, range)) = table.range(..=last).next_back() {
            if begin + (range.size - 1) >= address {
                return Err(MapError::Exists { address, size });
            }
        }
        let range = Range {
            size,
            flags: map.flags.get(),
            file,
            offset,
        };
        table.insert(address, range);
        Ok(reach)
    }

    /// Removes a range, after whoever is copying has finished.
    ///
    /// # Errors
    ///
    /// There is no range with exactly this address and size.
    pub fn unmap(&self, address: u64, size: u64) -> Result<(), MapError> {
        let mut table = self.write_table();
        match table.get(&address) {
            Some(range) if range.size == size => {
                let removed = table.remove(&address);
                // Unmapping may take a while: not with the table locked.
                drop(table);
                drop(removed);
                Ok(())
            }
            _ => Err(MapError::Missing { address, size }),
        }
    }

    /// Removes all ranges, after whoever is copying has finished.
    pub fn clear(&self) {
        let removed = std::mem::take(&mut *self.write_table());
        drop(removed);
    }

    /// The file whose first byte is at this guest bus address, if there is one.
    pub fn file_at(&self, address: u64) -> Option<FileId> {
        let table = self.read_table();
        let range = table.get(&address).filter(|range| range.offset == 0)?;
        range.file.as_ref().map(|file| file.id)
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.read_table().len()
    }

    /// Reads RAM at a guest bus address.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Access {
        self.access(
            address,
            data.len(),
            DmaMapFlags::READ,
            |file, offset, part| {
                data.get_mut(part)
                    .is_some_and(|data| file.read(offset, data))
            },
        )
    }

    /// Writes RAM at a guest bus address.
    pub fn write(&self, address: u64, data: &[u8]) -> Access {
        self.access(
            address,
            data.len(),
            DmaMapFlags::WRITE,
            |file, offset, part| data.get(part).is_some_and(|data| file.write(offset, data)),
        )
    }

    /// Calls `copy` for each piece of the access, but only if all of it is RAM that may be accessed like this.
    fn access(
        &self,
        address: u64,
        length: usize,
        need: u32,
        mut copy: impl FnMut(&RamFile, u64, std::ops::Range<usize>) -> bool,
    ) -> Access {
        let table = self.read_table();
        let pieces = |visit: &mut dyn FnMut(&Range, u64, std::ops::Range<usize>) -> Access| {
            let mut done = 0;
            while done < length {
                let found = u64::try_from(done)
                    .ok()
                    .and_then(|done| address.checked_add(done))
                    .and_then(|at| {
                        let (begin, range) = table.range(..=at).next_back()?;
                        let inside = at - begin;
                        (inside < range.size).then_some((range, inside))
                    });
                let Some((range, inside)) = found else {
                    return Access::Elsewhere;
                };
                let left = usize::try_from(range.size - inside).unwrap_or(usize::MAX);
                let count = left.min(length - done);
                match visit(range, inside, done..done + count) {
                    Access::Done => done += count,
                    other => return other,
                }
            }
            Access::Done
        };
        let checked = pieces(&mut |range, _, _| match range.mapping() {
            None => Access::Elsewhere,
            Some(_) if range.flags & need == 0 => Access::Refused,
            Some(_) => Access::Done,
        });
        if checked != Access::Done {
            return checked;
        }
        pieces(&mut |range, inside, part| match range.mapping() {
            Some(file) if copy(file, range.offset + inside, part) => Access::Done,
            _ => Access::Refused,
        })
    }

    #[cfg(test)]
    fn mappings(&self) -> usize {
        self.files().count()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_table(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
