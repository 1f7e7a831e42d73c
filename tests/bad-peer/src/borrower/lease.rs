// SPDX-License-Identifier: GPL-2.0

//! A lease, and all that one must not do with it.

use anyhow::{ensure, Context, Result};
use devlend_protocol::{
    Address, Clunk, ConfigRead, ConfigWrite, Image, Open, OpenReply, Reset, Status, IMAGE_CHUNK,
};

use crate::session::Session;

/// Registers of the first 64 bytes in which a borrower may write bits of the device's: Command and Status.
const COMMAND: u16 = 4;

pub fn run(session: &mut Session, device: Address, rng: fastrand::Rng) -> Result<()> {
    session.connect()?;
    let first = open(session, device)?;
    // Who opens what it has has lost what it had.
    let second = open(session, device)?;
    ensure!(first.epoch != second.epoch, "two leases have one epoch");
    stale(session, first.epoch.get()).context("the first lease")?;
    let epoch = second.epoch.get();
    images(session, epoch, second.config_size.get()).context("image")?;
    space(session, epoch, rng).context("configuration space")?;
    for _ in 0..3 {
        granted(session, epoch, &Reset {})?;
    }
    granted(session, epoch, &Clunk {})?;
    stale(session, epoch).context("after the return")?;
    // While the device is being reset it is nobody's; then it is there again.
    for _ in 0..3 {
        let lease = open(session, device)?;
        granted(session, lease.epoch.get(), &Clunk {})?;
        stale(session, lease.epoch.get())?;
    }
    Ok(())
}

fn granted<R: devlend_protocol::Request>(
    session: &mut Session,
    epoch: u32,
    request: &R,
) -> Result<R::Reply> {
    session
        .ask(epoch, request)?
        .map_err(|failure| anyhow::anyhow!("{:?}: {failure}", R::KIND))
}

fn open(session: &mut Session, device: Address) -> Result<OpenReply> {
    let open = Open {
        address: u32::from(device).into(),
    };
    granted(session, 0, &open)
}

/// Nothing is done for a lease that is over.
fn stale(session: &mut Session, epoch: u32) -> Result<()> {
    let wanted = Status::Stale;
    let read = ConfigRead {
        offset: COMMAND.into(),
        size: 4,
    };
    let write = ConfigWrite {
        offset: COMMAND.into(),
        size: 2,
        value: 6.into(),
    };
    session.refused(epoch, &Image::default(), wanted, "an image")?;
    session.refused(epoch, &read, wanted, "a read")?;
    session.refused(epoch, &write, wanted, "a write")?;
    session.refused(epoch, &Reset {}, wanted, "a reset")?;
    session.refused(epoch, &Clunk {}, wanted, "a return")
}

fn images(session: &mut Session, epoch: u32, size: u16) -> Result<()> {
    let end = size - IMAGE_CHUNK as u16;
    let image = |offset: u16| Image {
        offset: offset.into(),
    };
    for offset in [0, end] {
        granted(session, epoch, &image(offset))?;
    }
    for offset in [end + 1, size, size.wrapping_add(1), 0x8000, u16::MAX] {
        let what = format!("an image from {offset:#x}");
        session.refused(epoch, &image(offset), Status::Malformed, &what)?;
    }
    Ok(())
}

/// Every access to the header that is not the borrower's business, and random ones everywhere.
fn space(session: &mut Session, epoch: u32, mut rng: fastrand::Rng) -> Result<()> {
    let denied = Status::Denied;
    let mut accesses: Vec<(u16, u8)> = Vec::new();
    for offset in (0..0x40).filter(|offset| !(COMMAND..COMMAND + 4).contains(offset)) {
        accesses.extend([1, 2, 4].map(|size| (offset, size)));
    }
    for offset in [
        0,
        COMMAND,
        COMMAND + 1,
        0x40,
        0xfe,
        0xff,
        0x100,
        0xffe,
        0xfff,
        0x1000,
        u16::MAX,
    ] {
        accesses.extend([0, 3, 5, 8, 0x80, 0xff].map(|size| (offset, size)));
    }
    // Misaligned where aligned ones are admitted, and beyond the first 256 bytes.
    accesses.extend([(5, 2), (5, 4), (6, 4), (7, 2), (7, 4)]);
    for offset in [0x100, 0x104, 0x200, 0xffc, 0x1000, 0x8000, 0xfffc] {
        accesses.extend([1, 2, 4].map(|size| (offset, size)));
    }
    for (offset, size) in accesses {
        let what = format!("{size} bytes at {offset:#x}");
        let read = ConfigRead {
            offset: offset.into(),
            size,
        };
        let write = ConfigWrite {
            offset: offset.into(),
            size,
            value: rng.u32(..).into(),
        };
        session.refused(epoch, &read, denied, &what)?;
        session.refused(epoch, &write, denied, &what)?;
    }
    // All the bits of Command: those that are not the borrower's are left out.
    let command = ConfigWrite {
        offset: COMMAND.into(),
        size: 2,
        value: 0xffff.into(),
    };
    granted(session, epoch, &command)?;
    for _ in 0..300 {
        let (offset, size) = (rng.u16(0..0x1100), 1 << rng.u8(0..3));
        let answer = if rng.bool() {
            let read = ConfigRead {
                offset: offset.into(),
                size,
            };
            session.ask(epoch, &read)?.map(drop)
        } else {
            let write = ConfigWrite {
                offset: offset.into(),
                size,
                value: rng.u32(..).into(),
            };
            session.ask(epoch, &write)?.map(drop)
        };
        let is_fine = match answer {
            Ok(()) => true,
            Err(devlend_protocol::Failure::Status(status)) => status == denied,
            Err(_) => false,
        };
        ensure!(is_fine, "{size} bytes at {offset:#x}: {answer:?}");
    }
    Ok(())
}
