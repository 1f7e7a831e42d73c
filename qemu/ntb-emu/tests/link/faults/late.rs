// SPDX-License-Identifier: GPL-2.0

//! Everything arrives late, and in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{delay, is_clear, wait_until, Clock, MS};
use crate::client::{access, linked, signalled, wait_for, CONFIG, DBREQ, RAM, SIDEINFO, WINDOW1};
use ntb_emu::fault::{Fault, FaultError};
use ntb_emu::side::Side;
use ntb_emu::wire::Command;
use zerocopy::IntoBytes;

#[test]
fn reads_and_writes_take_their_time() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let bell = b.vector(0);
    ntb.inject(&delay("a", 30 * MS)).unwrap();
    let start = Instant::now();
    a.write(WINDOW1, 0, &[1, 2, 3, 4]);
    a.write(0, DBREQ, &[1, 0]);
    wait_for(&bell);
    assert!(start.elapsed() >= 30 * MS);
    assert_eq!(b.ram(0, 4), [1, 2, 3, 4]);
    let start = Instant::now();
    assert_eq!(a.read(WINDOW1, 0, 4), [1, 2, 3, 4]);
    assert!(start.elapsed() >= 30 * MS);
    // The answer takes the other way.
    ntb.inject(&delay("b", 40 * MS)).unwrap();
    let start = Instant::now();
    assert_eq!(a.read(WINDOW1, 0, 4), [1, 2, 3, 4]);
    assert!(start.elapsed() >= 70 * MS);
    let counters = &ntb.end(Side::Primary).counters;
    assert_eq!(
        (
            counters.windows[1].delayed.get(),
            counters.doorbells_delayed.get()
        ),
        (4, 1)
    );
    let no = Fault::Delay {
        host: None,
        by: Duration::ZERO,
    };
    ntb.inject(&no).unwrap();
    assert!(is_clear(&ntb));
}

/// A host that waits for a read is still served otherwise, and its own registers are near.
#[test]
fn a_read_under_way_holds_up_nothing_else() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    ntb.inject(&delay("a", 2500 * MS)).unwrap();
    let start = Instant::now();
    let window = a.send(
        Command::RegionRead,
        0,
        access(WINDOW1, 0, 4).as_bytes(),
        &[],
    );
    for (region, offset) in [(0, SIDEINFO), (CONFIG, 0)] {
        let near = a.send(
            Command::RegionRead,
            0,
            access(region, offset, 4).as_bytes(),
            &[],
        );
        assert_eq!(a.receive().header.id.get(), near);
    }
    assert_eq!(b.read(0, SIDEINFO, 4).len(), 4);
    assert_eq!(a.receive().header.id.get(), window);
    assert!(start.elapsed() >= 2500 * MS);
}

#[test]
fn more_than_qemu_stands_is_refused() {
    let (ntb, _a, _b) = linked();
    let seconds = Duration::from_secs;
    let refused = |fault: &Fault| {
        let error = ntb.inject(fault).unwrap_err();
        assert!(matches!(error, FaultError::RoundTrip { .. }), "{error}");
    };
    refused(&delay("a", seconds(3) + MS));
    refused(&delay("a", Duration::MAX));
    ntb.inject(&delay("a", seconds(2))).unwrap();
    refused(&delay("b", seconds(1) + MS));
    ntb.inject(&delay("b", seconds(1))).unwrap();
    // What is replaced does not count.
    refused(&delay("a", seconds(2) + MS));
    ntb.inject(&delay("a", seconds(1))).unwrap();
    let both = |by| Fault::Delay { host: None, by };
    refused(&both(1501 * MS));
    ntb.inject(&both(1500 * MS)).unwrap();
}

