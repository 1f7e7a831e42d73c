// SPDX-License-Identifier: GPL-2.0

//! What a host gives as its RAM, and may do to it afterwards.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::client::{bridge, bridge_with_ram, linked, memory, Client, RAM, WINDOW1};
use ntb_emu::side::Side;
use ntb_emu::wire::{Command, DmaMap};
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{memfd_create, MemfdFlags};
use zerocopy::IntoBytes;

const ADDRESS: u64 = 0x4000_0000;

/// A write and a read of `a` through its window, which `b` must be asked for.
fn is_reached_by_messages(a: &mut Client, b: &mut Client) {
    a.post(WINDOW1, 0x10, &[1, 2, 3, 4]);
    let write = b.receive();
    assert_eq!(write.command(), Command::DmaWrite);
    assert_eq!(write.dma(), (ADDRESS + 0x10, 4, &[1u8, 2, 3, 4][..]));
    a.send_read(WINDOW1, 0x10, 4);
    let read = b.receive();
    assert_eq!(read.command(), Command::DmaRead);
    b.answer(&read, Some(&[5, 6, 7, 8]));
    assert_eq!(a.read_reply(4), [5, 6, 7, 8]);
}

#[test]
fn ram_that_shrinks_ends_nothing() {
    let on_disk = tempfile::NamedTempFile::new().unwrap();
    let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let files = [
        on_disk.reopen().unwrap(),
        memfd_create("ram", MemfdFlags::CLOEXEC).unwrap().into(),
        memfd_create("ram", sealable).unwrap().into(),
    ];
    for file in files {
        let (_ntb, mut a, mut b) = linked();
        file.set_len(RAM).unwrap();
        let fd = file.try_clone().unwrap();
        b.map(ADDRESS, RAM, 0, 3, Some(fd.into()));
        b.open_window(ADDRESS, RAM);
        is_reached_by_messages(&mut a, &mut b);
        file.set_len(0).unwrap();
        is_reached_by_messages(&mut a, &mut b);
    }
}

#[test]
fn the_file_that_is_named_as_a_hosts_ram_is_mapped_for_that_host_only() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(RAM).unwrap();
    let ntb = bridge_with_ram(["/nonexistent/a", file.path().to_str().unwrap()], false);
    let mut a = Client::connect(&ntb, Side::Primary);
    let mut b = Client::connect(&ntb, Side::Secondary);
    a.load();
    b.load();
    for client in [&mut a, &mut b] {
        let fd = file.reopen().unwrap();
        client.map(ADDRESS, RAM, 0, 3, Some(fd.into()));
        client.open_window(ADDRESS, RAM);
    }
    a.write(WINDOW1, 0, &[7; 8]);
    assert_eq!(std::fs::read(file.path()).unwrap()[..8], [7; 8]);
    is_reached_by_messages(&mut b, &mut a);
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    let ram = memory("write only", RAM);
    let path = format!("/proc/self/fd/{}", ram.as_raw_fd());
    let write_only = OpenOptions::new().write(true).open(path).unwrap();
    let odd: [OwnedFd; 7] = [
        rustix::pipe::pipe().unwrap().0,
        File::open("/").unwrap().into(),
        File::open("/dev/zero").unwrap().into(),
        UnixStream::pair().unwrap().0.into(),
        eventfd(0, EventfdFlags::empty()).unwrap(),
        write_only.into(),
        memory("too short", 4095).into(),
    ];
    let map = DmaMap {
        argsz: 32.into(),
        flags: 3.into(),
        offset: 0.into(),
        address: ADDRESS.into(),
        size: 4096.into(),
    };
    for fd in odd {
        let reply = client.ask(Command::DmaMap, map.as_bytes(), &[fd]);
        assert!(reply.header.is_refusal());
    }
    client.flush();
    assert_eq!(ntb.end(Side::Primary).memory.ranges(), 0);
}
