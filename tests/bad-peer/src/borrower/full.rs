// SPDX-License-Identifier: GPL-2.0

//! What it is told it does not take off its ring, until its device was taken: then it must hear of that, or lose its session.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use devlend_protocol::{Address, ConfigRead, Failure, Open, Status};

use super::LONGEST;
use crate::session::{refuse, Session, LIMIT};

/// Each is at least one event: the device changes hands.
const OPENS: u32 = 64;
/// Between two looks whether the device is still its own.
const LOOK: Duration = Duration::from_millis(50);

/// Listens again when it has lost the device.
pub fn run(session: &mut Session, device: Address) -> Result<()> {
    until_it_is_taken(session, device)?;
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

/// Never listens.
pub fn for_ever(session: &mut Session, device: Address) -> Result<()> {
    until_it_is_taken(session, device)?;
    let start = Instant::now();
    while session.their_words()?.is_none() || session.is_alive()? {
        ensure!(start.elapsed() < LIMIT, "the session goes on");
        session.pump(&mut refuse)?;
    }
    session.deaf = false;
    session.restart()?;
    session.connect()
}

/// Opens the device until its ring is full, and waits until the lease is over.
fn until_it_is_taken(session: &mut Session, device: Address) -> Result<()> {
    session.connect()?;
    session.deaf = true;
    let open = Open {
        address: u32::from(device).into(),
    };
    let (mut opens, mut epoch) = (0, 0);
    while !session.is_full()? {
        ensure!(opens < OPENS, "the ring is not full");
        let lease = session.ask(0, &open)?;
        let lease = lease.map_err(|failure| anyhow::anyhow!("the open: {failure}"))?;
        epoch = lease.epoch.get();
        opens += 1;
    }
    println!("full after {opens} leases");
    let status = ConfigRead {
        offset: 4.into(),
        size: 4,
    };
    let start = Instant::now();
    loop {
        ensure!(start.elapsed() < LONGEST, "nobody takes the device");
        match session.ask(epoch, &status)? {
            Err(Failure::Status(Status::Stale)) => return Ok(()),
            Err(failure) => bail!("the status: {failure}"),
            Ok(_) => std::thread::sleep(LOOK),
        }
    }
}
