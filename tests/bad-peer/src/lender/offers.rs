// SPDX-License-Identifier: GPL-2.0

//! Offers without sense and without end.

use std::time::{Duration, Instant};

use anyhow::Result;
use devlend_protocol::{encode_reply, BarInfo, Kind, List, Offer, OfferChanged, ParsedHeader};

use super::{device, Lender};
use crate::session::{refuse, Session, Slot};

/// Between two events.
const EVERY: Duration = Duration::from_millis(20);

pub struct Offers {
    rng: fastrand::Rng,
    /// Whether all is new in this list.
    is_fresh: bool,
    told: Instant,
}

impl Offers {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            is_fresh: true,
            told: Instant::now(),
        }
    }

    fn offer(&mut self, index: u32) -> Offer {
        let rng = &mut self.rng;
        // Some of them twice, some in the same place as another device, some where no device can be.
        let address = match rng.u8(0..4) {
            0 => rng.u32(0..8) << 3,
            1 if self.is_fresh => rng.u32(..),
            2 => u32::MAX - rng.u32(0..4),
            _ => 1 << 16 | index,
        };
        let mut bars = [BarInfo::default(); 6];
        for bar in &mut bars {
            *bar = BarInfo {
                size: rng.u64(..).into(),
                flags: rng.u32(..).into(),
            };
        }
        Offer {
            address: address.into(),
            vendor: rng.u16(..).into(),
            device: rng.u16(0..2).into(),
            class: rng.u32(..).into(),
            revision: rng.u8(..),
            state: rng.u8(..),
            isolation: rng.u8(..),
            reserved: rng.u8(..),
            bars,
        }
    }
}

impl Lender for Offers {
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        if header.kind != Ok(Kind::List) {
            return refuse(session, header, body, out);
        }
        let asked: List = device::read(body)?;
        if asked.index.get() == 0 {
            self.is_fresh = self.rng.bool();
        }
        let offer = self.offer(asked.index.get());
        Ok(encode_reply::<List>(out, header, &offer))
    }

    fn tick(&mut self, session: &mut Session) -> Result<()> {
        if self.told.elapsed() > EVERY {
            self.told = Instant::now();
            let event = OfferChanged {
                address: self.rng.u32(..).into(),
            };
            session.notify(self.rng.u32(..), &event)?;
        }
        Ok(())
    }
}
