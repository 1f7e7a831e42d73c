// SPDX-License-Identifier: GPL-2.0

//! The 16 bytes in front of every body.

use core::{
    fmt,
    mem::size_of, //
};
use zerocopy::byteorder::little_endian::{
    U16,
    U32, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use crate::{
    message::Kind,
    ring::{
        Tag,
        SLOT_SIZE, //
    },
    status::Status, //
};

/// Size of the header, bytes.
pub const HEADER_SIZE: usize = 16;

/// Size of the largest body, bytes.
pub const MAX_BODY: usize = SLOT_SIZE - HEADER_SIZE;

/// In the tag field: no reply is wanted.
pub const NO_TAG: u16 = 0xffff;

const _: () = assert!(size_of::<Header>() == HEADER_SIZE);
// No reply slot has this number.
const _: () = assert!(crate::ring::REPLY_SLOTS < NO_TAG);

/// The header as it lies in a slot.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Request: counts up from request to request. Reply: that of the request, stored last, which publishes the slot.
    pub sequence: U32,
    /// A [`Kind`].
    pub kind: U16,
    /// Length of the body behind this header, bytes.
    pub length: U16,
    /// A [`Tag`], or [`NO_TAG`].
    pub tag: U16,
    /// A [`Status`]; 0 in a request.
    pub status: U16,
    /// Epoch of the lease the message belongs to, 0 if to none.
    pub epoch: U32,
}

/// What the sender of a message decides about its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// See [`Header::sequence`].
    pub sequence: u32,
    /// See [`Header::kind`].
    pub kind: Kind,
    /// The reply slot; `None` in an event.
    pub tag: Option<Tag>,
    /// [`Status::Ok`] in a request.
    pub status: Status,
    /// See [`Header::epoch`].
    pub epoch: u32,
}

/// A header found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedHeader {
    /// See [`Header::sequence`].
    pub sequence: u32,
    /// The kind, or the number of one we do not know: answered with [`Status::Unsupported`], not an error of the channel.
    pub kind: Result<Kind, u16>,
    /// The reply slot; `None` in an event.
    pub tag: Option<Tag>,
    /// Outcome, in a reply.
    pub status: Status,
    /// See [`Header::epoch`].
    pub epoch: u32,
    /// Length of the body, bytes; at most [`MAX_BODY`].
    pub length: u16,
}

/// Why a message was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The slot has no room for a header.
    Short(usize),
    /// The body is said to be longer than the slot.
    Length(u16),
    /// The tag names no reply slot.
    Tag(u16),
    /// The status means nothing to us.
    Status(u16),
    /// The body has not the size its kind demands.
    Body {
        /// Size demanded, bytes.
        expected: usize,
        /// Size found, bytes.
        found: usize,
    },
    /// The reply is to another kind of request.
    Kind {
        /// Kind of the request.
        expected: Kind,
        /// Kind found in the reply.
        found: u16,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short(size) => write!(f, "slot of {size} bytes has no room for a header"),
            Self::Length(length) => write!(f, "body of {length} bytes does not fit the slot"),
            Self::Tag(tag) => write!(f, "tag {tag:#x} names no reply slot"),
            Self::Status(status) => write!(f, "status {status} is unknown"),
            Self::Body { expected, found } => {
                write!(f, "body has {found} bytes instead of {expected}")
            }
            Self::Kind { expected, found } => {
                write!(
                    f,
                    "reply is of kind {found} instead of {}",
                    u16::from(expected)
                )
            }
        }
    }
}