/// Delays come and go while a host writes; nothing is lost or overtaken, to a device or to RAM with doorbells.
#[test]
fn the_order_is_kept_while_delays_come_and_go() {
    const WRITES: u32 = 20_000;
    let (ntb, mut a, mut b) = linked();
    b.open_window(0xfe00_0000, RAM);
    let end = Arc::new(AtomicBool::new(false));
    let changer = std::thread::spawn({
        let (ntb, end) = (ntb.clone(), end.clone());
        move || {
            let mut random = fastrand::Rng::with_seed(1);
            while !end.load(Ordering::Relaxed) {
                let fault = match random.u8(..6) {
                    0 => Fault::Clear,
                    1 => super::freeze("b"),
                    2 => Fault::Thaw { host: None },
                    _ => delay("a", Duration::from_micros(random.u64(..2000))),
                };
                ntb.inject(&fault).unwrap();
                std::thread::sleep(Duration::from_micros(random.u64(..500)));
            }
            ntb.inject(&Fault::Clear).unwrap();
        }
    });
    let writer = std::thread::spawn(move || {
        for i in 0..WRITES {
            a.post(WINDOW1, 0, &i.to_le_bytes());
        }
        a
    });
    for i in 0..WRITES {
        assert_eq!(b.receive().dma().2, i.to_le_bytes());
    }
    end.store(true, Ordering::Relaxed);
    changer.join().unwrap();
    writer.join().unwrap();
    assert_eq!(ntb.end(Side::Primary).counters.windows[1].dropped.get(), 0);
    assert!(ntb.end(Side::Primary).counters.windows[1].delayed.get() > 0);
}

#[test]
fn ram_is_written_before_the_doorbell_is_heard() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let vector = b.vector(0);
    ntb.inject(&delay("a", Duration::from_micros(100))).unwrap();
    for i in 1..=500u32 {
        a.post(WINDOW1, 0x100, &i.to_le_bytes());
        a.post(0, DBREQ, &[1, 0]);
        a.post(WINDOW1, 0x104, &i.to_le_bytes());
        let deadline = Instant::now() + Duration::from_secs(10);
        while signalled(&vector) == 0 {
            assert!(Instant::now() < deadline, "not signalled");
        }
        assert_eq!(b.ram(0x100, 4), i.to_le_bytes());
        b.write(0, 0x460, &[1, 0]);
    }
    assert_eq!(a.read(WINDOW1, 0x104, 4), 500u32.to_le_bytes());
}

/// As in PCI Express: an answer does not overtake what its sender has written before.
#[test]
fn an_answer_pushes_the_writes_before_it() {
    let (ntb, mut a, mut b) = linked();
    a.open_window(0, RAM);
    b.open_window(0, RAM);
    ntb.inject(&delay("b", 50 * MS)).unwrap();
    b.write(WINDOW1, 0x10, &[7; 4]);
    assert_eq!(a.read(WINDOW1, 0, 4), [0; 4]);
    assert_eq!(a.ram(0x10, 4), [7; 4]);
}

#[test]
fn devices_are_reached_late_and_have_their_own_time() {
    let (ntb, mut a, mut b) = linked();
    let _clock = Clock::of(&ntb);
    b.open_window(0xfe00_0000, RAM);
    ntb.inject(&Fault::Delay {
        host: None,
        by: 600 * MS,
    })
    .unwrap();
    let start = Instant::now();
    a.send_read(WINDOW1, 0, 4);
    let question = b.receive();
    assert!(start.elapsed() >= 600 * MS);
    b.answer(&question, Some(&[1, 2, 3, 4]));
    assert_eq!(a.read_reply(4), [1, 2, 3, 4]);
    assert!(start.elapsed() >= 1200 * MS);
    // One that never answers is given up in time.
    let start = Instant::now();
    a.send_read(WINDOW1, 0, 4);
    assert_eq!(a.read_reply(4), [0xff; 4]);
    assert!((2200 * MS..4500 * MS).contains(&start.elapsed()));
    let counters = &ntb.end(Side::Primary).counters.windows[1];
    assert_eq!((counters.timeouts.get(), counters.failed.get()), (1, 0));
}

#[test]
fn what_waits_arrives_when_the_fault_ends() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    ntb.inject(&delay("a", 3000 * MS)).unwrap();
    let start = Instant::now();
    a.write(WINDOW1, 0, &[1; 4]);
    ntb.inject(&Fault::Clear).unwrap();
    wait_until("the write", || b.ram(0, 4) == [1; 4]);
    assert!(start.elapsed() < 3000 * MS);
    assert!(is_clear(&ntb));
}
