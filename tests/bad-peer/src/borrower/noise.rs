// SPDX-License-Identifier: GPL-2.0

//! Random bytes in all slots, some of them with headers that nearly are.

use anyhow::{Context, Result};
use devlend_protocol::{
    reply_slot, CONSUMED, HEADER_SIZE, KEEPALIVE, REPLY_SLOTS, REQUEST_SLOTS, SLOT_SIZE,
};

use crate::session::{tag, Session};

const ROUNDS: u32 = 60;

pub fn run(session: &mut Session, mut rng: fastrand::Rng) -> Result<()> {
    session.connect()?;
    for round in 0..ROUNDS {
        for number in 0..REPLY_SLOTS {
            session.put(reply_slot(tag(number.into())), &bytes(&mut rng))?;
        }
        // Of no use to the host, and of no harm.
        session.put_word(CONSUMED, rng.u32(..))?;
        session.put_word(KEEPALIVE, rng.u32(..) | 1 << 31)?;
        for _ in 0..REQUEST_SLOTS {
            let mut slot = bytes(&mut rng);
            if rng.bool() {
                header(&mut slot, &mut rng);
            }
            session.send(&slot, rng.bool())?;
        }
        session.ntb.ring(crate::ntb::REQUEST)?;
        if round % 10 == 9 {
            // What the noise has done to the host's own requests is the end of the session, not of the host.
            session.restart()?;
            session
                .connect()
                .with_context(|| format!("after round {round}"))?;
        }
    }
    Ok(())
}

fn bytes(rng: &mut fastrand::Rng) -> [u8; SLOT_SIZE] {
    let mut slot = [0; SLOT_SIZE];
    rng.fill(&mut slot);
    slot
}

/// A header that parses, most of the time. A version would be one that the host remembers, an open a lease: they are not
/// noise.
fn header(slot: &mut [u8; SLOT_SIZE], rng: &mut fastrand::Rng) {
    let kind = rng.u16(4..40);
    let length = match rng.u8(0..4) {
        0 => rng.u16(0..=(SLOT_SIZE - HEADER_SIZE) as u16),
        _ => [2, 3, 7, 0, 0, 4][usize::from(kind.min(9) - 4)],
    };
    let tag = rng.u16(0..20);
    let mut at = 4;
    for half in [kind, length, tag, rng.u16(0..12)] {
        slot[at..at + 2].copy_from_slice(&half.to_le_bytes());
        at += 2;
    }
}
