// SPDX-License-Identifier: GPL-2.0

//! Clients that do not keep to the protocol harm only themselves.

use crate::client::{bridge, linked, wait_for, Client, DBREQ, WINDOW1};
use ntb_emu::session::Ended;
use ntb_emu::side::Side;
use ntb_emu::wire::{Command, DmaMap, Header, IrqSet};
use proptest::prelude::*;
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_setfl, OFlags};
use std::os::fd::OwnedFd;
use zerocopy::IntoBytes;

fn memfds(count: usize) -> Vec<OwnedFd> {
    (0..count)
        .map(|_| rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap())
        .collect()
}

fn events(count: usize) -> Vec<OwnedFd> {
    (0..count)
        .map(|_| eventfd(0, EventfdFlags::NONBLOCK).unwrap())
        .collect()
}

#[test]
fn a_malformed_message_ends_its_connection_and_no_other() {
    let header = |size: u32, flags: u32| {
        let mut header = Header::command(1, Command::GetInfo, 0, 0);
        header.size = size.into();
        header.flags = flags.into();
        header.as_bytes().to_vec()
    };
    for bytes in [
        header(15, 0),
        header(0, 0),
        header(u32::MAX, 0),
        header(16, 2),
        header(16, 0),
        Header::command(1, Command::RegionWrite, 4, 0)
            .as_bytes()
            .iter()
            .copied()
            .chain([0; 4])
            .collect(),
    ] {
        let (ntb, mut a, mut b) = linked();
        let down = a.vector(22);
        b.send_bytes(&bytes, &[]);
        let ended = b.ended();
        assert!(matches!(ended, Ended::Receive(_)), "{ended}");
        wait_for(&down);
        a.flush();
        let mut b = Client::connect(&ntb, Side::Secondary);
        b.load();
        b.flush();
    }
}

#[test]
fn an_unfinished_message_at_the_end_is_noticed() {
    let (_ntb, mut a, mut b) = linked();
    b.send_bytes(
        &Header::command(1, Command::GetInfo, 16, 0).as_bytes()[..9],
        &[],
    );
    b.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        b.ended().to_string(),
        "the connection ended within a message"
    );
    a.flush();
}

#[test]
fn nothing_is_done_before_the_version() {
    let ntb = bridge();
    let mut client = Client::raw(&ntb, Side::Primary);
    client.send(Command::Reset, 0, &[], &[]);
    assert!(matches!(client.ended(), Ended::NoVersion));
    assert_eq!(ntb.end(Side::Primary).counters.connections.get(), 0);
}

#[test]
fn another_major_version_and_a_second_greeting_are_refused() {
    let ntb = bridge();
    let mut client = Client::raw(&ntb, Side::Primary);
    client.send(Command::Version, 0, &[1, 0, 0, 0], &[]);
    assert!(matches!(client.ended(), Ended::Version(1, 0)));
    let mut client = Client::connect(&ntb, Side::Primary);
    client.send(Command::Version, 0, &[0, 0, 0, 0], &[]);
    assert!(matches!(client.ended(), Ended::SecondVersion));
}

#[test]
fn too_many_descriptors_end_the_connection() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    client.send(Command::Reset, 0, &[], &memfds(17));
    assert!(matches!(client.ended(), Ended::Receive(_)));
}

#[test]
fn memory_that_cannot_be_mapped_is_refused() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    let map = DmaMap {
        argsz: 32.into(),
        flags: 3.into(),
        offset: 0.into(),
        address: 0.into(),
        size: 4096.into(),
    };
    // An empty file.
    let reply = client.ask(Command::DmaMap, map.as_bytes(), &memfds(1));
    assert_eq!(reply.header.error.get(), 22);
    let reply = client.ask(Command::DmaMap, map.as_bytes(), &[]);
    assert!(!reply.header.is_refusal());
    let reply = client.ask(Command::DmaMap, map.as_bytes(), &[]);
    assert_eq!(reply.header.error.get(), 17);
}

