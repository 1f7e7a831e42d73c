// SPDX-License-Identifier: GPL-2.0

//! A host's RAM file, mapped once as a whole however often parts of it are named.
//!
//! With an IOMMU a host names every page on its own; a mapping each would soon use up what a process may have.
//!
//! Who touches a mapping behind the end of its file is ended by the system (SIGBUS), and a file can be made shorter at
//! any time by whoever has it open for writing. So a client's file is only mapped if it cannot become shorter: a file in
//! memory that is sealed against it (what QEMU's `memory-backend-memfd` makes). The exception is the file that the person
//! who runs us has named as this host's RAM, and so trusts that host's QEMU not to shrink.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rustix::fs::{fcntl_get_seals, fcntl_getfl, fstat, fstatfs, FileType, OFlags, SealFlags};
use rustix::mm::ProtFlags;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

/// Most mappings of one host. Machines have one file, or one for each memory module.
const MAX_FILES: usize = 64;
/// Most bytes of a host's files together: as much as the largest window can show.
const MAX_BYTES: usize = 1 << 40;
/// What the file system of files in memory says it is.
const TMPFS: u64 = 0x0102_1994;

/// Why a descriptor cannot serve as RAM.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not something to map.
    #[error("not a regular file")]
    Kind,
    /// The range is not within the file.
    #[error("the range ends behind the end of the file")]
    Short,
    /// There are too many already.
    #[error("more than {MAX_FILES} files")]
    TooMany,
    /// It is too large.
    #[error("more than {MAX_BYTES} bytes in files")]
    TooLarge,
    /// The system refuses.
    #[error(transparent)]
    System(#[from] rustix::io::Errno),
    /// The system refuses to map it.
    #[error(transparent)]
    Map(#[from] vm_memory::mmap::MmapRegionError),
}

/// Which file it is, however often it is opened: device and inode.
pub type FileId = (u64, u64);

/// A mapped file.
#[derive(Debug)]
pub struct RamFile {
    id: FileId,
    writable: bool,
    region: MmapRegion,
}

impl RamFile {
    fn new(fd: OwnedFd, id: FileId, length: usize, writable: bool) -> Result<Self, FileError> {
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // CAST: both are the C library's flags of a few bits; MAP_SHARED is 1 on every Linux.
        let (protection, shared) = (protection.bits() as i32, 1);
        let region = MmapRegion::build(
            Some(FileOffset::new(File::from(fd), 0)),
            length,
            protection,
            shared,
        )?;
        Ok(Self {
            id,
            writable,
            region,
        })
    }

    /// Which file this is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Reads at an offset in the file; false if that is outside of it.
    ///
    /// 1, 2, 4 and 8 bytes that are naturally aligned are one access, so that the other side's words do not tear.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> bool {
        let Some(slice) = self.slice(offset, data.len()) else {
            return false;
        };
        let one_access = match data {
            [a] => slice
                .load(0, Ordering::Relaxed)
                .map(|value: u8| *a = value)
                .is_ok(),
            [_, _] => word(data, slice.load(0, Ordering::Relaxed).map(u16::to_ne_bytes)),
            [_, _, _, _] => word(data, slice.load(0, Ordering::Relaxed).map(u32::to_ne_bytes)),
            [_, _, _, _, _, _, _, _] => {
                word(data, slice.load(0, Ordering::Relaxed).map(u64::to_ne_bytes))
            }
            _ => false,
        };
        one_access || slice.copy_to(data) == data.len()
    }

    /// Writes at an offset in the file; false if that is outside of it, or the file cannot be written.
    ///
    /// 1, 2, 4 and 8 bytes that are naturally aligned are one access.
    pub fn write(&self, offset: u64, data: &[u8]) -> bool {
        let Some(slice) = self.slice(offset, data.len()).filter(|_| self.writable) else {
            return false;
        };
        let stored = if let [value] = data {
            slice.store(*value, 0, Ordering::Relaxed)
        } else if let Ok(value) = <[u8; 2]>::try_from(data) {
            slice.store(u16::from_ne_bytes(value), 0, Ordering::Relaxed)
        } else if let Ok(value) = <[u8; 4]>::try_from(data) {
            slice.store(u32::from_ne_bytes(value), 0, Ordering::Relaxed)
        } else if let Ok(value) = <[u8; 8]>::try_from(data) {
            slice.store(u64::from_ne_bytes(value), 0, Ordering::Relaxed)
        } else {
            slice.copy_from(data);
            return true;
        };
        if stored.is_err() {
            // Not aligned: no promise to keep.
            slice.copy_from(data);
        }
        true
    }

    fn slice(&self, offset: u64, length: usize) -> Option<VolatileSlice<'_>> {
        self.region
            .get_slice(usize::try_from(offset).ok()?, length)
            .ok()
    }
}

