// SPDX-License-Identifier: GPL-2.0

//! Hosts that come and go a thousand times, in every way there is: nothing of them stays behind.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::{Client, DBREQ, PATIENCE, RAM, WINDOW1};
use crate::process::{start, Program};
use ntb_emu::wire::{Command, Header, RegionInfo, NO_REPLY};
use rustix::event::{eventfd, EventfdFlags};
use zerocopy::IntoBytes;

const CYCLES: usize = 1000;

/// What a process has.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    threads: usize,
    descriptors: usize,
    /// Mappings of what hosts gave as their RAM.
    rams: usize,
}

fn entries(program: &Program, directory: &str) -> usize {
    let path = format!("/proc/{}/{directory}", program.0.id());
    std::fs::read_dir(path).unwrap().count()
}

fn mappings(program: &Program) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", program.0.id())).unwrap();
    maps.lines().map(str::to_owned).collect()
}

fn holdings(program: &Program) -> Holdings {
    let of_ram = |line: &&String| line.contains("ram");
    Holdings {
        threads: entries(program, "task"),
        descriptors: entries(program, "fd"),
        rams: mappings(program).iter().filter(of_ram).count(),
    }
}

/// Waits until the process has what it had before there was anybody.
fn wait_until_alone(program: &Program, before: &Holdings) {
    let deadline = Instant::now() + PATIENCE;
    while holdings(program) != *before {
        let now = holdings(program);
        assert!(
            Instant::now() < deadline,
            "{now:?} instead of {before:?}: {:#?}",
            mappings(program)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn connect(directory: &Path, name: &str) -> Client {
    let mut client = Client::over(UnixStream::connect(directory.join(name)).unwrap());
    assert!(!client.greet().header.is_refusal());
    client
}

/// What a machine does until it is up, and more: everything that makes the other end hold something.
fn settle(client: &mut Client, directory: &Path) {
    client.load();
    let unsealed = File::options()
        .read(true)
        .write(true)
        .open(directory.join("other"))
        .unwrap();
    client.map(1 << 32, RAM, 0, 3, Some(unsealed.into()));
    for page in 0..2 {
        let fd = client.ram.try_clone().unwrap();
        client.map(
            (2 << 32) + 0x2000 * page,
            0x1000,
            0x1000 * page,
            1,
            Some(fd.into()),
        );
    }
    client.attach(0, &events(16));
    client.attach(16, &events(8));
    let asked = RegionInfo {
        argsz: 80.into(),
        flags: 0.into(),
        index: 4.into(),
        cap_offset: 0.into(),
        size: 0.into(),
        offset: 0.into(),
    };
    let reply = client.ask(Command::GetRegionInfo, asked.as_bytes(), &[]);
    assert_eq!(reply.fds.len(), 1);
}

fn events(count: usize) -> Vec<OwnedFd> {
    let event = |_| eventfd(0, EventfdFlags::empty()).unwrap();
    (0..count).map(event).collect()
}

/// Goes away in one of several ways.
fn leave(mut client: Client, way: usize) {
    let write = Header::command(1, Command::RegionWrite, 1000, NO_REPLY);
    match way {
        // In the middle of a header, of a body, with descriptors that belong to a message that never comes.
        0 => client.send_bytes(&write.as_bytes()[..7], &[]),
        1 => client.send_bytes(&[write.as_bytes(), &[0; 500]].concat(), &[]),
        2 => client.send_bytes(&write.as_bytes()[..9], &events(16)),
        // Thrown out.
        3 => client.send_bytes(&[0xff; 16], &[]),
        4 => {
            client.send(Command::Reset, NO_REPLY, &[], &events(3));
        }
        // With answers that were never read.
        5 => {
            for _ in 0..50 {
                client.send_read(WINDOW1, 0, 1 << 16);
            }
        }
        // Without a word, as if killed.
        _ => {}
    }
}

#[test]
fn nothing_is_left_of_hosts_that_have_gone() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for (name, size) in [
        ("lender.ram", 8 << 20),
        ("borrower.ram", 8 << 20),
        ("other", RAM),
    ] {
        let file = File::create(directory.join(name)).unwrap();
        file.set_len(size).unwrap();
    }
    let program = start(directory);
    let before = holdings(&program);
    assert_eq!(before.rams, 0);
    let mut warm = 0;
    for cycle in 0..CYCLES {
        let mut a = connect(directory, "lender");
        let mut b = connect(directory, "borrower");
        if cycle == 0 {
            let empty = holdings(&program);
            assert!(empty.descriptors > before.descriptors && empty.threads > before.threads);
        }
        settle(&mut a, directory);
        settle(&mut b, directory);
        if cycle == 0 {
            assert!(holdings(&program).rams >= 2, "{:#?}", mappings(&program));
        }
        // RAM of b's that a reaches, and a device that is never heard of again, with a doorbell behind.
        b.open_window(0, RAM);
        a.write(WINDOW1, 0, &[1; 64]);
        b.open_window(0xfe00_0000, 1 << 20);
        a.post(WINDOW1, 0, &[1; 8]);
        a.send_read(WINDOW1, 0, 4);
        a.post(0, DBREQ, &[1, 0]);
        let (first, second) = if cycle % 2 == 0 { (a, b) } else { (b, a) };
        leave(first, cycle % 7);
        leave(second, cycle / 7 % 7);
        if cycle == CYCLES / 10 {
            wait_until_alone(&program, &before);
            warm = mappings(&program).len();
        }
    }
    wait_until_alone(&program, &before);
    // Memory that the allocator and the thread library keep for the next time is bounded; a leak in each cycle is not.
    let now = mappings(&program);
    assert!(
        now.len() < warm + 100,
        "{warm} mappings have become {}: {now:#?}",
        now.len()
    );
}
