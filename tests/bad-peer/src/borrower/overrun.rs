// SPDX-License-Identifier: GPL-2.0

//! Ring indices that cannot be.

use anyhow::{Context, Result};
use devlend_protocol::{PRODUCER, REQUEST_SLOTS};

use super::is_served;
use crate::ntb::REQUEST;
use crate::session::Session;

/// How often each is done: more than a log may hold.
const TIMES: u32 = 20;

pub fn run(session: &mut Session) -> Result<()> {
    let mut count = 0;
    for step in [
        REQUEST_SLOTS + 1,
        1000,
        1 << 31,
        u32::MAX,
        0_u32.wrapping_sub(REQUEST_SLOTS),
    ] {
        for _ in 0..TIMES {
            session.connect()?;
            is_served(session)?;
            count_more(session, step).with_context(|| format!("counted {step:#x} more"))?;
            session.restart()?;
            count += 1;
        }
    }
    println!("overruns {count}");
    session.connect()
}

/// Counts so many requests that were not sent, which ends the session.
pub fn count_more(session: &mut Session, number: u32) -> Result<()> {
    let produced = session.produced()?;
    session.put_word(PRODUCER, produced.wrapping_add(number))?;
    session.ntb.ring(REQUEST)?;
    session.wait_over()
}
