// SPDX-License-Identifier: GPL-2.0

//! What a write through a window costs. A measurement, to be compared with that of another version:
//! `cargo test --release -p ntb-emu --test link -- --ignored --nocapture speed`.

use std::time::Instant;

use crate::client::{access, linked, RAM, WINDOW1};
use ntb_emu::side::Side;

#[test]
#[ignore = "a measurement"]
fn writes_through_a_window() {
    const WRITES: u32 = 1_000_000;
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let data = [7; 8];
    let start = Instant::now();
    for i in 0..WRITES {
        let access = access(WINDOW1, u64::from(i % 1024) * 8, 8);
        ntb.region_write(Side::Primary, access, &data).unwrap();
    }
    let called = start.elapsed();
    let start = Instant::now();
    for i in 0..WRITES / 5 {
        a.post(WINDOW1, u64::from(i % 1024) * 8, &data);
    }
    a.flush();
    let sent = start.elapsed();
    println!(
        "speed: {:.1} ns a call, {:.1} ns a message",
        called.as_nanos() as f64 / f64::from(WRITES),
        sent.as_nanos() as f64 / f64::from(WRITES / 5)
    );
}
