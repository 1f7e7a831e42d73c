// SPDX-License-Identifier: GPL-2.0

//! A host's RAM file, mapped once as a whole however often parts of it are named.
//!
//! With an IOMMU a host names every page on its own; a mapping each would soon use up what a process may have.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rustix::fs::{fcntl_getfl, fstat, FileType, OFlags};
use rustix::mm::ProtFlags;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

/// Why a descriptor cannot serve as RAM.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not something to map.
    #[error("not a regular file")]
    Kind,
    /// The range is not within the file.
    #[error("the range ends behind the end of the file")]
    Short,
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
    fn new(fd: OwnedFd, id: FileId, length: usize) -> Result<Self, FileError> {
        let writable = fcntl_getfl(&fd)?.contains(OFlags::RDWR);
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

/// The files of one host that are mapped.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<FileId, Weak<RamFile>>);

impl Files {
    /// The mapping of a file of which the range `offset`+`size` is wanted.
    pub(super) fn get(
        &mut self,
        fd: OwnedFd,
        offset: u64,
        size: u64,
    ) -> Result<Arc<RamFile>, FileError> {
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
        // The file may have grown since, or have been opened for reading only.
        if let Some(file) = self.0.get(&id).and_then(Weak::upgrade) {
            if file.region.size() >= end
                && (file.writable || !fcntl_getfl(&fd)?.contains(OFlags::RDWR))
            {
                return Ok(file);
            }
        }
        let file = Arc::new(RamFile::new(fd, id, length)?);
        self.0.retain(|_, file| file.strong_count() > 0);
        self.0.insert(id, Arc::downgrade(&file));
        Ok(file)
    }
}
