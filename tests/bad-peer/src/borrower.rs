// SPDX-License-Identifier: GPL-2.0

//! A borrower that no lender deserves.

mod changeling;
mod early;
mod excluded;
mod flood;
mod full;
mod handshake;
mod lease;
mod noise;
mod old;
mod overrun;
mod requests;
mod stranger;

use std::time::Duration;

use anyhow::{ensure, Result};
use clap::ValueEnum;
use devlend_protocol::{Address, List, Status};

use crate::session::Session;

/// What lasts, lasts until this is there.
const STOP: &str = "/tmp/bad-peer-stop";
/// Or for so long, if whoever should end it does not.
const LONGEST: Duration = Duration::from_secs(300);

/// What it does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scenario {
    /// Is up without a key, and then says that it has one.
    Changeling,
    /// Asks before it has told its version.
    Early,
    /// Wants what is lent to another, for that one only.
    Excluded,
    /// Sends what no request is: wrong epochs, lengths, tags, kinds, versions and windows.
    Requests,
    /// Misuses a lease that it has.
    Lease,
    /// Sends without a pause, and rings without a reason.
    Flood,
    /// Has a device, and takes nothing off its ring until it has lost it.
    Full,
    /// Nor then.
    Deaf,
    /// Counts what it has not sent.
    Overrun,
    /// Announces what cannot be, what is over, and something else each time.
    Handshake,
    /// Writes random bytes everywhere in the control block.
    Noise,
    /// Has a device until it is told to stop.
    Old,
    /// Has not the key.
    Stranger,
}

/// Does it, and then shows that the lender still works for it.
pub fn run(
    scenario: Scenario,
    session: &mut Session,
    device: Address,
    epoch: u32,
    rng: fastrand::Rng,
) -> Result<()> {
    match scenario {
        Scenario::Changeling => changeling::run(session)?,
        Scenario::Early => early::run(session, device)?,
        Scenario::Excluded => excluded::run(session, device, epoch)?,
        Scenario::Requests => requests::run(session, rng)?,
        Scenario::Lease => lease::run(session, device, rng)?,
        Scenario::Flood => flood::run(session, device, rng)?,
        Scenario::Full => full::run(session, device)?,
        Scenario::Deaf => full::for_ever(session, device)?,
        Scenario::Overrun => overrun::run(session)?,
        Scenario::Handshake => handshake::run(session, rng)?,
        Scenario::Noise => noise::run(session, rng)?,
        Scenario::Old => old::run(session, device)?,
        // Nobody serves it.
        Scenario::Stranger => return stranger::run(session, device, rng),
    }
    is_served(session)
}

/// Checks that an honest request is answered as it should be.
fn is_served(session: &mut Session) -> Result<()> {
    ensure!(session.is_alive()?, "the session is over");
    let mut index = 0;
    while let Ok(_offer) = session.ask(0, &list(index))? {
        index += 1;
    }
    session.refused(0, &list(index), Status::NotFound, "the end of the list")
}

fn list(index: u32) -> List {
    List {
        index: index.into(),
    }
}
