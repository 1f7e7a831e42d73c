// SPDX-License-Identifier: GPL-2.0

//! From slots to messages and back.

use core::{
    fmt,
    mem::size_of, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

use crate::{
    message::{
        Empty,
        Event,
        Head,
        Header,
        Kind,
        Malformed,
        NoSpaceDetail,
        ParsedHeader,
        Request,
        HEADER_SIZE,
        MAX_BODY,
        NO_TAG, //
    },
    ring::{
        Tag,
        SLOT_SIZE, //
    },
    status::Status,
    window::NoSpace, //
};

/// Splits a slot, copied out of shared memory, into its header and its body.
///
/// # Errors
///
/// A [`Malformed`] other than `Body` and `Kind`. An unknown kind is no error, see [`ParsedHeader::kind`].
pub fn parse(slot: &[u8]) -> Result<(ParsedHeader, &[u8]), Malformed> {
    let short = Malformed::Short(slot.len());
    let (header, rest) = Header::read_from_prefix(slot).map_err(|_| short)?;

    let length = header.length.get();
    let body = rest
        .get(..usize::from(length))
        .ok_or(Malformed::Length(length))?;
    let tag = match header.tag.get() {
        NO_TAG => None,
        tag => Some(Tag::try_from(tag).map_err(Malformed::Tag)?),
    };
    let status = Status::try_from(header.status.get()).map_err(Malformed::Status)?;

    let header = ParsedHeader {
        sequence: header.sequence.get(),
        kind: Kind::try_from(header.kind.get()),
        tag,
        status,
        epoch: header.epoch.get(),
        length,
    };
    Ok((header, body))
}

/// Copies a body out of its bytes, which have to be exactly as many as the type has.
///
/// # Errors
///
/// [`Malformed::Body`].
pub fn body<T: FromBytes>(bytes: &[u8]) -> Result<T, Malformed> {
    T::read_from_bytes(bytes).map_err(|_| Malformed::Body {
        expected: size_of::<T>(),
        found: bytes.len(),
    })
}

/// Why a request brought no reply body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer refused or failed.
    Status(Status),
    /// The peer refused for want of space, and said how much.
    NoSpace(NoSpace),
    /// The reply is not one.
    Malformed(Malformed),
}

impl Failure {
    /// The positive Linux errno for a local caller.
    pub const fn errno(self) -> i32 {
        match self {
            Failure::Status(status) => status.errno(),
            Failure::NoSpace(_) => Status::NoSpace.errno(),
            Failure::Malformed(_) => Status::Malformed.errno(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status) => status.fmt(f),
            Failure::NoSpace(no_space) => no_space.fmt(f),
            Failure::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

/// The reply body of request `R` out of a parsed reply.
///
/// # Errors
///
/// [`Failure`], also when the reply is of another kind than the request.
pub fn reply<R: Request>(header: &ParsedHeader, bytes: &[u8]) -> Result<R::Reply, Failure> {
    if header.kind != Ok(R::KIND) {
        return Err(Failure::Malformed(Malformed::Kind {
            expected: R::KIND,
            found: header.kind.map_or_else(|raw| raw, u16::from),
        }));
    }
    match header.status {
        Status::Ok => body(bytes).map_err(Failure::Malformed),
        // The detail may be missing; it is only for the log.
        Status::NoSpace => Err(body::<NoSpaceDetail>(bytes)
            .map_or(Failure::Status(Status::NoSpace), |detail| {
                Failure::NoSpace(detail.into())
            })),
        status => Err(Failure::Status(status)),
    }
}

/// Writes a message to the start of `slot`; returns how many bytes of it are to be sent.
///
/// A body that cannot fit a slot does not compile.
pub fn encode<T>(slot: &mut [u8; SLOT_SIZE], head: &Head, body: &T) -> usize
where
    T: IntoBytes + Immutable,
{
    encode_as(u16::from(head.kind), slot, head, body)
}

/// As [`encode`], with the number of the kind apart: a refusal may name one that we do not know.
fn encode_as<T>(kind: u16, slot: &mut [u8; SLOT_SIZE], head: &Head, body: &T) -> usize
where
    T: IntoBytes + Immutable,
{
    const { assert!(size_of::<T>() <= MAX_BODY) };

    let header = Header {
        sequence: head.sequence.into(),
        kind: kind.into(),
        // CAST: at most `MAX_BODY`, see above.
        length: (size_of::<T>() as u16).into(),
        tag: head.tag.map_or(NO_TAG, u16::from).into(),
        status: u16::from(head.status).into(),
        epoch: head.epoch.into(),
    };
    let (front, rest) = slot.split_at_mut(HEADER_SIZE);
    // Neither copy can fail: `front` has the size of a header, and `rest` is as long as the longest body.
    let _ = header.write_to(front);
    let _ = body.write_to_prefix(rest);
    HEADER_SIZE + size_of::<T>()
}

/// Writes a request whose reply is to go to `tag`; returns how many bytes are to be sent.
pub fn encode_request<R: Request>(
    slot: &mut [u8; SLOT_SIZE],
    sequence: u32,
    tag: Tag,
    epoch: u32,
    request: &R,
) -> usize {
    let head = Head {
        sequence,
        kind: R::KIND,
        tag: Some(tag),
        status: Status::Ok,
        epoch,
    };
    encode(slot, &head, request)
}

/// Writes an event; returns how many bytes are to be sent.
pub fn encode_event<E: Event>(
    slot: &mut [u8; SLOT_SIZE],
    sequence: u32,
    epoch: u32,
    event: &E,
) -> usize {
    let head = Head {
        sequence,
        kind: E::KIND,
        tag: None,
        status: Status::Ok,
        epoch,
    };
    encode(slot, &head, event)
}

/// Writes the successful reply to the request `R` that had the header `request`; returns how many bytes are to be
/// sent.
pub fn encode_reply<R: Request>(
    slot: &mut [u8; SLOT_SIZE],
    request: &ParsedHeader,
    reply: &R::Reply,
) -> usize {
    let head = Head {
        sequence: request.sequence,
        kind: R::KIND,
        tag: request.tag,
        status: Status::Ok,
        epoch: request.epoch,
    };
    encode(slot, &head, reply)
}

/// Writes the refusal of the request that had the header `request`; returns how many bytes are to be sent.
///
/// Works for requests of a kind we do not know, which the reply names as the request did.
pub fn encode_error(slot: &mut [u8; SLOT_SIZE], request: &ParsedHeader, status: Status) -> usize {
    refuse(slot, request, status, &Empty {})
}

/// Writes a refusal for want of space, with the numbers; returns how many bytes are to be sent.
pub fn encode_no_space(
    slot: &mut [u8; SLOT_SIZE],
    request: &ParsedHeader,
    no_space: NoSpace,
) -> usize {
    refuse(
        slot,
        request,
        Status::NoSpace,
        &NoSpaceDetail::from(no_space),
    )
}

fn refuse<T>(
    slot: &mut [u8; SLOT_SIZE],
    request: &ParsedHeader,
    status: Status,
    detail: &T,
) -> usize
where
    T: IntoBytes + Immutable,
{
    let head = Head {
        sequence: request.sequence,
        // Stands in for a kind we do not know.
        kind: request.kind.unwrap_or(Kind::Version),
        tag: request.tag,
        status,
        epoch: request.epoch,
    };
    let kind = request.kind.map_or_else(|raw| raw, u16::from);
    encode_as(kind, slot, &head, detail)
}
