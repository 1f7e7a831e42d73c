// SPDX-License-Identifier: GPL-2.0

//! A device of which nothing can be had, and which cannot be given back.

use anyhow::Result;
use devlend_protocol::{encode_error, Kind, ParsedHeader, Status};

use super::{address, device, Lender};
use crate::session::{Session, Slot};

/// No driver knows it.
const CLASS: u32 = 0xff_0000;

pub struct Stubborn;

impl Lender for Stubborn {
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        if let Ok(Kind::ConfigRead | Kind::ConfigWrite | Kind::Clunk) = header.kind {
            return Ok(encode_error(out, header, Status::Io));
        }
        let offers = [device::offer(address(0), 0, CLASS)];
        let image = device::image(session, 0, CLASS);
        device::answer(session, header, body, out, &offers, &image)
    }
}
