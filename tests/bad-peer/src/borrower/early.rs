// SPDX-License-Identifier: GPL-2.0

//! Requests before the versions are agreed.

use anyhow::Result;
use devlend_protocol::{
    Address, Clunk, ConfigRead, ConfigWrite, Image, Open, Reset, Status, Version, SLOT_SIZE,
};

use super::list;
use crate::session::Session;

pub fn run(session: &mut Session, device: Address) -> Result<()> {
    session.open()?;
    all(session, device)?;
    // A version that is refused is none.
    for version in wrong(session) {
        session.refused(0, &version, Status::Version, "a version that is none")?;
        all(session, device)?;
    }
    session.connect()
}

/// Asks for everything there is.
pub fn all(session: &mut Session, device: Address) -> Result<()> {
    let early = Status::Unsupported;
    let open = Open {
        address: u32::from(device).into(),
    };
    session.refused(0, &list(0), early, "an early list")?;
    session.refused(0, &open, early, "an early open")?;
    session.refused(1, &Image::default(), early, "an early image")?;
    session.refused(1, &ConfigRead::default(), early, "an early read")?;
    session.refused(1, &ConfigWrite::default(), early, "an early write")?;
    session.refused(1, &Reset {}, early, "an early reset")?;
    session.refused(1, &Clunk {}, early, "an early return")
}

/// Versions that have nothing in common with the host's.
pub fn wrong(session: &Session) -> Vec<Version> {
    let good = session.version();
    let range = |min: u16, max: u16| Version {
        min: min.into(),
        max: max.into(),
        ..good
    };
    let slots = |size: u32| Version {
        slot_size: size.into(),
        ..good
    };
    vec![
        range(0, 0),
        range(2, 1),
        range(2, u16::MAX),
        range(u16::MAX, 0),
        slots(0),
        slots(SLOT_SIZE as u32 * 2),
        slots(u32::MAX),
    ]
}
