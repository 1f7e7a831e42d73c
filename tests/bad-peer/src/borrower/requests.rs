// SPDX-License-Identifier: GPL-2.0

//! Messages that are none, and requests that make no sense.

use anyhow::{ensure, Context, Result};
use devlend_protocol::{
    Clunk, ConfigRead, ConfigWrite, Image, Kind, Open, Reset, Status, Version, Windows,
    HEADER_SIZE, MAX_BODY, NO_TAG, REPLY_SLOTS, SLOT_SIZE,
};

use super::{early, is_served, list};
use crate::session::{parsed, tag, Session};

/// The fields of a header, as they go into a slot.
#[derive(Clone, Copy)]
struct Raw {
    kind: u16,
    length: u16,
    tag: Option<u16>,
    status: u16,
    epoch: u32,
}

impl Raw {
    fn of(kind: u16, length: u16) -> Self {
        Self {
            kind,
            length,
            tag: None,
            status: 0,
            epoch: 0,
        }
    }

    /// Sends it with a body of zeros and returns its number.
    fn send(self, session: &mut Session) -> Result<u32> {
        let sequence = session.next_sequence();
        let tag = self.tag.unwrap_or(tag(sequence).into());
        let mut slot = Vec::with_capacity(SLOT_SIZE);
        slot.extend(sequence.to_le_bytes());
        for half in [self.kind, self.length, tag, self.status] {
            slot.extend(half.to_le_bytes());
        }
        slot.extend(self.epoch.to_le_bytes());
        slot.resize(HEADER_SIZE + usize::from(self.length).min(MAX_BODY), 0);
        session.send(&slot, true)?;
        Ok(sequence)
    }

    /// Sends it; it must be refused so.
    fn refused(self, session: &mut Session, wanted: Status) -> Result<()> {
        let sequence = self.send(session)?;
        let slot = session.wait_answer(tag(sequence), sequence)?;
        let header = parsed(&slot).map_err(|error| anyhow::anyhow!("{error}"))?;
        let kind = header.kind.map_or_else(|raw| raw, u16::from);
        ensure!(
            header.status == wanted && kind == self.kind && header.length == 0,
            "kind {} with {} bytes: answered with '{}', kind {kind}, {} bytes; not with '{wanted}'",
            self.kind,
            self.length,
            header.status,
            header.length
        );
        Ok(())
    }

    /// Sends it; no slot may have a reply to it when a later request is answered.
    fn ignored(self, session: &mut Session) -> Result<()> {
        let sequence = self.send(session)?;
        is_served(session)?;
        for number in 0..REPLY_SLOTS {
            let slot = tag(number.into());
            ensure!(
                session.answer_to(slot, sequence)?.is_none(),
                "kind {}, tag {:?}, {} bytes: answered",
                self.kind,
                self.tag,
                self.length
            );
        }
        Ok(())
    }
}

/// All kinds that are requests, and the lengths of their bodies.
const REQUESTS: [(Kind, u16); 8] = [
    (Kind::Version, 40),
    (Kind::List, 4),
    (Kind::Open, 4),
    (Kind::Image, 2),
    (Kind::ConfigRead, 3),
    (Kind::ConfigWrite, 7),
    (Kind::Reset, 0),
    (Kind::Clunk, 0),
];
const EVENTS: [Kind; 6] = [
    Kind::OfferChanged,
    Kind::Revoked,
    Kind::TakeBack,
    Kind::DeviceError,
    Kind::Interrupt,
    Kind::Unmask,
];

pub fn run(session: &mut Session, rng: fastrand::Rng) -> Result<()> {
    session.connect()?;
    lengths(session).context("lengths")?;
    kinds(session, rng.clone()).context("kinds")?;
    headers(session).context("headers")?;
    epochs(session, rng).context("epochs")?;
    versions(session).context("versions")?;
    for address in [0, 0xffff, u32::MAX, 0x0000_0018 | 7] {
        let open = Open {
            address: address.into(),
        };
        session.refused(0, &open, Status::NotFound, "what is not lent")?;
    }
    for index in [1 << 16, i32::MAX as u32, u32::MAX] {
        session.refused(0, &list(index), Status::NotFound, "far down the list")?;
    }
    Ok(())
}

/// Each request with each length that it has not. A length that needs a lease to be looked at is stale before it is wrong.
fn lengths(session: &mut Session) -> Result<()> {
    for (kind, right) in REQUESTS {
        let needs_lease = !matches!(kind, Kind::Version | Kind::List | Kind::Open);
        for length in [0, 1, right.wrapping_sub(1), right + 1, 64, MAX_BODY as u16] {
            if length == right || usize::from(length) > MAX_BODY {
                continue;
            }
            // Those with a body of their own are parsed first; which comes first is not the peer's business.
            let raw = Raw::of(kind.into(), length);
            let answer = if needs_lease && !parses_first(kind) {
                Status::Stale
            } else {
                Status::Malformed
            };
            raw.refused(session, answer)?;
        }
    }
    Ok(())
}

