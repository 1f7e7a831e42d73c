// SPDX-License-Identifier: GPL-2.0

//! Ranges over a file in memory.

use super::*;
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use std::io::{Read, Seek, Write};

const SIZE: u64 = 0x10000;

fn file() -> std::fs::File {
    let fd = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, SIZE).unwrap();
    fd.into()
}

fn fd(file: &std::fs::File) -> Option<OwnedFd> {
    Some(file.try_clone().unwrap().into())
}

fn range(address: u64, size: u64, offset: u64, flags: u32) -> DmaMap {
    DmaMap {
        argsz: 32.into(),
        flags: flags.into(),
        offset: offset.into(),
        address: address.into(),
        size: size.into(),
    }
}

const RW: u32 = DmaMapFlags::READ | DmaMapFlags::WRITE;

#[test]
fn a_write_lands_in_the_file_and_reads_see_it() {
    let mut file = file();
    let memory = GuestMemory::default();
    memory
        .map(&range(0x8000_0000, 0x4000, 0x1000, RW), fd(&file))
        .unwrap();
    for length in [1, 2, 3, 4, 5, 8, 16, 100] {
        for skew in 0..9 {
            let data: Vec<u8> = (1..=length).collect();
            assert_eq!(memory.write(0x8000_0100 + skew, &data), Access::Done);
            let mut seen = vec![0; data.len()];
            file.seek(std::io::SeekFrom::Start(0x1100 + skew)).unwrap();
            file.read_exact(&mut seen).unwrap();
            assert_eq!(seen, data);
            seen.fill(0);
            assert_eq!(memory.read(0x8000_0100 + skew, &mut seen), Access::Done);
            assert_eq!(seen, data);
        }
    }
}

#[test]
fn an_access_may_span_ranges_but_not_leave_them() {
    let file = file();
    let memory = GuestMemory::default();
    memory
        .map(&range(0x1000, 0x1000, 0x3000, RW), fd(&file))
        .unwrap();
    memory
        .map(&range(0x2000, 0x1000, 0x1000, RW), fd(&file))
        .unwrap();
    assert_eq!(memory.write(0x1ffe, &[1, 2, 3, 4]), Access::Done);
    let mut data = [0; 2];
    assert_eq!(memory.read(0x2000, &mut data), Access::Done);
    assert_eq!(data, [3, 4]);
    assert_eq!(memory.write(0x2ffe, &[9; 4]), Access::Elsewhere);
    assert_eq!(memory.read(0x2ffe, &mut data), Access::Done);
    assert_eq!(data, [0, 0], "nothing of it is written");
    assert_eq!(memory.read(0xfff, &mut data), Access::Elsewhere);
    assert_eq!(memory.read(u64::MAX, &mut data), Access::Elsewhere);
}

#[test]
fn read_only_ram_is_not_written_and_a_range_without_descriptor_is_elsewhere() {
    let file = file();
    let memory = GuestMemory::default();
    memory
        .map(&range(0xc0000, 0x4000, 0, DmaMapFlags::READ), fd(&file))
        .unwrap();
    memory
        .map(&range(0xf800_0000, 0x4000, 0, RW), None)
        .unwrap();
    assert_eq!(memory.write(0xc0000, &[1]), Access::Refused);
    assert_eq!(memory.read(0xc0000, &mut [0]), Access::Done);
    assert_eq!(memory.write(0xf800_0000, &[1]), Access::Elsewhere);
}

#[test]
fn a_file_opened_for_reading_is_not_written() {
    let path = tempfile::NamedTempFile::new().unwrap();
    path.as_file().write_all(&[7; 0x1000]).unwrap();
    let memory = GuestMemory::default();
    let file = std::fs::File::open(path.path()).unwrap();
    memory.map(&range(0, 0x1000, 0, RW), fd(&file)).unwrap();
    assert_eq!(memory.write(0, &[1]), Access::Refused);
    let mut data = [0];
    assert_eq!(memory.read(0, &mut data), Access::Done);
    assert_eq!(data, [7]);
    // The same file for writing must not end up with the mapping for reading.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.path())
        .unwrap();
    memory
        .map(&range(0x1000, 0x1000, 0, RW), fd(&file))
        .unwrap();
    assert_eq!(memory.write(0x1000, &[1]), Access::Done);
}

#[test]
fn overlaps_and_nonsense_are_refused() {
    let file = file();
    let memory = GuestMemory::default();
    memory
        .map(&range(0x2000, 0x1000, 0, RW), fd(&file))
        .unwrap();
    let errno = |map: DmaMap, fd| memory.map(&map, fd).unwrap_err().errno();
    use rustix::io::Errno;
    assert_eq!(errno(range(0x2000, 0x1000, 0, RW), fd(&file)), Errno::EXIST);
    assert_eq!(errno(range(0x2fff, 1, 0, RW), None), Errno::EXIST);
    assert_eq!(errno(range(0x1000, 0x1001, 0, RW), None), Errno::EXIST);
    assert_eq!(errno(range(0, u64::MAX, 0, RW), None), Errno::EXIST);
    assert_eq!(errno(range(0, 0, 0, RW), None), Errno::INVAL);
    assert_eq!(errno(range(u64::MAX, 2, 0, RW), None), Errno::INVAL);
    assert_eq!(
        errno(range(0x8000, 0x1000, SIZE - 0xfff, RW), fd(&file)),
        Errno::INVAL
    );
    assert_eq!(
        errno(range(0x8000, 0x1000, u64::MAX, RW), fd(&file)),
        Errno::INVAL
    );
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    assert_eq!(
        errno(range(0x8000, 0x1000, 0, RW), Some(pipe)),
        Errno::INVAL
    );
    memory.map(&range(0x3000, 0x1000, 0, RW), None).unwrap();
    memory.map(&range(u64::MAX, 1, 0, RW), None).unwrap();
    assert_eq!(
        memory.unmap(0x2000, 0xfff).unwrap_err().errno(),
        Errno::NOENT
    );
    assert_eq!(
        memory.unmap(0x2800, 0x800).unwrap_err().errno(),
        Errno::NOENT
    );
    memory.unmap(0x2000, 0x1000).unwrap();
    assert_eq!(memory.read(0x2000, &mut [0]), Access::Elsewhere);
    assert_eq!(memory.ranges(), 2);
    memory.clear();
    assert_eq!(memory.ranges(), 0);
}

#[test]
fn many_ranges_share_one_mapping() {
    let file = file();
    let memory = GuestMemory::default();
    for page in 0..SIZE / 0x1000 {
        memory
            .map(&range(page * 0x2000, 0x1000, page * 0x1000, RW), fd(&file))
            .unwrap();
    }
    let table = memory.0.read().unwrap();
    let mut files: Vec<_> = table
        .ranges
        .values()
        .map(|r| Arc::as_ptr(&r.ram.as_ref().unwrap().0))
        .collect();
    files.dedup();
    assert_eq!(files.len(), 1);
}
