// SPDX-License-Identifier: GPL-2.0

//! A host to and from which nothing crosses.

use std::time::{Duration, Instant};

use super::{freeze, is_clear, wait_until, Clock, MS};
use crate::client::{linked, signalled, wait_for, DBREQ, RAM, SIDEINFO, WINDOW1};
use ntb_emu::fault::Fault;
use ntb_emu::side::Side;

#[test]
fn writes_wait_and_arrive_in_order() {
    let (ntb, mut a, mut b) = linked();
    let _clock = Clock::of(&ntb);
    a.open_window(0, RAM);
    b.open_window(0, RAM);
    let [bell_a, bell_b] = [&mut a, &mut b].map(|host| host.vector(0));
    ntb.inject(&freeze("b")).unwrap();
    for i in 0..100u32 {
        a.post(WINDOW1, 0, &i.to_le_bytes());
        a.post(WINDOW1, u64::from(i) * 4, &i.to_le_bytes());
        b.post(WINDOW1, 0, &i.to_le_bytes());
    }
    a.write(0, DBREQ, &[1, 0]);
    b.write(0, DBREQ, &[1, 0]);
    // What each host has of its own works.
    a.flush();
    b.flush();
    assert_eq!(b.read32(0, SIDEINFO) & 1, 1);
    assert_eq!((a.ram(0, 4), b.ram(0, 400)), (vec![0; 4], vec![0; 400]));
    assert_eq!((signalled(&bell_a), signalled(&bell_b)), (0, 0));
    let active = ntb.active_faults();
    assert!(active.hosts["b"].frozen && !active.hosts["a"].frozen);
    assert_eq!(
        (active.hosts["a"].waiting, active.hosts["b"].waiting),
        (201, 101)
    );
    ntb.inject(&Fault::Thaw {
        host: Some("b".into()),
    })
    .unwrap();
    wait_for(&bell_a);
    wait_for(&bell_b);
    assert_eq!(a.ram(0, 4), 99u32.to_le_bytes());
    assert_eq!(b.ram(0, 4), 99u32.to_le_bytes());
    assert_eq!(b.ram(396, 4), 99u32.to_le_bytes());
    wait_until("all to have arrived", || is_clear(&ntb));
}

#[test]
fn reads_are_given_up() {
    let (ntb, mut a, mut b) = linked();
    let clock = Clock::of(&ntb);
    a.open_window(0, RAM);
    b.open_window(0, RAM);
    for frozen in ["a", "b"] {
        ntb.inject(&freeze(frozen)).unwrap();
        for host in [&mut a, &mut b] {
            let start = Instant::now();
            assert_eq!(host.read(WINDOW1, 0, 4), [0xff; 4]);
            assert!((1000 * MS..4000 * MS).contains(&start.elapsed()));
        }
        ntb.inject(&Fault::Clear).unwrap();
        for host in [&mut a, &mut b] {
            assert_eq!(host.read(WINDOW1, 0, 4), [0; 4]);
        }
    }
    for side in Side::BOTH {
        assert_eq!(ntb.end(side).counters.windows[1].timeouts.get(), 2);
    }
    // Who has waited in vain once does so no more, or a device's DMA would stop the whole machine.
    ntb.inject(&freeze("b")).unwrap();
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
    drop(clock);
    for _ in 0..100 {
        assert_eq!(a.read(WINDOW1, 0, 8), [0xff; 8]);
    }
    // That ends with the frost.
    ntb.inject(&Fault::Thaw { host: None }).unwrap();
    ntb.inject(&freeze("b")).unwrap();
    a.send_read(WINDOW1, 0, 4);
    assert!(a.is_quiet(50 * MS));
    ntb.inject(&Fault::Clear).unwrap();
    assert_eq!(a.read_reply(4), [0; 4]);
}

/// The peer has answered, but the answer does not come across.
#[test]
fn a_read_that_was_across_before_is_given_up() {
    let (ntb, mut a, mut b) = linked();
    let _clock = Clock::of(&ntb);
    b.open_window(0xfe00_0000, RAM);
    let start = Instant::now();
    a.send_read(WINDOW1, 0, 4);
    let question = b.receive();
    ntb.inject(&freeze("a")).unwrap();
    b.answer(&question, Some(&[1; 4]));
    assert_eq!(a.read_reply(4), [0xff; 4]);
    assert!(start.elapsed() < Duration::from_secs(4));
    ntb.inject(&Fault::Clear).unwrap();
    // It is not answered twice.
    assert!(a.is_quiet(50 * MS));
    assert_eq!(ntb.end(Side::Primary).counters.windows[1].timeouts.get(), 1);
}

#[test]
fn not_everything_finds_room() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    ntb.inject(&freeze("b")).unwrap();
    let large = vec![1; 1 << 20];
    for _ in 0..130 {
        a.post(WINDOW1, 0, &large);
    }
    a.flush();
    let counters = &ntb.end(Side::Primary).counters.windows[1];
    let lost = counters.dropped.get();
    assert!((2..=4).contains(&lost), "{lost}");
    assert_eq!(counters.delayed.get(), 130 - lost);
    ntb.inject(&Fault::Clear).unwrap();
    // The last one waits no longer a moment before it is there.
    wait_until("what found room", || {
        is_clear(&ntb) && counters.ram_writes.get() == 130 - lost
    });
    assert_eq!(b.ram(0, 4), [1; 4]);
}
