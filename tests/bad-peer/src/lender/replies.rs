// SPDX-License-Identifier: GPL-2.0

//! Replies that are none.

use std::time::{Duration, Instant};

use anyhow::Result;
use devlend_protocol::{reply_slot, OfferChanged, ParsedHeader, REPLY_SLOTS, SLOT_SIZE};

use super::{address, device, Lender};
use crate::session::{tag, Session, Slot};

/// Between two events.
const EVERY: Duration = Duration::from_millis(50);
/// What comes so much later comes too late.
const LATE: Duration = Duration::from_millis(5500);

pub struct Replies {
    rng: fastrand::Rng,
    told: Instant,
    /// Replies that are still to be sent.
    late: Vec<(Instant, ParsedHeader, Slot, usize)>,
}

impl Replies {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            told: Instant::now(),
            late: Vec::new(),
        }
    }
}

impl Lender for Replies {
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        let offers: Vec<_> = (0..4)
            .map(|number| device::offer(address(number), number.into(), 0xff_0000))
            .collect();
        let image = device::image(session, 0, 0xff_0000);
        let length = device::answer(session, header, body, out, &offers, &image)?;
        let rng = &mut self.rng;
        match rng.u8(0..24) {
            // Length, kind, tag, status, epoch.
            0 => device::put(out, 6, &rng.u16(..).to_le_bytes()),
            1 => device::put(out, 4, &rng.u16(..).to_le_bytes()),
            2 => device::put(out, 8, &rng.u16(..).to_le_bytes()),
            3 => device::put(out, 10, &rng.u16(..).to_le_bytes()),
            4 => device::put(out, 12, &rng.u32(..).to_le_bytes()),
            // To everybody.
            5 => {
                for number in 0..REPLY_SLOTS {
                    session.put(reply_slot(tag(number.into())), &out[..])?;
                }
            }
            // To somebody else, with numbers that may be somebody's.
            6 => {
                for number in 0..REPLY_SLOTS {
                    let mut other = *out;
                    let sequence = header.sequence.wrapping_add(rng.u32(0..8));
                    device::put(&mut other, 0, &sequence.to_le_bytes());
                    session.put(reply_slot(tag(number.into())), &other)?;
                }
            }
            // The number first, and then something else.
            7 => {
                if let Some(tag) = header.tag {
                    session.put_word(reply_slot(tag), header.sequence)?;
                }
                let mut noise = [0; SLOT_SIZE];
                rng.fill(&mut noise);
                return session.reply(header, &noise, length).map(|()| 0);
            }
            8 => {
                self.late.push((Instant::now(), *header, *out, length));
                return Ok(0);
            }
            9 => session.reply(header, out, length)?,
            _ => {}
        }
        Ok(length)
    }

    fn tick(&mut self, session: &mut Session) -> Result<()> {
        if let Some(due) = self.late.iter().position(|(at, ..)| at.elapsed() > LATE) {
            let (_, header, slot, length) = self.late.remove(due);
            session.reply(&header, &slot, length)?;
        }
        if self.told.elapsed() > EVERY {
            self.told = Instant::now();
            session.notify(0, &OfferChanged::default())?;
        }
        Ok(())
    }
}
