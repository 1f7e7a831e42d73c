// SPDX-License-Identifier: GPL-2.0

//! The bodies of all messages, as they lie in a slot.
//!
//! Fields named `reserved` are sent as 0 and not looked at. What is more than a number is read through a method that
//! converts it, so that no unchecked value gets further.

use bitflags::bitflags;
use core::mem::size_of;
use zerocopy::{
    byteorder::little_endian::{
        U16,
        U32,
        U64, //
    },
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use crate::{
    message::{
        Kind,
        MAX_BODY, //
    },
    window::{
        NoSpace,
        Plan, //
    },
};

/// A request body, and with it the body of the reply.
pub trait Request: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    /// Kind in the header of request and reply.
    const KIND: Kind;

    /// Body of the reply when the status is [`Status::Ok`](crate::Status::Ok).
    type Reply: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned;
}

/// The body of a message that is not answered.
pub trait Event: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    /// Kind in the header.
    const KIND: Kind;
}

/// Defines a body and checks its size.
macro_rules! body {
    ($size:literal, $(#[$attribute:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        $(#[$attribute])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
        )]
        #[repr(C)]
        pub struct $name { $($fields)* }

        const _: () = assert!(size_of::<$name>() == $size && size_of::<$name>() <= MAX_BODY);
    };
}

bitflags! {
    /// What kind of memory a base address register decodes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BarFlags: u32 {
        /// The register is 64 bits wide, with its upper half in the next one.
        const MEM64 = 1 << 0;
        /// Reads have no side effects and writes may be merged.
        const PREFETCH = 1 << 1;
    }
}

body! { 0,
    /// No body.
    pub struct Empty {}
}

body! { 28,
    /// What a host has set up for its peer.
    pub struct Windows {
        /// Index of the receiver's window that will show the sender's device registers.
        pub mmio_window: u8,
        /// Index of the receiver's window in which the sender's message-interrupt range lies.
        pub msi_window: u8,
        /// 0.
        pub reserved: [u8; 2],
        /// Where in that window the sender's 0xfee00000 appears.
        pub msi_offset: U64,
        /// Bytes the memory window must show for the sender to borrow without copying: the end of its RAM.
        pub dma_needed: U64,
        /// Bytes the memory window can show. Less than `dma_needed`: the sender's RAM does not fit.
        pub dma_available: U64,
    }
}

impl From<&Plan> for Windows {
    fn from(plan: &Plan) -> Self {
        Self {
            mmio_window: plan.mmio_window,
            msi_window: plan.msi_window,
            reserved: [0; 2],
            msi_offset: plan.msi_offset.into(),
            dma_needed: plan.dma_needed.into(),
            dma_available: plan.dma_available.into(),
        }
    }
}

body! { 40,
    /// The first request on a link, by both sides: versions, and what the sender has set up for its peer.
    pub struct Version {
        /// Lowest version the sender speaks.
        pub min: U16,
        /// Highest version the sender speaks.
        pub max: U16,
        /// [`SLOT_SIZE`](crate::SLOT_SIZE) of the sender.
        pub slot_size: U32,
        /// [`Features`](crate::Features) the sender has.
        pub features: U32,
        /// What the sender has set up.
        pub windows: Windows,
    }
}

body! { 40,
    /// The version agreed on, and what the answering host has set up for its peer.
    pub struct VersionReply {
        /// The version both sides now speak.
        pub version: U16,
        /// 0.
        pub reserved0: U16,
        /// [`SLOT_SIZE`](crate::SLOT_SIZE) of the sender.
        pub slot_size: U32,
        /// The [`Features`](crate::Features) both sides have.
        pub features: U32,
        /// What the sender has set up.
        pub windows: Windows,
    }
}

impl Request for Version {
    const KIND: Kind = Kind::Version;
    type Reply = VersionReply;
}

body! { 32,
    /// Asks for a proof that the other host has the key; see [`attach`](crate::attach).
    pub struct Attach {
        /// Random bytes, used once.
        pub nonce: [u8; 32],
    }
}

body! { 64,
    /// The proof, and what the asker has to prove in turn.
    pub struct AttachReply {
        /// Random bytes, used once.
        pub nonce: [u8; 32],
        /// HMAC-SHA256.
        pub proof: [u8; 32],
    }
}

impl Request for Attach {
    const KIND: Kind = Kind::Attach;
    type Reply = AttachReply;
}

body! { 32,
    /// Proves that the sender has the key.
    pub struct Prove {
        /// HMAC-SHA256.
        pub proof: [u8; 32],
    }
}

impl Request for Prove {
    const KIND: Kind = Kind::Prove;
    type Reply = Empty;
}

body! { 4,
    /// Asks for the offer at a place in the list; [`Status::NotFound`](crate::Status::NotFound) is the end.
    pub struct List {
        /// Place in the list, from 0.
        pub index: U32,
    }
}

