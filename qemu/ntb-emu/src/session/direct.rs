// SPDX-License-Identifier: GPL-2.0

//! Windows that a host's QEMU maps: the peer's RAM file, without us in between.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::memory::FileId;
use crate::wire::{sparse_area, SparseArea};

/// How long to wait for the peer's RAM file. Both machines may be started at the same moment; QEMU waits 5 s for us.
pub(super) const RAM_TIMEOUT: Duration = Duration::from_secs(4);

const PAGE: u64 = 4096;
/// From here up to the first mebibyte there is no RAM but the display's memory and firmware.
const HOLE: u64 = 0xa_0000;
const HOLE_END: u64 = 0x10_0000;
/// QEMU's q35 machine has all its RAM from 0 on if it has less than this, and 2 GiB there and the rest above 4 GiB
/// otherwise. In the file it has no gap, so only the first part is where a translation of 0 finds it.
const ALL_LOW: u64 = 0xb000_0000;
const LOW: u64 = 0x8000_0000;

/// A window and what can be mapped of it.
#[derive(Debug)]
pub(super) struct DirectWindow {
    pub(super) id: FileId,
    pub(super) file: Arc<File>,
    pub(super) areas: Vec<SparseArea>,
}

impl DirectWindow {
    /// Waits until the file is there and has its size.
    pub(super) fn open(ram: &Path, window: u64, timeout: Duration) -> Result<Self, std::io::Error> {
        let start = Instant::now();
        loop {
            let opened = OpenOptions::new().read(true).write(true).open(ram);
            let result = opened.and_then(|file| Ok((file.metadata()?, file)));
            match result {
                Ok((found, file)) if found.len() > 0 => {
                    let areas = areas(found.len(), window);
                    let id = (found.dev(), found.ino());
                    let file = Arc::new(file);
                    return Ok(Self { id, file, areas });
                }
                Err(error) if start.elapsed() > timeout => return Err(error),
                Ok(_) if start.elapsed() > timeout => {
                    return Err(std::io::Error::other("the file is empty"))
                }
                _ => sleep(Duration::from_millis(20)),
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.areas.iter().map(|area| area.size.get()).sum()
    }
}

/// The parts of a window of `window` bytes that are RAM of a machine with `ram` bytes.
fn areas(ram: u64, window: u64) -> Vec<SparseArea> {
    let low = if ram < ALL_LOW { ram } else { LOW };
    let end = low.min(window) / PAGE * PAGE;
    let below = end.min(HOLE);
    let mut areas = vec![sparse_area(0, below)];
    if end > HOLE_END {
        areas.push(sparse_area(HOLE_END, end - HOLE_END));
    }
    areas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(ram: u64, window: u64) -> Vec<(u64, u64)> {
        areas(ram, window)
            .iter()
            .map(|area| (area.offset.get(), area.size.get()))
            .collect()
    }

    #[test]
    fn only_ram_is_mapped() {
        const M: u64 = 1 << 20;
        assert_eq!(ranges(512 * M, 512 * M), [(0, 0xa0000), (M, 511 * M)]);
        assert_eq!(ranges(512 * M, 1024 * M), [(0, 0xa0000), (M, 511 * M)]);
        assert_eq!(ranges(512 * M, 64 * M), [(0, 0xa0000), (M, 63 * M)]);
        assert_eq!(ranges(512 * M, M), [(0, 0xa0000)]);
        assert_eq!(ranges(512 * M, 0x8000), [(0, 0x8000)]);
        assert_eq!(ranges(4096 * M, 8192 * M), [(0, 0xa0000), (M, 2047 * M)]);
    }

    #[test]
    fn the_file_may_appear_late() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ram");
        let late = path.clone();
        let thread = std::thread::spawn(move || {
            sleep(Duration::from_millis(50));
            let file = File::create(&late).unwrap();
            sleep(Duration::from_millis(50));
            file.set_len(2 << 20).unwrap();
        });
        let direct = DirectWindow::open(&path, 64 << 20, RAM_TIMEOUT).unwrap();
        assert_eq!(direct.bytes(), 0xa0000 + (1 << 20));
        thread.join().unwrap();
    }

    #[test]
    fn a_file_that_never_appears_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(DirectWindow::open(
            &directory.path().join("ram"),
            1 << 20,
            Duration::from_millis(30)
        )
        .is_err());
    }
}
