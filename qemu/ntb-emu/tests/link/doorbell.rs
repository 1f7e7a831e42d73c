// SPDX-License-Identifier: GPL-2.0

//! Doorbells and link events.

use std::time::{Duration, Instant};

use crate::client::{
    bridge, linked, signalled, wait_for, Client, DBREQ, RAM, READY, SIDEINFO, WINDOW1,
};
use ntb_emu::model::amd::peer_offset;
use ntb_emu::side::Side;
use ntb_emu::wire::Command;

const LINK_UP_VECTOR: u32 = 21;
const LINK_DOWN_VECTOR: u32 = 22;
const INTSTAT: u64 = 0x474;

#[test]
fn a_doorbell_fires_the_peers_vector() {
    let (ntb, mut a, mut b) = linked();
    let three = b.vector(3);
    let four = b.vector(4);
    a.write(0, DBREQ, &[1 << 3, 0]);
    assert_eq!((signalled(&three), signalled(&four)), (1, 0));
    assert_eq!(b.read32(0, 0x460), 1 << 3);
    assert_eq!(ntb.end(Side::Primary).counters.doorbells.get(), 1);
    assert_eq!(ntb.end(Side::Secondary).counters.msix_fired.get(), 1);
}

/// A write through the window, then a doorbell: whoever is interrupted sees the write.
#[test]
fn ram_is_written_before_the_doorbell_is_heard() {
    let (_ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let vector = b.vector(0);
    for i in 1..=2000u32 {
        a.post(WINDOW1, 0x100, &i.to_le_bytes());
        a.post(0, DBREQ, &[1, 0]);
        let deadline = Instant::now() + Duration::from_secs(10);
        // Without sleeping, to be as early as can be.
        while signalled(&vector) == 0 {
            assert!(Instant::now() < deadline, "not signalled");
        }
        assert_eq!(b.ram(0x100, 4), i.to_le_bytes());
        b.write(0, 0x460, &[1, 0]);
    }
}

#[test]
fn a_doorbell_waits_for_writes_to_devices_before_it() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0xfe00_0000, 0x1000);
    let vector = b.vector(0);
    a.post(WINDOW1, 0, &[1; 4]);
    a.post(0, DBREQ, &[1, 0]);
    a.post(WINDOW1, 4, &[2; 4]);
    a.flush();
    assert_eq!(signalled(&vector), 0);
    assert_eq!(b.receive().command(), Command::DmaWrite);
    let fence = b.receive();
    assert_eq!(
        (fence.command(), fence.dma()),
        (Command::DmaRead, (0, 0, &[][..]))
    );
    assert_eq!(b.receive().command(), Command::DmaWrite);
    assert_eq!(signalled(&vector), 0);
    b.answer(&fence, Some(&[]));
    wait_for(&vector);
    // The write behind it is not known to be done.
    a.write(0, DBREQ, &[2, 0]);
    let fence = b.receive();
    b.answer(&fence, Some(&[]));
    b.flush();
    assert_eq!(b.read32(0, 0x460), 3);
    // Now all is.
    a.write(0, DBREQ, &[4, 0]);
    assert_eq!(b.read32(0, 0x460), 7);
    assert_eq!(ntb.end(Side::Primary).counters.doorbells_deferred.get(), 2);
}

#[test]
fn a_killed_host_is_missed_and_its_return_noticed() {
    let (ntb, mut a, b) = linked();
    let down = a.vector(LINK_DOWN_VECTOR);
    let up = a.vector(LINK_UP_VECTOR);
    assert_eq!(a.read32(0, peer_offset(SIDEINFO)) & READY, READY);
    b.kill();
    assert_eq!((signalled(&down), signalled(&up)), (1, 0));
    assert_eq!(a.read32(0, peer_offset(SIDEINFO)) & READY, 0);
    assert!(!ntb.model().link());
    let mut b = Client::connect(&ntb, Side::Secondary);
    b.load();
    a.write(0, INTSTAT, &(1u32 << 6).to_le_bytes());
    assert_eq!((signalled(&down), signalled(&up)), (0, 1));
    assert_eq!(a.read32(0, peer_offset(SIDEINFO)) & READY, READY);
    b.open_window(0, RAM);
    a.write(WINDOW1, 0, &[5; 4]);
    assert_eq!(b.ram(0, 4), [5; 4]);
}

#[test]
fn reads_of_a_host_that_is_killed_are_answered() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0xfe00_0000, 0x1000);
    a.send_read(WINDOW1, 0, 4);
    b.receive();
    b.kill();
    assert_eq!(a.read_reply(4), [0xff; 4]);
    assert_eq!(ntb.end(Side::Primary).counters.windows[1].failed.get(), 1);
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
}

#[test]
fn a_reset_is_a_link_that_goes_and_comes() {
    let (_ntb, mut a, mut b) = linked();
    let down = a.vector(LINK_DOWN_VECTOR);
    let up = a.vector(LINK_UP_VECTOR);
    b.open_window(0, RAM);
    assert_eq!(a.read(WINDOW1, 0, 4), [0; 4]);
    b.ask(Command::Reset, &[], &[]);
    assert_eq!((signalled(&down), signalled(&up)), (1, 0));
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
    assert_eq!(b.read32(7, 4) & 4, 0, "no bus master any more");
    a.write(0, INTSTAT, &(1u32 << 6).to_le_bytes());
    assert_eq!(signalled(&up), 1);
}

#[test]
fn a_host_alone_has_no_link() {
    let ntb = bridge();
    let mut a = Client::connect(&ntb, Side::Primary);
    a.load();
    assert_eq!(a.read32(0, peer_offset(SIDEINFO)), 1);
    assert_eq!(a.read(WINDOW1, 0, 8), [0xff; 8]);
    a.write(WINDOW1, 0, &[0; 8]);
}