body! { 12,
    /// One base address register of an offer.
    pub struct BarInfo {
        /// Bytes, 0 if there is none.
        pub size: U64,
        /// [`BarFlags`].
        pub flags: U32,
    }
}

impl BarInfo {
    /// The flags; `None` if there is one we do not know.
    pub fn flags(&self) -> Option<BarFlags> {
        BarFlags::from_bits(self.flags.get())
    }
}

body! { 88,
    /// A device that may be borrowed.
    pub struct Offer {
        /// [`Address`](crate::Address) in the lender.
        pub address: U32,
        /// PCI vendor id.
        pub vendor: U16,
        /// PCI device id.
        pub device: U16,
        /// PCI class code, 24 bits.
        pub class: U32,
        /// PCI revision id.
        pub revision: u8,
        /// An [`OfferState`].
        pub state: u8,
        /// An [`Isolation`].
        pub isolation: u8,
        /// 0.
        pub reserved: u8,
        /// Base address registers; the entry after a 64-bit one is empty.
        pub bars: [BarInfo; 6],
    }
}

impl Offer {
    /// Whether the offer can be borrowed.
    ///
    /// # Errors
    ///
    /// The number, if it is unknown.
    pub fn state(&self) -> Result<OfferState, u8> {
        OfferState::try_from(self.state)
    }

    /// What holds the device back from the rest of the lender.
    ///
    /// # Errors
    ///
    /// The number, if it is unknown.
    pub fn isolation(&self) -> Result<Isolation, u8> {
        Isolation::try_from(self.isolation)
    }
}

impl Request for List {
    const KIND: Kind = Kind::List;
    type Reply = Offer;
}

/// Defines an enum that is one byte on the wire.
macro_rules! byte_enum {
    ($(#[$attribute:meta])* pub enum $name:ident { $($(#[$variant_attribute:meta])* $variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_attribute])* $variant = $value,)* }

        impl $name {
            /// The word people see.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl From<$name> for u8 {
            fn from(value: $name) -> u8 {
                // CAST: the enum is `repr(u8)`.
                value as u8
            }
        }

        impl TryFrom<u8> for $name {
            /// The value that means nothing to us.
            type Error = u8;

            fn try_from(value: u8) -> Result<Self, u8> {
                match value {
                    $($value => Ok(Self::$variant),)*
                    _ => Err(value),
                }
            }
        }
    };
}

byte_enum! {
    /// Whether an offer can be borrowed.
    pub enum OfferState {
        /// Nobody has it.
        Available = 1, "available";
        /// Somebody has it.
        Taken = 2, "taken";
    }
}

byte_enum! {
    /// What holds a lent device back from the rest of the lender.
    pub enum Isolation {
        /// An IOMMU: the device reaches the window and nothing else.
        Iommu = 1, "iommu";
        /// Nothing: the device reaches all of the lender's memory.
        Unsafe = 2, "unsafe";
    }
}

byte_enum! {
    /// Why a lease was taken back. The device is stopped already.
    pub enum RevokeReason {
        /// The lender wanted the device at once.
        Reclaimed = 1, "reclaimed";
        /// The borrower was asked to give it back, and has not by the deadline.
        Forced = 2, "forced";
        /// The device has left the lender.
        Gone = 3, "gone";
        /// It reported an error that cut it off.
        Failed = 4, "device error";
    }
}

body! { 4,
    /// Takes the lease of an offer.
    pub struct Open {
        /// [`Address`](crate::Address) in the lender.
        pub address: U32,
    }
}

body! { 24,
    /// One base address register of a borrowed device.
    pub struct OpenBar {
        /// Bus address in the lender.
        pub address: U64,
        /// Bytes, 0 if there is none.
        pub size: U64,
        /// [`BarFlags`].
        pub flags: U32,
        /// 0.
        pub reserved: U32,
    }
}

impl OpenBar {
    /// The flags; `None` if there is one we do not know.
    pub fn flags(&self) -> Option<BarFlags> {
        BarFlags::from_bits(self.flags.get())
    }
}

body! { 192,
    /// A lease: where everything is.
    pub struct OpenReply {
        /// Epoch of the lease, never 0; to be named in each message about it.
        pub epoch: U32,
        /// Size of the configuration-space image, bytes: 256 or 4096.
        pub config_size: U16,
        /// 0.
        pub reserved: U16,
        /// Bus address in the lender that the borrower's MMIO window starts at.
        pub mmio_base: U64,
        /// Bytes of the MMIO window that are translated.
        pub mmio_size: U64,
        /// Address at which the device sees the start of the borrower's memory window.
        pub dma_base: U64,
        /// Bytes the device can reach there.
        pub dma_size: U64,
        /// Address at which the device sees the borrower's 0xfee00000.
        pub msi_base: U64,
        /// Base address registers; the entry after a 64-bit one is empty.
        pub bars: [OpenBar; 6],
    }
}

impl Request for Open {
    const KIND: Kind = Kind::Open;
    type Reply = OpenReply;
}

/// Bytes of the configuration-space image in one reply.
pub const IMAGE_CHUNK: usize = 256;

body! { 2,
    /// Asks for [`IMAGE_CHUNK`] bytes of the configuration-space image.
    pub struct Image {
        /// Where they start, a multiple of [`IMAGE_CHUNK`].
        pub offset: U16,
    }
}

/// A part of the configuration-space image.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ImageReply {
    /// The bytes.
    pub bytes: [u8; IMAGE_CHUNK],
}

