// SPDX-License-Identifier: GPL-2.0

//! Sessions that last for a moment, and scratchpads that change all the time.

use std::time::{Duration, Instant};

use anyhow::Result;
use devlend_protocol::SCRATCHPADS;

use super::{told, Lender};
use crate::ntb::HANDSHAKE;
use crate::session::Session;

pub struct Sessions {
    rng: fastrand::Rng,
    begun: Option<Instant>,
    ended: u64,
}

impl Sessions {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            begun: None,
            ended: 0,
        }
    }
}

impl Lender for Sessions {
    fn tick(&mut self, session: &mut Session) -> Result<()> {
        // Until the test has the device.
        if !told("flap") {
            return Ok(());
        }
        let length = Duration::from_millis(self.rng.u64(0..200));
        if self.begun.get_or_insert_with(Instant::now).elapsed() < length {
            return Ok(());
        }
        self.begun = None;
        self.ended += 1;
        println!("ended {}", self.ended);
        if self.rng.bool() {
            for _ in 0..20 {
                let index = self.rng.usize(0..SCRATCHPADS);
                session.ntb.set_scratchpad(index, self.rng.u32(..))?;
                session.ntb.ring(HANDSHAKE)?;
            }
        }
        session.restart()
    }
}