#[test]
fn interrupts_out_of_bounds_are_refused() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    let mut set = |flags: u32, index: u32, start: u32, count: u32, fds: usize| {
        let set = IrqSet {
            argsz: 20.into(),
            flags: flags.into(),
            index: index.into(),
            start: start.into(),
            count: count.into(),
        };
        client
            .ask(Command::SetIrqs, set.as_bytes(), &events(fds))
            .header
            .error
            .get()
    };
    const EVENTFD: u32 = 4 | 32;
    const NONE: u32 = 1 | 32;
    assert_eq!(set(EVENTFD, 2, 23, 1, 1), 0);
    assert_eq!(set(EVENTFD, 2, 0, 16, 16), 0);
    assert_eq!(set(EVENTFD, 2, 0, 24, 0), 0);
    assert_eq!(set(NONE, 2, 0, 0, 0), 0);
    assert_eq!(set(NONE, 2, 0, 24, 0), 0);
    for (flags, index, start, count, fds) in [
        (EVENTFD, 2, 24, 1, 1),
        (EVENTFD, 2, 23, 2, 2),
        (EVENTFD, 2, u32::MAX, 1, 1),
        (EVENTFD, 1, 0, 1, 1),
        (EVENTFD, 2, 20, u32::MAX, 0),
        (EVENTFD, 0, 0, 1, 1),
        (NONE, 2, 24, 1, 0),
        (NONE, 2, 1, 24, 0),
        (NONE, 2, u32::MAX, u32::MAX, 0),
        (EVENTFD | NONE, 2, 0, 1, 0),
        (0, 2, 0, 0, 0),
    ] {
        assert_eq!(
            set(flags, index, start, count, fds),
            22,
            "{flags} {index} {start} {count} {fds}"
        );
    }
}

#[test]
fn an_event_descriptor_that_blocks_costs_its_owner_the_connection() {
    let (ntb, mut a, mut b) = linked();
    let down = a.vector(22);
    let event = b.vector(0);
    rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    fcntl_setfl(&event, OFlags::empty()).unwrap();
    let guard = std::thread::spawn({
        let ntb = ntb.clone();
        move || {
            while ntb.end(Side::Secondary).connection().is_some() {
                ntb.relieve();
            }
        }
    });
    a.post(0, DBREQ, &[1, 0]);
    a.flush();
    b.ended();
    guard.join().unwrap();
    wait_for(&down);
}

#[test]
fn a_client_that_never_reads_its_answers_is_given_up() {
    let (ntb, mut a, mut b) = linked();
    let down = a.vector(22);
    let sent = (0..100).take_while(|_| {
        b.send_read(WINDOW1, 0, 1 << 20);
        ntb.end(Side::Secondary).connection().is_some()
    });
    // The server takes 64 MiB, not more.
    assert!(sent.count() >= 64);
    wait_for(&down);
    a.flush();
    b.ended();
}

#[test]
fn answers_to_nothing_are_counted_and_forgotten() {
    let (ntb, mut a, mut b) = linked();
    for command in [
        Command::DmaRead,
        Command::DmaWrite,
        Command::Reset,
        Command::Other(99),
    ] {
        for id in [0, 1, 0x8000, 0x8001, 0xffff] {
            let question = Header::command(id, command, 0, 0);
            b.send_bytes(question.reply(0).as_bytes(), &[]);
        }
    }
    b.flush();
    assert_eq!(ntb.end(Side::Secondary).counters.late_replies.get(), 20);
    a.flush();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a client sends after its greeting, in whatever pieces, the server ends or goes on, and the other client
    /// never notices.
    #[test]
    fn noise(pieces in proptest::collection::vec((0u16..18, 0u32..64, proptest::collection::vec(any::<u8>(), 0..80), 0usize..3), 1..12), cut in 1usize..40) {
        let ntb = bridge();
        let mut a = Client::connect(&ntb, Side::Primary);
        let mut b = Client::connect(&ntb, Side::Secondary);
        for (command, flags, body, fds) in pieces {
            let mut bytes = [Header::command(1, Command::from(command), body.len(), 0).as_bytes(), &body[..]].concat();
            bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            b.send_bytes(first, &memfds(fds));
            b.send_bytes(second, &[]);
        }
        a.flush();
        b.kill();
        a.flush();
        prop_assert!(!ntb.model().link());
    }
}
