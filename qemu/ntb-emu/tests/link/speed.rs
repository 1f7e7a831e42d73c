// SPDX-License-Identifier: GPL-2.0

//! What a write through a window costs. A measurement, to be compared with that of another version, in turns:
//! `cargo test --release -p ntb-emu --test link -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use crate::client::{access, linked, RAM, WINDOW1};
use ntb_emu::side::Side;

const ROUNDS: u32 = 100;
const WRITES: u32 = 20_000;

/// Nanoseconds a write takes in the best round: what disturbs makes it longer, never shorter.
fn best(mut round: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed()
    });
    let best = times.min().unwrap_or(Duration::ZERO);
    best.as_secs_f64() * 1e9 / f64::from(WRITES)
}

#[test]
#[ignore = "a measurement"]
fn writes_through_a_window() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let data = [7; 8];
    let call = best(|| {
        for i in 0..WRITES {
            let access = access(WINDOW1, u64::from(i % 1024) * 8, 8);
            ntb.region_write(Side::Primary, access, &data).unwrap();
        }
    });
    let message = best(|| {
        for i in 0..WRITES {
            a.post(WINDOW1, u64::from(i % 1024) * 8, &data);
        }
        a.flush();
    });
    println!("speed: {call:.2} ns a call, {message:.1} ns a message");
}
