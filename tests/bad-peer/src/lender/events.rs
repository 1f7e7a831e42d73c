// SPDX-License-Identifier: GPL-2.0

//! Events about what is not there; and the same event more than once about what is.

use anyhow::Result;
use devlend_protocol::{
    DeviceError, Interrupt, OfferChanged, Revoked, TakeBack, Unmask, HEADER_SIZE, NO_TAG,
};

use super::{address, device, told, Lender};
use crate::session::Session;

pub struct Events {
    rng: fastrand::Rng,
    sent: u64,
    step: Step,
}

/// What the device that is lent is told to be.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Lent,
    Wanted,
    Revoked,
}

impl Events {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            sent: 0,
            step: Step::Lent,
        }
    }

    /// Bytes that are no event that the host knows.
    fn none(&mut self, session: &mut Session) -> Result<()> {
        let rng = &mut self.rng;
        let kind = [0, 2, 8, 31, 32, 33, 34, 35, 36, 37, 38, u16::MAX][rng.usize(0..12)];
        let length = rng.u16(9..64);
        let mut slot = vec![0; HEADER_SIZE + usize::from(length)];
        rng.fill(&mut slot);
        for (at, half) in [(4, kind), (6, length), (8, NO_TAG), (10, 0)] {
            device::put(&mut slot, at, &half.to_le_bytes());
        }
        session.send(&slot, true)
    }
}

impl Lender for Events {
    fn tick(&mut self, session: &mut Session) -> Result<()> {
        if !session.has_room()? {
            return Ok(());
        }
        self.sent += 1;
        if self.sent % 64 == 1 {
            let step = match (told("revoked"), told("wanted")) {
                (true, _) => Step::Revoked,
                (_, true) => Step::Wanted,
                _ => Step::Lent,
            };
            if step != self.step {
                println!("sent {}", self.sent);
            }
            self.step = step;
        }
        // The epoch of a lease is its address, see `device::answer`.
        let here = u32::from(address(0));
        match self.step {
            Step::Wanted => {
                let seconds = self.rng.u32(..).into();
                let event = TakeBack {
                    address: here.into(),
                    seconds,
                };
                return session.notify(here, &event);
            }
            Step::Revoked => {
                let reason = self.rng.u8(..);
                let event = Revoked {
                    address: here.into(),
                    reason,
                };
                return session.notify(here, &event);
            }
            Step::Lent => {}
        }
        let rng = &mut self.rng;
        // One of the two is wrong.
        let epoch = rng.u32(..) | 1;
        let (at, epoch) = match rng.u8(0..3) {
            0 => (here, epoch),
            1 => (rng.u32(..) | 1, here),
            _ => (rng.u32(..), epoch),
        };
        match rng.u8(0..9) {
            0 => {
                let event = Revoked {
                    address: at.into(),
                    reason: rng.u8(..),
                };
                session.notify(epoch, &event)
            }
            1 => {
                let event = TakeBack {
                    address: at.into(),
                    seconds: rng.u32(..).into(),
                };
                session.notify(epoch, &event)
            }
            2 => session.notify(epoch, &OfferChanged { address: at.into() }),
            3 => session.notify(epoch, &DeviceError { address: at.into() }),
            4 => session.notify(epoch, &Interrupt { address: at.into() }),
            5 => session.notify(epoch, &Unmask {}),
            // Nobody waits for an interrupt of it: it has no pin.
            6 => session.notify(
                here,
                &Interrupt {
                    address: here.into(),
                },
            ),
            // Of this there may be any number.
            7 => session.notify(
                here,
                &DeviceError {
                    address: here.into(),
                },
            ),
            _ => self.none(session),
        }
    }
}
