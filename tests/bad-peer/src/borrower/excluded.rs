// SPDX-License-Identifier: GPL-2.0

//! A device that is lent over another link, for that one only.

use anyhow::{ensure, Result};
use devlend_protocol::{Address, Clunk, ConfigRead, ConfigWrite, Image, Open, Reset, Status};

use super::list;
use crate::session::Session;

pub fn run(session: &mut Session, device: Address, epoch: u32) -> Result<()> {
    session.connect()?;
    let wanted = u32::from(device);
    let mut index = 0;
    while let Ok(offer) = session.ask(0, &list(index))? {
        ensure!(offer.address.get() != wanted, "it is listed");
        index += 1;
    }
    let open = Open {
        address: wanted.into(),
    };
    session.refused(0, &open, Status::NotFound, "a device for others")?;
    let write = ConfigWrite {
        offset: 4.into(),
        size: 2,
        value: 0.into(),
    };
    let read = ConfigRead {
        offset: 0.into(),
        size: 4,
    };
    let stale = Status::Stale;
    session.refused(epoch, &Image::default(), stale, "an image of theirs")?;
    session.refused(epoch, &read, stale, "a read of theirs")?;
    session.refused(epoch, &write, stale, "a write of theirs")?;
    session.refused(epoch, &Reset {}, stale, "a reset of theirs")?;
    session.refused(epoch, &Clunk {}, stale, "a return of theirs")
}
