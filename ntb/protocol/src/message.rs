// SPDX-License-Identifier: GPL-2.0

//! Messages: what lies in a request or reply slot.
//!
//! A message is a [`Header`] and a body whose layout the header's kind decides. [`Request`] pairs each request body
//! with the body of its reply, [`Event`] marks the bodies that want none. Numbers are little-endian on the wire.

mod body;
mod header;
mod kind;
mod slot;

pub use self::{
    body::{
        Attach,
        AttachReply,
        BarFlags,
        BarInfo,
        Clunk,
        ConfigRead,
        ConfigValue,
        ConfigWrite,
        DeviceError,
        Empty,
        Event,
        Image,
        ImageReply,
        Interrupt,
        Isolation,
        List,
        NoSpaceDetail,
        Offer,
        OfferChanged,
        OfferState,
        Open,
        OpenBar,
        OpenReply,
        Prove,
        Request,
        Reset,
        RevokeReason,
        Revoked,
        TakeBack,
        Unmask,
        Version,
        VersionReply,
        Windows,
        IMAGE_CHUNK, //
    },
    header::{
        Head,
        Header,
        Malformed,
        ParsedHeader,
        HEADER_SIZE,
        MAX_BODY,
        NO_TAG, //
    },
    kind::Kind,
    slot::{
        body,
        encode,
        encode_error,
        encode_event,
        encode_no_space,
        encode_reply,
        encode_request,
        parse,
        reply,
        Failure, //
    },
};

#[cfg(test)]
mod tests;
