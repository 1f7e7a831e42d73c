// SPDX-License-Identifier: GPL-2.0

//! The window that QEMU maps.

use std::io::Write;
use std::os::unix::fs::FileExt;

use crate::client::{bridge_with_ram, Client, RAM};
use ntb_emu::model::amd::peer_offset;
use ntb_emu::side::Side;
use ntb_emu::wire::{Command, RegionInfo, SparseArea, SparseMmap};
use zerocopy::{FromBytes, IntoBytes};

fn ask(client: &mut Client, room: u32) -> crate::client::Received {
    let asked = RegionInfo {
        argsz: room.into(),
        flags: 0.into(),
        index: 4.into(),
        cap_offset: 0.into(),
        size: 0.into(),
        offset: 0.into(),
    };
    client.ask(Command::GetRegionInfo, asked.as_bytes(), &[])
}

#[test]
fn the_peers_ram_comes_as_a_descriptor_and_only_ram_is_mappable() {
    let mut ram = [
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    ];
    for (i, file) in ram.iter_mut().enumerate() {
        file.as_file().set_len(8 << 20).unwrap();
        file.write_all(&[i as u8 + 1]).unwrap();
    }
    let paths = ram.each_ref().map(|file| file.path().to_str().unwrap());
    let ntb = bridge_with_ram(paths, true);
    let mut a = Client::connect(&ntb, Side::Primary);

    // First only how much room is needed, as QEMU asks.
    let reply = ask(&mut a, 32);
    let info = RegionInfo::read_from_bytes(&reply.body).unwrap();
    assert_eq!(
        (info.argsz.get(), info.flags.get(), info.cap_offset.get()),
        (80, 15, 32)
    );
    assert!(reply.fds.is_empty());
    assert!(!ntb.end(Side::Primary).counters.windows[2].direct.get());

    let reply = ask(&mut a, 80);
    let (info, rest) = RegionInfo::read_from_prefix(&reply.body).unwrap();
    assert_eq!((info.size.get(), info.offset.get()), (512 << 20, 0));
    let (sparse, rest) = SparseMmap::read_from_prefix(rest).unwrap();
    assert_eq!(
        (
            sparse.id.get(),
            sparse.version.get(),
            sparse.next.get(),
            sparse.areas.get()
        ),
        (1, 1, 0, 2)
    );
    let areas: Vec<_> = <[SparseArea]>::ref_from_bytes(rest)
        .unwrap()
        .iter()
        .map(|area| (area.offset.get(), area.size.get()))
        .collect();
    assert_eq!(areas, [(0, 0xa0000), (1 << 20, 7 << 20)]);
    let [fd] = <[_; 1]>::try_from(reply.fds).unwrap();
    let mut byte = [0];
    std::fs::File::from(fd).read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(byte, [2], "the peer's, not its own");
    assert!(ntb.end(Side::Primary).counters.windows[2].direct.get());
}

#[test]
fn what_is_not_mapped_is_served_with_the_same_translation() {
    let ntb = bridge_with_ram(["/nonexistent/a", "/nonexistent/b"], true);
    let mut a = Client::connect(&ntb, Side::Primary);
    let mut b = Client::connect(&ntb, Side::Secondary);
    a.load();
    b.load();
    // The driver finds out that the translation cannot be set.
    b.write(0, peer_offset(0x440), &0x1000u64.to_le_bytes());
    assert_eq!(b.read(0, peer_offset(0x440), 8), [0; 8]);
    b.write(0, peer_offset(0x420), &RAM.to_le_bytes());
    a.write(4, 0x2000, &[3; 4]);
    assert_eq!(b.ram(0x2000, 4), [3; 4]);
}

#[test]
fn a_ram_file_that_was_replaced_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ram");
    let create = || {
        let _ = std::fs::remove_file(&path);
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        file.set_len(RAM).unwrap();
        file
    };
    let file = create();
    let ntb = bridge_with_ram(["/nonexistent/a", path.to_str().unwrap()], true);
    let mut a = Client::connect(&ntb, Side::Primary);
    ask(&mut a, 80);
    let mut b = Client::connect(&ntb, Side::Secondary);
    b.map(0, RAM, 0, 3, Some(file.try_clone().unwrap().into()));
    assert!(!ntb.end(Side::Secondary).is_stale());
    b.kill();
    let other = create();
    let mut b = Client::connect(&ntb, Side::Secondary);
    b.map(0, RAM, 0, 3, Some(other.into()));
    assert!(ntb.end(Side::Secondary).is_stale());
    assert!(!ntb.end(Side::Primary).is_stale());
    drop(file);
}
