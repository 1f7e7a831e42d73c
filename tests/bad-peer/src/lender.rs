// SPDX-License-Identifier: GPL-2.0

//! A lender that no borrower deserves.

mod device;
mod events;
mod hasty;
mod leases;
mod offers;
mod probed;
mod replies;
mod sessions;
mod slow;
mod stubborn;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use devlend_protocol::{Address, OfferChanged, ParsedHeader};

use crate::session::{Session, Slot};

/// What it does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scenario {
    /// Lends one device, which no driver knows, and does nothing wrong: for what is only another version.
    Honest,
    /// Offers nonsense without end, and says each moment that it has changed.
    Offers,
    /// Grants leases that are lies, one for each device that it offers.
    Leases,
    /// Answers wrongly, late, twice, elsewhere, or not at all.
    Replies,
    /// Sends events without a pause, about what is not there and, when it is told to, about what is.
    Events,
    /// Takes its device back when it has just lent it.
    Hasty,
    /// Refuses everything about a device that it has lent, its return too.
    Stubborn,
    /// Ends each session after a moment, and scribbles between two.
    Sessions,
    /// Answers each configuration access, but takes its time for it.
    Slow,
    /// Offers a device that a driver knows, with noise for registers.
    Probed,
}

struct Honest;

impl Lender for Honest {}

/// One of them.
trait Lender {
    /// Answers a request: the reply goes to `out`; its length, 0 for none. As an honest lender of one device, if nothing
    /// else is said.
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        honestly(session, header, body, out)
    }

    /// Called again and again.
    fn tick(&mut self, _session: &mut Session) -> Result<()> {
        Ok(())
    }
}

/// Answers as an honest lender of one device, which no driver knows.
fn honestly(
    session: &mut Session,
    header: &ParsedHeader,
    body: &[u8],
    out: &mut Slot,
) -> Result<usize> {
    let offers = [device::offer(address(0), 0, 0xff_0000)];
    let image = device::image(session, 0, 0xff_0000);
    device::answer(session, header, body, out, &offers, &image)
}

/// Between two looks at the scratchpads: the host may have ended the session.
const LOOK: Duration = Duration::from_millis(50);

/// Serves for ever.
pub fn run(scenario: Scenario, session: &mut Session, rng: fastrand::Rng) -> Result<()> {
    let mut lender: Box<dyn Lender> = match scenario {
        Scenario::Honest => Box::new(Honest),
        Scenario::Offers => Box::new(offers::Offers::new(rng)),
        Scenario::Leases => Box::new(leases::Leases::new(rng)),
        Scenario::Replies => Box::new(replies::Replies::new(rng)),
        Scenario::Events => Box::new(events::Events::new(rng)),
        Scenario::Hasty => Box::new(hasty::Hasty::default()),
        Scenario::Stubborn => Box::new(stubborn::Stubborn),
        Scenario::Sessions => Box::new(sessions::Sessions::new(rng)),
        Scenario::Slow => Box::new(slow::Slow),
        Scenario::Probed => Box::new(probed::Probed::new(rng)),
    };
    loop {
        session.connect()?;
        // It has listed what there was while we were not ready.
        session.notify(0, &OfferChanged::default())?;
        let mut looked = Instant::now();
        while session.is_open() {
            let served = session
                .pump(&mut |session, header, body, out| lender.answer(session, header, body, out));
            match served.and_then(|()| lender.tick(session)) {
                Err(error) if session.is_open() => return Err(error),
                _ => {}
            }
            if looked.elapsed() > LOOK {
                session.look()?;
                looked = Instant::now();
            }
        }
    }
}

/// The address of the device with that number, where no host has one.
fn address(number: u8) -> Address {
    Address::from(1 << 16 | u32::from(number) << 3)
}

/// Whether the test has said that it goes on, by the name of the step.
fn told(step: &str) -> bool {
    Path::new("/tmp").join(format!("bad-peer-{step}")).exists()
}
