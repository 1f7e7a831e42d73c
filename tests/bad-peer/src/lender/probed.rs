// SPDX-License-Identifier: GPL-2.0

//! An NVMe with noise for registers, another noise each moment, so that its driver gets now this far, now that.

use anyhow::Result;
use devlend_protocol::{Kind, ParsedHeader};

use super::{address, device, Lender};
use crate::session::{Session, Slot};

const CLASS: u32 = 0x01_0802;

pub struct Probed {
    rng: fastrand::Rng,
    opened: u32,
}

impl Probed {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self { rng, opened: 0 }
    }
}

impl Lender for Probed {
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        let offers = [device::offer(address(0), 0, CLASS)];
        let mut image = device::image(session, 0, CLASS);
        self.opened += u32::from(header.kind == Ok(Kind::Open));
        if self.opened % 2 == 0 {
            // The kernel would write its interrupts far behind the registers.
            device::put(&mut image, 0x54, &0x4000_0000_u32.to_le_bytes());
        }
        device::answer(session, header, body, out, &offers, &image)
    }

    fn tick(&mut self, session: &mut Session) -> Result<()> {
        let mut noise = [0; device::BAR as usize];
        self.rng.fill(&mut noise);
        let at = device::registers(session) - session.own.physical;
        session.own.write(at as usize, &noise)
    }
}
