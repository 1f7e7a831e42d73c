// SPDX-License-Identifier: GPL-2.0

//! What crosses the bridge, and the decisions that need nothing but numbers.
//!
//! The wire format of the channel between two hosts (scratchpad announcement, ring layout, messages), the lender's
//! lease state machine, the window plan and the parsing of what people write into sysfs. Nothing here touches
//! memory, a device or the kernel: the crate is built by cargo, where it is tested, and by Kbuild, where it runs.
//!
//! Everything that comes from the peer is hostile. A caller copies a slot out of shared memory once, gives the copy
//! to [`parse`], and gets back values that are bounded, or an error; no input makes this crate panic.

#![cfg_attr(not(any(CONFIG_RUST, test)), no_std)]
#![forbid(unsafe_code)]

pub mod address;
pub mod attach;
pub mod audience;
pub mod borrowing;
pub mod command;
pub mod credit;
pub mod dma;
pub mod duty;
pub mod grant;
pub mod handshake;
pub mod keepalive;
pub mod lease;
pub mod message;
pub mod retry;
pub mod ring;
pub mod scratchpad;
pub mod status;
pub mod version;
pub mod window;

pub use self::{
    address::{
        Address,
        AddressError, //
    },
    attach::{
        AttachRefusal,
        Attachment,
        Nonce,
        Proof,
        Step,
        Terms, //
    },
    audience::{
        Audience,
        AudienceError,
        LINKS, //
    },
    borrowing::{
        Borrowing,
        BorrowingState,
        Which, //
    },
    command::{
        parse_address,
        parse_description,
        parse_number,
        BorrowCommand,
        CommandError,
        LendCommand,
        LendWords,
        ReclaimCommand,
        DEADLINE,
        DEADLINE_MAX,
        DESCRIPTION_MAX, //
    },
    dma::{
        dma_plan,
        BounceBuffers,
        DmaMemory,
        DmaMode,
        DmaPlan,
        DmaRefusal,
        LOW_END, //
    },
    grant::{
        Extent,
        Extents,
        GrantError, //
    },
    handshake::{
        Actions,
        Handshake, //
    },
    keepalive::{
        Beat,
        Keepalive,
        Round,
        Settings,
        KEEPALIVE, //
    },
    lease::{
        Epoch,
        Holder,
        Lease, //
    },
    message::{
        body,
        encode,
        encode_error,
        encode_event,
        encode_no_space,
        encode_reply,
        encode_request,
        parse,
        reply,
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
        Failure,
        Head,
        Header,
        Image,
        ImageReply,
        Interrupt,
        Isolation,
        Kind,
        List,
        Malformed,
        NoSpaceDetail,
        Offer,
        OfferChanged,
        OfferState,
        Open,
        OpenBar,
        OpenReply,
        ParsedHeader,
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
        HEADER_SIZE,
        IMAGE_CHUNK,
        MAX_BODY,
        NO_TAG, //
    },
    retry::Retry,
    ring::{
        reply_slot,
        request_slot,
        Consumer,
        Overrun,
        Producer,
        Tag,
        Tags,
        CONSUMED,
        CONTROL_SIZE,
        PRODUCER,
        REPLIES,
        REPLY_SLOTS,
        REQUESTS,
        REQUEST_SLOTS,
        SLOT_SIZE, //
    },
    scratchpad::{
        Announcement,
        AnnouncementError,
        BUSY,
        MAGIC,
        SCRATCHPADS, //
    },
    status::Status,
    version::{
        negotiate,
        shared,
        Features,
        VERSION_MAX,
        VERSION_MIN, //
    },
    window::{
        mmio_span,
        plan,
        widen,
        NoSpace,
        Plan,
        PlanError,
        Span,
        Window,
        MSI_RANGE, //
    },
};
