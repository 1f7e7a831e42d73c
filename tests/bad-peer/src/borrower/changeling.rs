// SPDX-License-Identifier: GPL-2.0

//! Says in session after session, when that is up, that it has a key.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::session::{refuse, Dialect, Session};

const SESSIONS: u32 = 20;
/// For the host to see the session as up.
const MOMENT: Duration = Duration::from_millis(20);

pub fn run(session: &mut Session) -> Result<()> {
    for _ in 0..SESSIONS {
        session.connect()?;
        let start = Instant::now();
        while start.elapsed() < MOMENT {
            session.pump(&mut refuse)?;
        }
        session.dialect = Dialect::today(true);
        // The answer may come too late for the session.
        let _ = session.ask(0, &session.version());
        session.dialect = Dialect::today(false);
        session.restart()?;
    }
    session.connect()
}