/// Whether a lender looks at the body before the epoch.
fn parses_first(kind: Kind) -> bool {
    matches!(kind, Kind::Reset | Kind::Clunk)
}

fn kinds(session: &mut Session, mut rng: fastrand::Rng) -> Result<()> {
    let known = |kind: u16| Kind::try_from(kind).is_ok();
    let mut unknown: Vec<u16> = vec![0, 9, 31, 63, 255, 256, 0x7fff, 0x8000, u16::MAX];
    unknown.extend((0..64).map(|_| rng.u16(..)));
    for kind in unknown.into_iter().filter(|kind| !known(*kind)) {
        Raw::of(kind, rng.u16(0..=MAX_BODY as u16)).refused(session, Status::Unsupported)?;
    }
    for kind in EVENTS {
        for length in [0, 4, 5, 8] {
            // An event is not a request, and with a length that is wrong it is no event.
            Raw::of(kind.into(), length).refused(session, Status::Unsupported)?;
            Raw {
                tag: Some(NO_TAG),
                epoch: rng.u32(..),
                ..Raw::of(kind.into(), length)
            }
            .ignored(session)?;
        }
    }
    // A request that wants no answer is not obeyed either.
    for (kind, length) in REQUESTS {
        Raw {
            tag: Some(NO_TAG),
            ..Raw::of(kind.into(), length)
        }
        .ignored(session)?;
    }
    Ok(())
}

/// Headers that are not believed.
fn headers(session: &mut Session) -> Result<()> {
    let list = Raw::of(Kind::List.into(), 4);
    for tag in [REPLY_SLOTS, 255, 256, 0x7fff, 0x8000, NO_TAG - 1] {
        Raw {
            tag: Some(tag),
            ..list
        }
        .ignored(session)?;
    }
    for length in [MAX_BODY as u16 + 1, SLOT_SIZE as u16, 0x8000, u16::MAX] {
        Raw { length, ..list }.ignored(session)?;
    }
    for status in [11, 255, 0x8000, u16::MAX] {
        Raw { status, ..list }.ignored(session)?;
    }
    Ok(())
}

/// Leases that there are not.
fn epochs(session: &mut Session, mut rng: fastrand::Rng) -> Result<()> {
    let mut epochs = vec![0, 1, i32::MAX as u32, u32::MAX];
    epochs.extend((0..16).map(|_| rng.u32(..)));
    for epoch in epochs {
        let stale = Status::Stale;
        session.refused(epoch, &Image::default(), stale, "an image")?;
        session.refused(epoch, &ConfigRead::default(), stale, "a read")?;
        session.refused(epoch, &ConfigWrite::default(), stale, "a write")?;
        session.refused(epoch, &Reset {}, stale, "a reset")?;
        session.refused(epoch, &Clunk {}, stale, "a return")?;
    }
    Ok(())
}

/// Versions and windows that are lies, in a session that has agreed already.
fn versions(session: &mut Session) -> Result<()> {
    // More of them than a log may hold.
    for _ in 0..100 {
        for version in early::wrong(session) {
            session.refused(0, &version, Status::Version, "another version")?;
        }
    }
    let (good, size) = (session.version(), session.window_size()?);
    let with = |windows: Windows| Version { windows, ..good };
    let mut lies = Vec::new();
    for index in [3, 16, 127, 128, u8::MAX] {
        lies.push(with(Windows {
            mmio_window: index,
            ..good.windows
        }));
        lies.push(with(Windows {
            msi_window: index,
            ..good.windows
        }));
    }
    for offset in [
        size,
        size - 1,
        size - 0xf_ffff,
        1 << 63,
        u64::MAX - 0xf_ffff,
        u64::MAX,
    ] {
        lies.push(with(Windows {
            msi_offset: offset.into(),
            ..good.windows
        }));
    }
    for version in lies {
        session.refused(0, &version, Status::Malformed, "windows that are not")?;
    }
    // It may be told again, and what is told about memory is for the log.
    for (needed, available) in [(u64::MAX, 0), (0, u64::MAX)] {
        let version = with(Windows {
            dma_needed: needed.into(),
            dma_available: available.into(),
            ..good.windows
        });
        let told = session.ask(0, &version)?;
        told.map_err(|failure| anyhow::anyhow!("odd sizes of memory: {failure}"))?;
    }
    Ok(())
}
