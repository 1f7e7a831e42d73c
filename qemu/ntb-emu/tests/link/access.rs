// SPDX-License-Identifier: GPL-2.0

//! Accesses through windows.

use std::time::{Duration, Instant};

use crate::client::{access, linked, CONFIG, RAM, WINDOW1};
use ntb_emu::side::Side;
use ntb_emu::wire::{Command, WriteOne, NO_REPLY};
use zerocopy::IntoBytes;

#[test]
fn a_window_write_lands_in_the_peers_ram_and_reads_back() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0x1000, 0x10000);
    a.post(WINDOW1, 0x20, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(a.read(WINDOW1, 0x20, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(b.ram(0x1020, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
    let long: Vec<u8> = (0..=255).cycle().take(5000).collect();
    a.write(WINDOW1, 0x101, &long);
    assert_eq!(b.ram(0x1101, 5000), long);
    assert_eq!(a.read(WINDOW1, 0x101, 5000), long);
    let counters = &ntb.end(Side::Primary).counters.windows[1];
    assert_eq!(
        (
            counters.reads.get(),
            counters.writes.get(),
            counters.ram_reads.get(),
            counters.ram_writes.get()
        ),
        (2, 2, 2, 2)
    );
    assert_eq!(
        (counters.bytes_read.get(), counters.bytes_written.get()),
        (5008, 5008)
    );
    assert_eq!(counters.blocked.get(), 0);
    assert_eq!(
        (counters.device_reads.get(), counters.device_writes.get()),
        (0, 0)
    );
}

#[test]
fn several_writes_in_one_message_are_carried_out_in_order() {
    let (_ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let one = |offset, value: u32| {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&value.to_le_bytes());
        WriteOne {
            access: access(WINDOW1, offset, 4),
            data,
        }
    };
    let writes = [one(0, 1), one(4, 2), one(0, 3)];
    let body = [&3u64.to_ne_bytes(), writes.as_bytes()].concat();
    a.send(Command::RegionWriteMulti, NO_REPLY, &body, &[]);
    assert_eq!(a.read(WINDOW1, 0, 8), [3, 0, 0, 0, 2, 0, 0, 0]);
    let reply = a.ask(Command::RegionWriteMulti, &body, &[]);
    assert_eq!(reply.body, 3u64.to_ne_bytes());
}

#[test]
fn what_is_not_open_reads_as_ones_and_takes_no_writes() {
    let (ntb, mut a, mut b) = linked();
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
    b.open_window(0x1000, 0x1000);
    a.write(WINDOW1, 0xffe, &[7; 4]);
    assert_eq!(a.read(WINDOW1, 0xffe, 4), [0xff; 4]);
    assert_eq!(b.ram(0x1ffe, 4), [0; 4]);
    b.open_window(0, 0);
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
    assert_eq!(ntb.end(Side::Primary).counters.windows[1].blocked.get(), 4);
}

#[test]
fn a_function_that_is_not_bus_master_lets_nothing_in() {
    let (_ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    b.write(CONFIG, 4, &[2, 0]);
    a.write(WINDOW1, 0, &[1; 4]);
    assert_eq!(a.read(WINDOW1, 0, 4), [0xff; 4]);
    b.write(CONFIG, 4, &[6, 0]);
    assert_eq!(a.read(WINDOW1, 0, 4), [0; 4]);
}

#[test]
fn read_only_ram_is_not_written() {
    let (_ntb, mut a, mut b) = linked();
    let fd = b.ram.try_clone().unwrap();
    b.map(0x8000_0000, 0x1000, 0x3000, 1, Some(fd.into()));
    b.open_window(0x8000_0000, 0x1000);
    a.write(WINDOW1, 0, &[9; 4]);
    assert_eq!(a.read(WINDOW1, 0, 4), [0; 4]);
    assert_eq!(b.ram(0x3000, 4), [0; 4]);
}

#[test]
fn after_an_unmap_the_memory_is_left_alone() {
    let (_ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    b.unmap(0, RAM);
    a.post(WINDOW1, 0, &[9; 4]);
    let question = b.receive();
    assert_eq!(
        (question.command(), question.dma()),
        (Command::DmaWrite, (0, 4, &[9u8; 4][..]))
    );
    assert!(!question.header.wants_reply());
    assert_eq!(b.ram(0, 4), [0; 4]);
}

#[test]
fn device_registers_are_reached_through_the_peers_qemu() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0xfe00_0000, 0x10_0000);
    a.post(WINDOW1, 0x10, &[1, 2, 3, 4]);
    a.send_read(WINDOW1, 0x14, 4);
    let write = b.receive();
    assert_eq!(
        (write.command(), write.dma()),
        (Command::DmaWrite, (0xfe00_0010, 4, &[1u8, 2, 3, 4][..]))
    );
    let read = b.receive();
    assert_eq!(
        (read.command(), read.dma()),
        (Command::DmaRead, (0xfe00_0014, 4, &[][..]))
    );
    b.answer(&read, Some(&[5, 6, 7, 8]));
    assert_eq!(a.read_reply(4), [5, 6, 7, 8]);
    a.send_read(WINDOW1, 0x18, 4);
    let read = b.receive();
    b.answer(&read, None);
    assert_eq!(a.read_reply(4), [0xff; 4]);
    // A failed write is reported although no reply was asked for; it must not end up anywhere.
    b.answer(&write, None);
    b.flush();
    let counters = &ntb.end(Side::Primary).counters.windows[1];
    assert_eq!(
        (
            counters.device_reads.get(),
            counters.device_writes.get(),
            counters.failed.get()
        ),
        (2, 1, 1)
    );
    assert_eq!(ntb.end(Side::Secondary).counters.write_errors.get(), 1);
}

#[test]
fn a_read_that_is_not_answered_is_given_up_and_its_late_answer_dropped() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0xfe00_0000, 0x10_0000);
    let clock = std::thread::spawn({
        let ntb = ntb.clone();
        move || {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(100));
                ntb.tick();
            }
        }
    });
    let start = Instant::now();
    a.send_read(WINDOW1, 0, 4);
    let read = b.receive();
    // Meanwhile the host is served as ever.
    assert_eq!(a.read_reply(4), [0xff; 4]);
    assert!((900..4000).contains(&start.elapsed().as_millis()));
    b.answer(&read, Some(&[1; 4]));
    b.flush();
    clock.join().unwrap();
    assert!(a.is_quiet(Duration::from_millis(50)));
    assert_eq!(ntb.end(Side::Primary).counters.windows[1].timeouts.get(), 1);
    assert_eq!(ntb.end(Side::Secondary).counters.late_replies.get(), 1);
}

