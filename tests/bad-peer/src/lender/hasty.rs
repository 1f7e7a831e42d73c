// SPDX-License-Identifier: GPL-2.0

//! A lender that wants its device back, or takes it, in the moment in which it has lent it: before the borrower has all that it needs
//! to use it.

use anyhow::Result;
use devlend_protocol::{Kind, Open, ParsedHeader, RevokeReason, Revoked, TakeBack};

use super::{device, honestly, Lender};
use crate::session::{Session, Slot};

#[derive(Default)]
pub struct Hasty {
    /// How often it was lent.
    lent: u32,
    /// The device it has just lent, by its address, which is the epoch, too.
    just: Option<u32>,
}

impl Lender for Hasty {
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        if header.kind == Ok(Kind::Open) {
            let asked: Open = device::read(body)?;
            self.just = Some(asked.address.get());
        }
        honestly(session, header, body, out)
    }

    /// The open is answered, what the borrower asks next is not.
    fn tick(&mut self, session: &mut Session) -> Result<()> {
        let Some(address) = self.just.take() else {
            return Ok(());
        };
        self.lent += 1;
        if self.lent == 1 {
            let event = TakeBack {
                address: address.into(),
                seconds: 300.into(),
            };
            session.notify(address, &event)
        } else {
            let event = Revoked {
                address: address.into(),
                reason: RevokeReason::Reclaimed.into(),
            };
            session.notify(address, &event)
        }
    }
}
