// SPDX-License-Identifier: GPL-2.0

//! Reads of each other's devices.

use crate::client::{linked, WINDOW1};
use ntb_emu::side::Side;

#[test]
fn the_second_of_two_crossing_reads_fails_at_once() {
    let (ntb, mut a, mut b) = linked();
    a.open_window(0xfd00_0000, 0x1000);
    b.open_window(0xfe00_0000, 0x1000);
    a.send_read(WINDOW1, 0, 4);
    let question = b.receive();
    // Now b cannot wait for a, which waits for b.
    assert_eq!(b.read(WINDOW1, 0, 4), [0xff; 4]);
    assert_eq!(
        ntb.end(Side::Secondary).counters.windows[1].deadlocks.get(),
        1
    );
    b.answer(&question, Some(&[1, 2, 3, 4]));
    assert_eq!(a.read_reply(4), [1, 2, 3, 4]);
    // As soon as the answer is there, the other way is free.
    for _ in 0..100 {
        b.send_read(WINDOW1, 0, 4);
        let question = a.receive();
        a.answer(&question, Some(&[4, 3, 2, 1]));
        assert_eq!(b.read_reply(4), [4, 3, 2, 1]);
        a.send_read(WINDOW1, 0, 4);
        let question = b.receive();
        b.answer(&question, Some(&[1, 2, 3, 4]));
        assert_eq!(a.read_reply(4), [1, 2, 3, 4]);
    }
}

#[test]
fn reads_of_ram_never_wait() {
    let (_ntb, mut a, mut b) = linked();
    a.open_window(0, 0x1000);
    b.open_window(0xfe00_0000, 0x1000);
    a.send_read(WINDOW1, 0, 4);
    let question = b.receive();
    assert_eq!(b.read(WINDOW1, 0, 4), [0; 4]);
    b.answer(&question, Some(&[1; 4]));
    assert_eq!(a.read_reply(4), [1; 4]);
}
