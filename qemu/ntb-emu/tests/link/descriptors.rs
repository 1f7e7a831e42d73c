// SPDX-License-Identifier: GPL-2.0

//! Descriptors that nobody asked for.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;

use crate::client::{bridge, linked, memory, Client, RAM};
use ntb_emu::session::Ended;
use ntb_emu::side::Side;
use ntb_emu::wire::{Command, DmaMap, Header, IrqSet, NO_REPLY};
use zerocopy::IntoBytes;

fn memfds(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| memory("x", RAM).into()).collect()
}

fn set(count: u32) -> Vec<u8> {
    let set = IrqSet {
        argsz: 20.into(),
        flags: (4 | 32).into(),
        index: 2.into(),
        start: 0.into(),
        count: count.into(),
    };
    set.as_bytes().to_vec()
}

#[test]
fn more_or_less_of_them_than_the_command_takes_end_the_connection() {
    let map = DmaMap {
        argsz: 32.into(),
        flags: 3.into(),
        offset: 0.into(),
        address: 0.into(),
        size: RAM.into(),
    };
    for (command, body, count) in [
        (Command::DmaMap, map.as_bytes().to_vec(), 2),
        (Command::DmaUnmap, vec![0; 24], 1),
        (Command::GetInfo, vec![0; 16], 1),
        (Command::RegionRead, vec![0; 16], 1),
        (Command::RegionWrite, vec![0; 16], 1),
        (Command::Reset, vec![], 16),
        (Command::SetIrqs, set(2), 1),
        (Command::SetIrqs, set(1), 2),
        (Command::SetIrqs, set(u32::MAX), 1),
    ] {
        let (ntb, mut a, mut b) = linked();
        b.send(command, NO_REPLY, &body, &memfds(count));
        let ended = b.ended();
        assert!(
            matches!(ended, Ended::Descriptors { command: c, count: n } if c == command && n == count),
            "{ended}"
        );
        a.flush();
        assert!(!ntb.model().link());
    }
}

#[test]
fn an_answer_does_not_come_with_any() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    let command = Header::command(1, Command::DmaWrite, 0, 0);
    client.send_bytes(command.reply(0).as_bytes(), &memfds(1));
    assert!(matches!(client.ended(), Ended::Descriptors { .. }));
}

#[test]
fn a_message_that_never_ends_does_not_gather_them() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    let header = Header::command(1, Command::RegionWrite, 1 << 20, NO_REPLY);
    let fds = memfds(1);
    client.send_bytes(header.as_bytes(), &fds);
    for _ in 0..40 {
        client.send_bytes(&[0], &fds);
    }
    // If it ends with bytes of ours unread, that is not how a stream ends.
    match client.socket.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(matches!(client.ended(), Ended::Receive(_)));
}
