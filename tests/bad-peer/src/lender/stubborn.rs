// SPDX-License-Identifier: GPL-2.0

//! A device of which nothing can be had, and which cannot be given back.

use anyhow::Result;
use devlend_protocol::{encode_error, Kind, ParsedHeader, Status};

use super::{honestly, Lender};
use crate::session::{Session, Slot};

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
        honestly(session, header, body, out)
    }
}
