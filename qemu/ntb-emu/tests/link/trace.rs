// SPDX-License-Identifier: GPL-2.0

//! Who watches is told of everything, and told right.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{bridge, linked, Client, CONFIG, DBREQ, RAM, SIDEINFO, WINDOW1};
use crate::faults::Clock;
use ntb_emu::fault::Fault;
use ntb_emu::link::{Link, Watching};
use ntb_emu::model::amd::peer_offset;
use ntb_emu::side::Side;
use ntb_emu::trace::{channel, Kind, Line, Seen, Stream};
use ntb_emu::wire::Command;
use serde_json::{json, Value};

fn watch(link: &Arc<Link>) -> (Watching, Stream) {
    let (feed, stream) = channel(1000);
    (link.watch(feed), stream)
}

/// The next record, without times, which must be one of a kind. Others are passed over.
fn next(stream: &mut Stream, kind: Kind) -> Value {
    loop {
        match stream.next(Duration::from_secs(10)) {
            Seen::Record(record) if record.kind == kind => return plain(&Line::from(&*record)),
            Seen::Record(_) => {}
            other => panic!("waited for {kind:?}, not for {other:?}"),
        }
    }
}

fn plain(line: &Line) -> Value {
    let mut value = json!(line);
    let fields = value.as_object_mut().unwrap();
    for field in ["time", "took", "link"] {
        fields.remove(field);
    }
    value
}

#[test]
fn accesses_through_windows() {
    let (ntb, mut a, mut b) = linked();
    let _clock = Clock::of(&ntb);
    b.open_window(0x1000, RAM);
    let (_watching, mut seen) = watch(&ntb);
    a.write(WINDOW1, 0x20, &[1, 2, 3, 4]);
    assert_eq!(
        next(&mut seen, Kind::Write),
        json!({"kind": "write", "host": "a", "window": 1, "offset": "0x20", "address": "0x1020",
               "length": 4, "data": "01020304", "outcome": "ram"})
    );
    a.read(WINDOW1, 0x20, 12);
    assert_eq!(
        next(&mut seen, Kind::Read),
        json!({"kind": "read", "host": "a", "window": 1, "offset": "0x20", "address": "0x1020",
               "length": 12, "data": "0102030400000000", "outcome": "ram"})
    );
    b.read(WINDOW1, 0, 4);
    assert_eq!(
        next(&mut seen, Kind::Read),
        json!({"kind": "read", "host": "b", "window": 1, "offset": "0x0", "length": 4,
               "outcome": "blocked", "why": "the window is closed there"})
    );
    b.open_window(0xfe00_0000, 0x1000);
    a.write(WINDOW1, 4, &[5, 6]);
    assert_eq!(
        next(&mut seen, Kind::Write),
        json!({"kind": "write", "host": "a", "window": 1, "offset": "0x4", "address": "0xfe000004",
               "length": 2, "data": "0506", "outcome": "device"})
    );
    b.receive();
    let device_read = |outcome, data: Option<&str>| {
        let mut line = json!({"kind": "read", "host": "a", "window": 1, "offset": "0x8",
                              "address": "0xfe000008", "length": 4, "outcome": outcome});
        if let Some(data) = data {
            line["data"] = json!(data);
        }
        line
    };
    a.send_read(WINDOW1, 8, 4);
    let question = b.receive();
    b.answer(&question, Some(&[7; 4]));
    assert_eq!(
        next(&mut seen, Kind::Read),
        device_read("device", Some("07070707"))
    );
    a.read_reply(4);
    a.send_read(WINDOW1, 8, 4);
    let question = b.receive();
    b.answer(&question, None);
    assert_eq!(next(&mut seen, Kind::Read), device_read("failed", None));
    a.read_reply(4);
    a.send_read(WINDOW1, 8, 4);
    b.receive();
    assert_eq!(next(&mut seen, Kind::Read), device_read("timeout", None));
}

#[test]
fn registers_doorbells_interrupts_and_configuration() {
    let (ntb, mut a, mut b) = linked();
    let _vector = b.vector(3);
    let (_watching, mut seen) = watch(&ntb);
    a.write(0, 0x210, &[1, 2, 3, 4]);
    assert_eq!(
        next(&mut seen, Kind::RegisterWrite),
        json!({"kind": "register_write", "host": "a", "offset": "0x210", "register": "SPAD0",
               "length": 4, "data": "01020304", "outcome": "done"})
    );
    b.read(0, peer_offset(SIDEINFO), 4);
    assert_eq!(
        next(&mut seen, Kind::RegisterRead),
        json!({"kind": "register_read", "host": "b", "offset": "0x808", "register": "PEER_SIDEINFO",
               "length": 4, "data": "02000000", "outcome": "done"})
    );
    a.read(0, 0, 4);
    assert_eq!(
        next(&mut seen, Kind::RegisterRead),
        json!({"kind": "register_read", "host": "a", "offset": "0x0", "length": 4,
               "data": "00000000", "outcome": "done"})
    );
    a.write(0, DBREQ, &[1 << 3 | 1 << 4, 0]);
    assert_eq!(
        next(&mut seen, Kind::Doorbell),
        json!({"kind": "doorbell", "host": "a", "offset": "0x454", "register": "DBREQ",
               "length": 2, "data": "1800", "outcome": "done"})
    );
    for (vector, outcome) in [(3, "done"), (4, "pending")] {
        assert_eq!(
            next(&mut seen, Kind::Msix),
            json!({"kind": "msix", "host": "b", "vector": vector, "outcome": outcome})
        );
    }
    assert_eq!(ntb.end(Side::Secondary).counters.msix_fired.get(), 1);
    a.read(CONFIG, 0, 4);
    assert_eq!(
        next(&mut seen, Kind::ConfigRead),
        json!({"kind": "config_read", "host": "a", "offset": "0x0", "length": 4,
               "data": "22105b14", "outcome": "done"})
    );
    a.write(CONFIG, 4, &[6, 0]);
    assert_eq!(
        next(&mut seen, Kind::ConfigWrite),
        json!({"kind": "config_write", "host": "a", "offset": "0x4", "length": 2,
               "data": "0600", "outcome": "done"})
    );
}

