// SPDX-License-Identifier: GPL-2.0

//! What it is told it does not take off its ring; when it does at last, it must find that its device was taken.

use std::path::Path;
use std::time::Instant;

use anyhow::{bail, ensure, Result};
use devlend_protocol::{Address, Open};

use super::{LONGEST, STOP};
use crate::session::{refuse, Session, LIMIT};

/// Each is at least one event: the device changes hands.
const OPENS: u32 = 64;

pub fn run(session: &mut Session, device: Address) -> Result<()> {
    session.connect()?;
    session.deaf = true;
    let open = Open {
        address: u32::from(device).into(),
    };
    let mut opens = 0;
    while !session.is_full()? {
        ensure!(opens < OPENS, "the ring is not full");
        let lease = session.ask(0, &open)?;
        lease.map_err(|failure| anyhow::anyhow!("the open: {failure}"))?;
        opens += 1;
    }
    println!("full after {opens} leases");
    let start = Instant::now();
    while start.elapsed() < LONGEST && !Path::new(STOP).exists() {
        session.pump(&mut refuse)?;
    }
    ensure!(session.is_alive()?, "the session is over");
    session.deaf = false;
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        session.pump(&mut refuse)?;
        if session.heard.iter().any(|kind| kind.contains("Revoked")) {
            println!("told in the end");
            return Ok(());
        }
    }
    bail!("it heard {:?} only", session.heard)
}
