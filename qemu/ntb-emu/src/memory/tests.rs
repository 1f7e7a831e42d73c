// SPDX-License-Identifier: GPL-2.0

//! Ranges over a file in memory.

use super::*;
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use std::io::{Read, Seek, Write};

const SIZE: u64 = 0x10000;

fn file() -> std::fs::File {
    file_of(SIZE)
}

/// A file that cannot become shorter.
fn file_of(size: u64) -> std::fs::File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("ram", flags).unwrap();
    ftruncate(&fd, size).unwrap();
    fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
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
    let memory = GuestMemory::new(path.path().into());
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
    assert_eq!(memory.mappings(), 1);
}

#[test]
fn a_file_that_could_shrink_is_not_mapped_but_known() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SIZE).unwrap();
    let memory = GuestMemory::new("/nonexistent".into());
    let reach = memory.map(&range(0, SIZE, 0, RW), fd(file.as_file()));
    assert_eq!(reach.unwrap(), Reach::Shrinkable);
    assert_eq!(memory.write(0, &[1]), Access::Elsewhere);
    assert!(memory.file_at(0).is_some());
    assert_eq!(memory.file_at(1), None);
    let memory = GuestMemory::new(file.path().into());
    let reach = memory.map(&range(0, SIZE, 0, RW), fd(file.as_file()));
    assert_eq!(reach.unwrap(), Reach::Mapped);
}

#[test]
fn a_host_cannot_have_any_number_of_mappings() {
    let memory = GuestMemory::default();
    let map = |at: u64, file: &std::fs::File| {
        memory
            .map(&range(at * SIZE, 0x1000, 0, RW), fd(file))
            .is_ok()
    };
    for at in 0..64 {
        assert!(map(at, &file()));
    }
    assert!(!map(64, &file()));
    memory.unmap(0, 0x1000).unwrap();
    assert!(map(64, &file()));
    // One file, a little longer each time.
    memory.clear();
    let file = file();
    let mapped = (1..200).filter(|at| {
        file.set_len(at * SIZE).unwrap();
        let range = range(at * SIZE, 0x1000, (at - 1) * SIZE, RW);
        memory.map(&range, fd(&file)).is_ok()
    });
    assert_eq!(mapped.count(), 64);
}

#[test]
fn a_host_cannot_use_up_the_address_space() {
    let memory = GuestMemory::default();
    let half = file_of(1 << 39);
    let over = file_of((1 << 39) + 1);
    memory.map(&range(0, 0x1000, 0, RW), fd(&half)).unwrap();
    let error = memory.map(&range(0x1000, 0x1000, 0, RW), fd(&over));
    assert!(error.is_err());
    memory.unmap(0, 0x1000).unwrap();
    memory
        .map(&range(0x1000, 0x1000, 0, RW), fd(&over))
        .unwrap();
}

#[test]
fn a_host_cannot_have_any_number_of_ranges() {
    let memory = GuestMemory::default();
    let map = |at: u64| memory.map(&range(at * 2, 1, 0, RW), None);
    for at in 0..65535 {
        map(at).unwrap();
    }
    assert_eq!(map(65535).unwrap_err().errno(), rustix::io::Errno::NOSPC);
    memory.unmap(0, 1).unwrap();
    map(65535).unwrap();
}
