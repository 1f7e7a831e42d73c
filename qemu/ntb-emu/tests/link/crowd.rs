// SPDX-License-Identifier: GPL-2.0

//! Several connections for one host, and such as say nothing.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::client::{bridge, bridge_with_ram, linked, signalled, wait_for, Client};
use ntb_emu::session::Ended;
use ntb_emu::side::Side;
use ntb_emu::wire::{Command, Header, RegionInfo};
use zerocopy::IntoBytes;

#[test]
fn who_comes_second_is_told_so_and_the_first_never_notices() {
    let (ntb, mut a, mut b) = linked();
    let down = a.vector(22);
    let mut second = Client::raw(&ntb, Side::Secondary);
    let reply = second.greet();
    assert_eq!(reply.header.error.get(), 16);
    assert!(matches!(second.ended(), Ended::Taken));
    b.flush();
    assert_eq!(signalled(&down), 0);
    assert_eq!(ntb.end(Side::Secondary).counters.connections.get(), 1);
}

#[test]
fn who_comes_second_is_served_when_the_first_has_gone() {
    let (ntb, mut a, b) = linked();
    let down = a.vector(22);
    let mut second = Client::raw(&ntb, Side::Secondary);
    let thread = std::thread::spawn(move || {
        assert!(!second.greet().header.is_refusal());
        second.load();
        second
    });
    b.kill();
    let mut second = thread.join().unwrap();
    wait_for(&down);
    second.flush();
    assert!(ntb.model().link());
}

#[test]
fn who_says_nothing_or_hardly_anything_is_sent_away() {
    let ntb = bridge();
    let silent = Client::raw(&ntb, Side::Primary);
    let mut slow = Client::raw(&ntb, Side::Primary);
    let greeting = Header::command(1, Command::Version, 1 << 20, 0);
    let mut bytes = greeting.as_bytes().iter().chain(std::iter::repeat(&0));
    slow.socket
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Until it is closed.
    while !matches!(slow.socket.read(&mut [0]), Ok(0)) {
        assert!(Instant::now() < deadline, "still there");
        let _ = slow.socket.write(&[*bytes.next().unwrap()]);
    }
    for client in [silent, slow] {
        assert_eq!(client.ended().to_string(), "no complete message in time");
    }
    Client::connect(&ntb, Side::Primary).flush();
}

#[test]
fn a_greeted_host_may_be_silent() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    // Longer than a greeting may take.
    assert!(client.is_quiet(Duration::from_millis(5500)));
    client.flush();
}

#[test]
fn ram_that_does_not_come_is_waited_for_once() {
    let ntb = bridge_with_ram(["/nonexistent/a", "/nonexistent/b"], true);
    let mut client = Client::connect(&ntb, Side::Primary);
    let asked = RegionInfo {
        argsz: 80.into(),
        flags: 0.into(),
        index: 4.into(),
        cap_offset: 0.into(),
        size: 0.into(),
        offset: 0.into(),
    };
    let start = Instant::now();
    for _ in 0..100 {
        let reply = client.ask(Command::GetRegionInfo, asked.as_bytes(), &[]);
        assert_eq!(reply.body.len(), 32);
    }
    // It takes 4 s once; a hundred times that would be more than any test waits.
    assert!(start.elapsed() < Duration::from_secs(60));
}
