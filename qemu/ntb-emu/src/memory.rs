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
use std::sync::{Arc, PoisonError, RwLock};

use crate::wire::{DmaMap, DmaMapFlags};
use file::Files;

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

#[derive(Debug)]
struct Range {
    size: u64,
    flags: u32,
    /// The file and where the range begins in it; none if the host must be asked.
    ram: Option<(Arc<RamFile>, u64)>,
}

#[derive(Debug, Default)]
struct Table {
    ranges: BTreeMap<u64, Range>,
    files: Files,
}

/// The ranges of one host.
#[derive(Debug, Default)]
pub struct GuestMemory(RwLock<Table>);

impl GuestMemory {
    /// Adds a range, backed by `fd` if there is one.
    ///
    /// # Errors
    ///
    /// It is malformed, overlaps another, or its descriptor cannot be mapped.
    pub fn map(&self, map: &DmaMap, fd: Option<OwnedFd>) -> Result<(), MapError> {
        let (address, size) = (map.address.get(), map.size.get());
        let last = size
            .checked_sub(1)
            .and_then(|size| address.checked_add(size));
        let last = last.ok_or(MapError::Range { address, size })?;
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if table.ranges.len() >= MAX_RANGES {
            return Err(MapError::TooMany);
        }
        if let Some((begin, range)) = table.ranges.range(..=last).next_back() {
            if begin + (range.size - 1) >= address {
                return Err(MapError::Exists { address, size });
            }
        }
        let offset = map.offset.get();
        let file = fd.map(|fd| table.files.get(fd, offset, size)).transpose();
        let file = file.map_err(|source| MapError::File {
            address,
            size,
            source,
        })?;
        let ram = file.map(|file| (file, offset));
        table.ranges.insert(
            address,
            Range {
                size,
                flags: map.flags.get(),
                ram,
            },
        );
        Ok(())
    }

    /// Removes a range, after whoever is copying has finished.
    ///
    /// # Errors
    ///
    /// There is no range with exactly this address and size.
    pub fn unmap(&self, address: u64, size: u64) -> Result<(), MapError> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match table.ranges.get(&address) {
            Some(range) if range.size == size => {
                table.ranges.remove(&address);
                Ok(())
            }
            _ => Err(MapError::Missing { address, size }),
        }
    }

    /// Removes all ranges, after whoever is copying has finished.
    pub fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Table::default();
    }

    /// The file whose first byte is at this guest bus address, if there is one.
    pub fn file_at(&self, address: u64) -> Option<FileId> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &table.ranges.get(&address)?.ram {
            Some((file, 0)) => Some(file.id()),
            _ => None,
        }
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .ranges
            .len()
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
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pieces = |visit: &mut dyn FnMut(&Range, u64, std::ops::Range<usize>) -> Access| {
            let mut done = 0;
            while done < length {
                let found = u64::try_from(done)
                    .ok()
                    .and_then(|done| address.checked_add(done))
                    .and_then(|at| {
                        let (begin, range) = table.ranges.range(..=at).next_back()?;
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
        let checked = pieces(&mut |range, _, _| match range.ram {
            None => Access::Elsewhere,
            Some(_) if range.flags & need == 0 => Access::Refused,
            Some(_) => Access::Done,
        });
        if checked != Access::Done {
            return checked;
        }
        pieces(&mut |range, inside, part| match &range.ram {
            Some((file, offset)) if copy(file, offset + inside, part) => Access::Done,
            _ => Access::Refused,
        })
    }
}

#[cfg(test)]
mod tests;