#[test]
fn hosts_that_come_and_go() {
    let ntb = bridge();
    let (_watching, mut seen) = watch(&ntb);
    let event = |host: &str, event: &str| json!({"kind": "event", "host": host, "event": event, "outcome": "done"});
    let mut a = Client::connect(&ntb, Side::Primary);
    assert_eq!(next(&mut seen, Kind::Event), event("a", "connected"));
    a.map(0x1000, 0x2000, 0, 3, None);
    let range = |kind, outcome| {
        json!({"kind": kind, "host": "a", "address": "0x1000", "length": 0x2000,
               "outcome": outcome})
    };
    assert_eq!(next(&mut seen, Kind::DmaMap), range("dma_map", "device"));
    a.unmap(0x1000, 0x2000);
    assert_eq!(next(&mut seen, Kind::DmaUnmap), range("dma_unmap", "done"));
    let ram = a.ram.try_clone().unwrap();
    a.map(0x1000, 0x2000, 0, 3, Some(ram.into()));
    assert_eq!(next(&mut seen, Kind::DmaMap), range("dma_map", "ram"));
    a.ask(Command::Reset, &[], &[]);
    assert_eq!(next(&mut seen, Kind::Event), event("a", "reset"));
    a.kill();
    assert_eq!(next(&mut seen, Kind::Event), event("a", "disconnected"));
}

#[test]
fn what_faults_do() {
    let (ntb, mut a, mut b) = linked();
    let clock = Clock::of(&ntb);
    b.open_window(0, RAM);
    let (_watching, mut seen) = watch(&ntb);
    let mut outcome = |kind| next(&mut seen, kind)["outcome"].clone();
    let inject = |fault: Fault| ntb.inject(&fault).unwrap();
    inject(Fault::DropDoorbells {
        host: None,
        next: Some(1),
        probability: None,
        seed: 0,
    });
    a.write(0, DBREQ, &[1, 0]);
    assert_eq!(outcome(Kind::Doorbell), "lost");
    inject(Fault::AllOnes {
        host: None,
        window: 1,
        off: false,
    });
    a.write(WINDOW1, 0, &[1]);
    assert_eq!(outcome(Kind::Write), "all_ones");
    a.read(WINDOW1, 0, 1);
    assert_eq!(outcome(Kind::Read), "all_ones");
    inject(Fault::Clear);
    inject(Fault::Freeze { host: "a".into() });
    a.read(WINDOW1, 0, 1);
    assert_eq!(outcome(Kind::Read), "timeout");
    drop(clock);
    a.write(WINDOW1, 0, &[1]);
    inject(Fault::Down);
    assert_eq!(outcome(Kind::Write), "lost");
    inject(Fault::Clear);
    a.write(WINDOW1, 0, &[1]);
    assert_eq!(outcome(Kind::Write), "ram");
}

#[test]
fn what_is_late_says_how_late() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let by = Duration::from_millis(20);
    ntb.inject(&Fault::Delay { host: None, by }).unwrap();
    let (_watching, mut seen) = watch(&ntb);
    a.write(WINDOW1, 0, &[1]);
    a.write(0, DBREQ, &[1, 0]);
    a.read(WINDOW1, 0, 1);
    for (kind, least) in [
        (Kind::Write, by),
        (Kind::Doorbell, by),
        (Kind::Read, 2 * by),
    ] {
        let took = loop {
            match seen.next(Duration::from_secs(10)) {
                Seen::Record(record) if record.kind == kind => break record.took.unwrap(),
                Seen::Record(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert!(took >= least, "{kind:?} took {took:?}");
    }
}

#[test]
fn who_does_not_watch_any_more_is_told_nothing() {
    let (ntb, mut a, _b) = linked();
    let (watching, mut seen) = watch(&ntb);
    let (other, mut all) = watch(&ntb);
    a.write(0, 0x210, &[1]);
    drop(watching);
    a.write(0, 0x210, &[2]);
    next(&mut seen, Kind::RegisterWrite);
    assert!(matches!(seen.next(Duration::ZERO), Seen::End));
    next(&mut all, Kind::RegisterWrite);
    next(&mut all, Kind::RegisterWrite);
    drop(other);
    assert!(matches!(all.next(Duration::ZERO), Seen::End));
}
