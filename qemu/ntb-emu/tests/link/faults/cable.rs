// SPDX-License-Identifier: GPL-2.0

//! The cable is pulled and put in, and a function is reset.

use std::time::Duration;

use super::{freeze, is_clear, wait_until, MS};
use crate::client::{linked, signalled, wait_for, Client, DBREQ, RAM, READY, SIDEINFO, WINDOW1};
use ntb_emu::fault::{Fault, FaultError};
use ntb_emu::model::amd::peer_offset;
use ntb_emu::side::Side;
use ntb_emu::trace::{channel, Place, Seen};

const LINK_UP_VECTOR: u32 = 21;
const LINK_DOWN_VECTOR: u32 = 22;
const INTSTAT: u64 = 0x474;
const LINK_UP: u32 = 1 << 5;
const LINK_DOWN: u32 = 1 << 6;

#[test]
fn both_hosts_see_the_link_go_and_come() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let [down_a, down_b] = [&mut a, &mut b].map(|host| host.vector(LINK_DOWN_VECTOR));
    let [up_a, up_b] = [&mut a, &mut b].map(|host| host.vector(LINK_UP_VECTOR));
    for host in [&mut a, &mut b] {
        host.write(0, INTSTAT, &(LINK_UP | LINK_DOWN).to_le_bytes());
    }
    for up in [&up_a, &up_b] {
        signalled(up);
    }
    ntb.inject(&Fault::Down).unwrap();
    assert_eq!((signalled(&down_a), signalled(&down_b)), (1, 1));
    assert_eq!(a.read32(0, peer_offset(SIDEINFO)) & READY, 0);
    a.write(WINDOW1, 0, &[1; 4]);
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
    a.write(0, DBREQ, &[1, 0]);
    assert_eq!((b.ram(0, 4), b.read32(0, 0x460)), (vec![0; 4], 0));
    assert!(ntb.active_faults().cable_out);
    // Once more is not another event.
    ntb.inject(&Fault::Down).unwrap();
    assert_eq!((signalled(&down_a), signalled(&down_b)), (0, 0));

    for host in [&mut a, &mut b] {
        host.write(0, INTSTAT, &LINK_DOWN.to_le_bytes());
    }
    ntb.inject(&Fault::Up).unwrap();
    assert_eq!((signalled(&up_a), signalled(&up_b)), (1, 1));
    a.write(WINDOW1, 0, &[1; 4]);
    assert_eq!(b.ram(0, 4), [1; 4]);
    assert!(is_clear(&ntb));
}

#[test]
fn a_flapping_cable_is_pulled_as_often_as_said_and_ends_up_in() {
    let (ntb, _a, _b) = linked();
    let (feed, mut stream) = channel(1000);
    let watching = ntb.watch(feed);
    ntb.inject(&Fault::Flap {
        times: 3,
        period: 10 * MS,
    })
    .unwrap();
    wait_until("the end of the flapping", || is_clear(&ntb));
    assert!(ntb.model().link());
    drop(watching);
    let mut moves = Vec::new();
    while let Seen::Record(record) = stream.next(Duration::ZERO) {
        if let Place::Event(event) = record.place {
            moves.push(event);
        }
    }
    assert_eq!(moves, ["cable pulled", "cable put in"].repeat(3));
}

#[test]
fn nobody_waits_for_a_flapping_cable() {
    let (ntb, _a, _b) = linked();
    ntb.inject(&Fault::Flap {
        times: 5,
        period: Duration::from_secs(600),
    })
    .unwrap();
    assert_eq!(ntb.active_faults().flap.unwrap().left, 5);
}

#[test]
fn whoever_moves_the_cable_stops_the_flapping() {
    let (ntb, _a, _b) = linked();
    for end in [Fault::Down, Fault::Up, Fault::Clear] {
        ntb.inject(&Fault::Flap {
            times: 1000,
            period: 2 * MS,
        })
        .unwrap();
        std::thread::sleep(5 * MS);
        ntb.inject(&end).unwrap();
        let link = end != Fault::Down;
        for _ in 0..20 {
            assert_eq!(ntb.model().link(), link, "{end:?}");
            std::thread::sleep(MS);
        }
        assert!(ntb.active_faults().flap.is_none());
    }
    for (times, period) in [
        (0, Duration::from_secs(1)),
        (1, Duration::ZERO),
        (1, Duration::MAX),
    ] {
        ntb.inject(&Fault::Flap { times, period }).unwrap_err();
    }
    assert!(is_clear(&ntb));
}

#[test]
fn what_is_under_way_when_the_cable_is_pulled_is_lost() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let bell = b.vector(0);
    ntb.inject(&freeze("b")).unwrap();
    a.write(WINDOW1, 0, &[1; 4]);
    a.write(0, DBREQ, &[1, 0]);
    a.send_read(WINDOW1, 0, 4);
    wait_until("the read to be under way", || {
        ntb.active_faults().hosts["a"].waiting == 3
    });
    ntb.inject(&Fault::Down).unwrap();
    assert_eq!(a.read_reply(4), [0xff; 4]);
    ntb.inject(&Fault::Clear).unwrap();
    assert!(is_clear(&ntb));
    a.write(WINDOW1, 8, &[2; 4]);
    assert_eq!(a.read(WINDOW1, 0, 12), [[0; 4], [0; 4], [2; 4]].concat());
    assert_eq!(signalled(&bell), 0);
    let counters = &ntb.end(Side::Primary).counters;
    assert_eq!(
        (
            counters.windows[1].dropped.get(),
            counters.windows[1].failed.get(),
            counters.doorbells_dropped.get()
        ),
        (1, 1, 1)
    );
}

#[test]
fn a_new_machine_is_not_met_by_what_was_meant_for_the_old_one() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    ntb.inject(&freeze("b")).unwrap();
    a.write(WINDOW1, 0, &[1; 4]);
    b.kill();
    let mut b = Client::connect(&ntb, Side::Secondary);
    b.load();
    b.open_window(0, RAM);
    ntb.inject(&Fault::Thaw { host: None }).unwrap();
    a.write(WINDOW1, 4, &[2; 4]);
    assert_eq!(a.read(WINDOW1, 0, 8), [[0; 4], [2; 4]].concat());
    assert_eq!(b.ram(0, 8), [[0; 4], [2; 4]].concat());
}

#[test]
fn a_reset_behind_the_hosts_back() {
    let (ntb, mut a, mut b) = linked();
    let [down, up] = [LINK_DOWN_VECTOR, LINK_UP_VECTOR].map(|vector| a.vector(vector));
    b.open_window(0, RAM);
    a.write(0, INTSTAT, &LINK_UP.to_le_bytes());
    signalled(&up);
    ntb.inject(&Fault::Reset { host: "b".into() }).unwrap();
    wait_for(&down);
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
    assert_eq!(b.read32(0, SIDEINFO) & READY, 0);
    assert_eq!(b.read32(7, 4) & 4, 0, "no bus master any more");
    a.write(0, INTSTAT, &LINK_DOWN.to_le_bytes());
    wait_for(&up);
    assert_eq!(ntb.end(Side::Secondary).counters.resets.get(), 1);
    let unknown = Fault::Reset { host: "c".into() };
    assert_eq!(
        ntb.inject(&unknown),
        Err(FaultError::UnknownHost {
            link: "ab".into(),
            name: "c".into(),
            hosts: "a, b".into()
        })
    );
}