/// Stores a loaded word; false if it could not be loaded in one access.
fn word<const N: usize, E>(data: &mut [u8], value: Result<[u8; N], E>) -> bool {
    value.is_ok_and(|value| {
        data.copy_from_slice(&value);
        true
    })
}

/// A file that a host has named.
#[derive(Debug)]
pub(super) struct NamedFile {
    pub(super) id: FileId,
    /// None if it may become shorter.
    pub(super) mapping: Option<Arc<RamFile>>,
}

/// The files of one host that are mapped.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The file that is said to be the host's RAM.
    named: PathBuf,
    mapped: Vec<Weak<RamFile>>,
}

impl Files {
    pub(super) fn new(named: PathBuf) -> Self {
        Self {
            named,
            mapped: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let live = |file: &&Weak<RamFile>| file.strong_count() > 0;
        self.mapped.iter().filter(live).count()
    }

    /// A file of which the range `offset`+`size` is wanted.
    pub(super) fn get(
        &mut self,
        fd: OwnedFd,
        offset: u64,
        size: u64,
    ) -> Result<NamedFile, FileError> {
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileError::Kind);
        }
        let end = offset
            .checked_add(size)
            .and_then(|end| usize::try_from(end).ok())
            .ok_or(FileError::Short)?;
        let length = usize::try_from(stat.st_size).map_err(|_| FileError::Short)?;
        if end > length {
            return Err(FileError::Short);
        }
        let id = (stat.st_dev, stat.st_ino);
        let writable = fcntl_getfl(&fd)?.contains(OFlags::RDWR);
        self.mapped.retain(|file| file.strong_count() > 0);
        let mut mapped = self.mapped.iter().filter_map(Weak::upgrade);
        // The file may have grown since, or have been opened for reading only.
        let known = mapped.find(|file| {
            file.id == id && file.region.size() >= end && (file.writable || !writable)
        });
        let mapping = match known {
            Some(file) => Some(file),
            None if keeps_its_length(&fd) || self.is_named(id) => {
                Some(self.add(fd, id, length, writable)?)
            }
            None => None,
        };
        Ok(NamedFile { id, mapping })
    }

    fn add(
        &mut self,
        fd: OwnedFd,
        id: FileId,
        length: usize,
        writable: bool,
    ) -> Result<Arc<RamFile>, FileError> {
        if self.mapped.len() >= MAX_FILES {
            return Err(FileError::TooMany);
        }
        let mapped = self.mapped.iter().filter_map(Weak::upgrade);
        let bytes = mapped.fold(length, |sum, file| sum.saturating_add(file.region.size()));
        if bytes > MAX_BYTES {
            return Err(FileError::TooLarge);
        }
        let file = Arc::new(RamFile::new(fd, id, length, writable)?);
        self.mapped.push(Arc::downgrade(&file));
        Ok(file)
    }

    fn is_named(&self, id: FileId) -> bool {
        std::fs::metadata(&self.named).is_ok_and(|found| (found.dev(), found.ino()) == id)
    }
}

/// Whether nobody can make a file shorter. Huge pages do not count: one that is punched out of the file may not come back.
fn keeps_its_length(fd: impl AsFd) -> bool {
    let sealed = fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
    sealed && fstatfs(&fd).is_ok_and(|system| u64::try_from(system.f_type) == Ok(TMPFS))
}
