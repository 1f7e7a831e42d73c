// SPDX-License-Identifier: GPL-2.0

//! More than anybody asked for.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use devlend_protocol::{
    encode_request, Address, Clunk, Interrupt, Open, Request, Revoked, TakeBack, Unmask, SLOT_SIZE,
};

use super::{list, LONGEST, STOP};
use crate::ntb::{HANDSHAKE, REQUEST};
use crate::session::{tag, Session};

/// Doorbells between two looks at the ring.
const RINGS: usize = 16;

pub fn run(session: &mut Session, device: Address, mut rng: fastrand::Rng) -> Result<()> {
    session.connect()?;
    println!("flooding");
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < LONGEST && (sent % 64 != 0 || !Path::new(STOP).exists()) {
        // The ring is kept full: each time there is room it is filled.
        session.wait_room()?;
        match rng.u8(0..10) {
            0 => session.notify(rng.u32(..), &Revoked::default())?,
            1 => session.notify(rng.u32(..), &TakeBack::default())?,
            2 => request(session, rng.u32(..), &Clunk {})?,
            8 => session.notify(rng.u32(..), &Unmask {})?,
            9 => session.notify(rng.u32(..), &Interrupt::default())?,
            3 => {
                let open = Open {
                    address: (u32::from(device) ^ 1 << 31).into(),
                };
                request(session, 0, &open)?;
            }
            _ => request(session, 0, &list(rng.u32(0..3)))?,
        }
        sent += 1;
        if rng.u8(..) == 0 {
            for _ in 0..RINGS {
                session.ntb.ring(REQUEST)?;
                session.ntb.ring(HANDSHAKE)?;
                session.ntb.ring(REQUEST | HANDSHAKE)?;
            }
        }
    }
    println!("sent {sent}");
    Ok(())
}

/// Sends a request whose reply nobody waits for.
fn request<R: Request>(session: &mut Session, epoch: u32, request: &R) -> Result<()> {
    let mut slot = [0; SLOT_SIZE];
    let sequence = session.next_sequence();
    let length = encode_request(&mut slot, sequence, tag(sequence), epoch, request);
    session.send(&slot[..length], true)
}
