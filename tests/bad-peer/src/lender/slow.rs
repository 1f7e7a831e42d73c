// SPDX-License-Identifier: GPL-2.0

//! A device whose configuration space has an answer to everything, just in time.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use devlend_protocol::{Kind, ParsedHeader};

use super::{honestly, Lender};
use crate::session::{Session, Slot};

/// The host waits for two seconds; the rest is for a slow machine.
const JUST_IN_TIME: Duration = Duration::from_secs(1);

pub struct Slow;

impl Lender for Slow {
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        if let Ok(Kind::ConfigRead | Kind::ConfigWrite) = header.kind {
            sleep(JUST_IN_TIME);
        }
        honestly(session, header, body, out)
    }
}
