// SPDX-License-Identifier: GPL-2.0

//! A window that has gone.

use super::is_clear;
use crate::client::{linked, RAM, WINDOW1};
use ntb_emu::fault::{Fault, FaultError};
use ntb_emu::model::amd::peer_offset;
use ntb_emu::side::Side;

fn all_ones(host: Option<&str>, window: usize, off: bool) -> Fault {
    Fault::AllOnes {
        host: host.map(Into::into),
        window,
        off,
    }
}

#[test]
fn it_reads_as_ones_and_swallows_writes() {
    let (ntb, mut a, mut b) = linked();
    a.open_window(0, RAM);
    b.open_window(0, RAM);
    // Window 0 (BAR 1), as well.
    b.write(0, peer_offset(0x430), &0x1000u32.to_le_bytes());
    b.write(0, peer_offset(0x414), &0x1000u32.to_le_bytes());
    a.write(WINDOW1, 0, &[1; 4]);
    ntb.inject(&all_ones(Some("a"), 1, false)).unwrap();
    a.write(WINDOW1, 0, &[2; 4]);
    assert_eq!(a.read(WINDOW1, 0, 12), [0xff; 12]);
    assert_eq!(b.ram(0, 4), [1; 4]);
    // Another window of that host, and that window of the other host.
    a.write(1, 0, &[3; 4]);
    assert_eq!(b.ram(0x1000, 4), [3; 4]);
    b.write(WINDOW1, 0, &[4; 4]);
    assert_eq!(a.ram(0, 4), [4; 4]);
    let counters = &ntb.end(Side::Primary).counters.windows[1];
    assert_eq!(
        (
            counters.all_ones.get(),
            counters.swallowed.get(),
            counters.blocked.get()
        ),
        (1, 1, 0)
    );
    ntb.inject(&all_ones(None, 1, true)).unwrap();
    assert_eq!(a.read(WINDOW1, 0, 4), [1; 4]);
    assert!(is_clear(&ntb));
}

#[test]
fn what_cannot_be_had_is_refused() {
    let (ntb, _a, _b) = linked();
    for window in [3, 64, usize::MAX] {
        assert_eq!(
            ntb.inject(&all_ones(None, window, false)),
            Err(FaultError::UnknownWindow { window, last: 2 })
        );
    }
    ntb.end(Side::Secondary).counters.windows[2]
        .direct
        .set(true);
    for host in [None, Some("b")] {
        assert_eq!(
            ntb.inject(&all_ones(host, 2, false)),
            Err(FaultError::Direct {
                host: "b".into(),
                window: 2
            })
        );
    }
    assert!(is_clear(&ntb), "nothing has changed");
    assert_eq!(ntb.beyond_reach(), [("b", 2)]);
    ntb.inject(&all_ones(Some("a"), 2, false)).unwrap();
}