#[test]
fn a_wrong_answer_is_no_answer() {
    let (_ntb, mut a, mut b) = linked();
    b.open_window(0xfe00_0000, 0x10_0000);
    for data in [&[][..], &[1; 3], &[1; 5], &[1; 4000]] {
        a.send_read(WINDOW1, 0, 4);
        let read = b.receive();
        b.answer(&read, Some(data));
        assert_eq!(a.read_reply(4), [0xff; 4]);
    }
}

#[test]
fn a_host_that_does_not_read_holds_up_nobody() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0xfe00_0000, 0x10_0000);
    let start = Instant::now();
    // 40 MB of messages, many times what a socket takes.
    for i in 0..40u32 {
        for _ in 0..256 {
            a.post(WINDOW1, 0, &[i as u8; 4096]);
        }
        a.flush();
    }
    assert!(start.elapsed() < Duration::from_secs(20));
    let counters = &ntb.end(Side::Primary).counters.windows[1];
    assert_eq!(
        (counters.device_writes.get(), counters.dropped.get()),
        (40 * 256, 0)
    );
    for i in 0..40 * 256u32 {
        let write = b.receive();
        assert_eq!(
            write.dma(),
            (0xfe00_0000, 4096, &[(i / 256) as u8; 4096][..])
        );
    }
}

#[test]
fn accesses_outside_of_a_region_are_refused() {
    let (_ntb, mut a, _b) = linked();
    for (region, offset, count) in [
        (0, 0x4000, 1),
        (0, 0x3ffd, 4),
        (0, u64::MAX, 4),
        (1, 1 << 20, 1),
        (3, 0, 1),
        (7, 4096, 4),
        (9, 0, 4),
    ] {
        let reply = a.ask(
            Command::RegionRead,
            access(region, offset, count).as_bytes(),
            &[],
        );
        assert_eq!(reply.header.error.get(), 22, "{region} {offset:#x}");
        let write = [
            access(region, offset, count).as_bytes(),
            &[0; 4][..count as usize],
        ]
        .concat();
        let reply = a.ask(Command::RegionWrite, &write, &[]);
        assert_eq!(reply.header.error.get(), 22);
    }
}
