// SPDX-License-Identifier: GPL-2.0

//! Memory: a piece of this host's that its kernel leaves alone, and the NTB's windows.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{ensure, Context, Result};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// `PROT_READ | PROT_WRITE` and `MAP_SHARED` on every Linux.
const PROTECTION: i32 = 3;
const SHARED: i32 = 1;

/// Where the memory is that the kernel was told to leave alone (`memmap=1M$0x10000000`), and as what it is known.
const SPARE: u64 = 0x1000_0000;
const SPARE_END: u64 = 0x100f_ffff;

/// A range of memory that is mapped here.
pub struct Memory {
    region: MmapRegion,
    /// Physical address of the start; 0 for a window.
    pub physical: u64,
}

fn map(file: &Path, offset: u64, length: usize) -> Result<MmapRegion> {
    let opened = OpenOptions::new().read(true).write(true).open(file);
    let opened = opened.with_context(|| format!("opening {}", file.display()))?;
    let place = FileOffset::new(opened, offset);
    MmapRegion::build(Some(place), length, PROTECTION, SHARED)
        .with_context(|| format!("mapping {}", file.display()))
}

impl Memory {
    /// Zeroed memory of this host's.
    pub fn own(length: usize) -> Result<Self> {
        let reserved = format!("{SPARE:08x}-{SPARE_END:08x} : Reserved");
        let known = fs::read_to_string("/proc/iomem")?;
        ensure!(
            known.contains(&reserved) && length as u64 <= SPARE_END - SPARE,
            "the kernel was not told to leave {SPARE:#x} alone, which takes memmap=1M${SPARE:#x}"
        );
        let memory = Self {
            region: map(Path::new("/dev/mem"), SPARE, length)?,
            physical: SPARE,
        };
        memory.write(0, &vec![0; length])?;
        Ok(memory)
    }

    /// A BAR of a PCI device.
    pub fn bar(resource: &Path) -> Result<Self> {
        let length = usize::try_from(fs::metadata(resource)?.len())?;
        Ok(Self {
            region: map(resource, 0, length)?,
            physical: 0,
        })
    }

    /// Its length, bytes.
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Reads a word once; all that was written before it was, is read after it.
    pub fn word(&self, offset: usize) -> Result<u32> {
        Ok(self
            .region
            .as_volatile_slice()
            .load(offset, Ordering::Acquire)?)
    }

    /// Writes a word, after all that was written before.
    pub fn set_word(&self, offset: usize, value: u32) -> Result<()> {
        let slice = self.region.as_volatile_slice();
        Ok(slice.store(value, offset, Ordering::Release)?)
    }

    /// Copies bytes out.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        Ok(self.region.as_volatile_slice().read_slice(bytes, offset)?)
    }

    /// Copies bytes in.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        Ok(self.region.as_volatile_slice().write_slice(bytes, offset)?)
    }
}