const _: () = assert!(size_of::<ImageReply>() == 256 && 256 <= MAX_BODY);

impl Request for Image {
    const KIND: Kind = Kind::Image;
    type Reply = ImageReply;
}

body! { 3,
    /// Reads the device's configuration space.
    pub struct ConfigRead {
        /// A multiple of `size`.
        pub offset: U16,
        /// 1, 2 or 4 bytes.
        pub size: u8,
    }
}

body! { 4,
    /// What was read, in the low bytes.
    pub struct ConfigValue {
        /// The value.
        pub value: U32,
    }
}

impl Request for ConfigRead {
    const KIND: Kind = Kind::ConfigRead;
    type Reply = ConfigValue;
}

body! { 7,
    /// Writes the device's configuration space.
    pub struct ConfigWrite {
        /// A multiple of `size`.
        pub offset: U16,
        /// 1, 2 or 4 bytes.
        pub size: u8,
        /// The value, in the low bytes.
        pub value: U32,
    }
}

impl Request for ConfigWrite {
    const KIND: Kind = Kind::ConfigWrite;
    type Reply = Empty;
}

body! { 0,
    /// Resets the device; its configuration space is afterwards as before.
    pub struct Reset {}
}

impl Request for Reset {
    const KIND: Kind = Kind::Reset;
    type Reply = Empty;
}

body! { 0,
    /// Gives the lease back.
    pub struct Clunk {}
}

impl Request for Clunk {
    const KIND: Kind = Kind::Clunk;
    type Reply = Empty;
}

body! { 4,
    /// An offer came, went or changed hands: list again.
    pub struct OfferChanged {
        /// [`Address`](crate::Address) in the lender.
        pub address: U32,
    }
}

impl Event for OfferChanged {
    const KIND: Kind = Kind::OfferChanged;
}

body! { 5,
    /// The lease of the header's epoch was taken back.
    pub struct Revoked {
        /// [`Address`](crate::Address) in the lender.
        pub address: U32,
        /// A [`RevokeReason`].
        pub reason: u8,
    }
}

impl Revoked {
    /// Why.
    ///
    /// # Errors
    ///
    /// The number, if it is unknown.
    pub fn reason(&self) -> Result<RevokeReason, u8> {
        RevokeReason::try_from(self.reason)
    }
}

impl Event for Revoked {
    const KIND: Kind = Kind::Revoked;
}

body! { 8,
    /// The lender wants the device of the header's epoch: it is to be given back, or is taken by force.
    pub struct TakeBack {
        /// [`Address`](crate::Address) in the lender.
        pub address: U32,
        /// So much time there is for that, seconds.
        pub seconds: U32,
    }
}

impl Event for TakeBack {
    const KIND: Kind = Kind::TakeBack;
}

body! { 4,
    /// The device of the header's epoch has reported an error, and works on.
    pub struct DeviceError {
        /// [`Address`](crate::Address) in the lender.
        pub address: U32,
    }
}

impl Event for DeviceError {
    const KIND: Kind = Kind::DeviceError;
}

body! { 4,
    /// The device of the header's epoch has raised INTx. The lender has masked it, and does not send another before an
    /// [`Unmask`].
    pub struct Interrupt {
        /// [`Address`](crate::Address) in the lender.
        pub address: U32,
    }
}

impl Event for Interrupt {
    const KIND: Kind = Kind::Interrupt;
}

body! { 0,
    /// The borrower takes an [`Interrupt`] of the device of the header's epoch: the first, or one more. It comes at once if the
    /// device raises INTx all along.
    pub struct Unmask {}
}

impl Event for Unmask {
    const KIND: Kind = Kind::Unmask;
}

body! { 16,
    /// May come with [`Status::NoSpace`](crate::Status::NoSpace).
    pub struct NoSpaceDetail {
        /// Bytes that are needed.
        pub needed: U64,
        /// Bytes that there are.
        pub available: U64,
    }
}

impl From<NoSpace> for NoSpaceDetail {
    fn from(no_space: NoSpace) -> Self {
        Self {
            needed: no_space.needed.into(),
            available: no_space.available.into(),
        }
    }
}

impl From<NoSpaceDetail> for NoSpace {
    fn from(detail: NoSpaceDetail) -> Self {
        Self {
            needed: detail.needed.get(),
            available: detail.available.get(),
        }
    }
}
