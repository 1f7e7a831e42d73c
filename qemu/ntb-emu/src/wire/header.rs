// SPDX-License-Identifier: GPL-2.0

//! The header of every message, and the length of the message it begins.

use super::Malformed;
use zerocopy::native_endian::{U16, U32};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in a [`Header`].
pub const HEADER_SIZE: usize = size_of::<Header>();
/// Most bytes of data in one transfer message, both ways: the protocol's default.
pub const MAX_TRANSFER: usize = 1 << 20;
/// Longest message accepted: the largest transfer with its header and its fixed body.
pub const MAX_FRAME: usize = HEADER_SIZE + 16 + MAX_TRANSFER;
/// Header flag: the sender wants no reply.
pub const NO_REPLY: u32 = 0x10;

const TYPE_MASK: u32 = 0xf;
const TYPE_COMMAND: u32 = 0;
const TYPE_REPLY: u32 = 1;
const ERROR: u32 = 0x20;

/// Header of every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Chosen by the sender of a command, echoed by its reply.
    pub id: U16,
    /// A [`Command`].
    pub command: U16,
    /// Length of the whole message in bytes, this header included.
    pub size: U32,
    /// Type (bits 0-3), [`NO_REPLY`], error (bit 5).
    pub flags: U32,
    /// An errno, if the error flag is set in a reply.
    pub error: U32,
}

impl Header {
    /// A command's header, for a body of `body` bytes.
    pub fn command(id: u16, command: Command, body: usize, flags: u32) -> Self {
        Self::new(
            id,
            command.into(),
            body,
            TYPE_COMMAND | (flags & NO_REPLY),
            0,
        )
    }

    /// The header of the reply to `self`, for a body of `body` bytes.
    pub fn reply(&self, body: usize) -> Self {
        Self::new(self.id.get(), self.command.get(), body, TYPE_REPLY, 0)
    }

    /// The header of the reply that refuses `self` with an errno.
    pub fn refusal(&self, errno: rustix::io::Errno) -> Self {
        Self::new(
            self.id.get(),
            self.command.get(),
            0,
            TYPE_REPLY | ERROR,
            errno.raw_os_error().unsigned_abs(),
        )
    }

    /// Whether the sender of this command waits for a reply.
    pub fn wants_reply(&self) -> bool {
        self.flags.get() & NO_REPLY == 0
    }

    /// Whether this reply refuses its command; the errno is in `error`.
    pub fn is_refusal(&self) -> bool {
        self.flags.get() & ERROR != 0
    }

    pub(super) fn is_reply(&self) -> Result<bool, Malformed> {
        match self.flags.get() & TYPE_MASK {
            TYPE_COMMAND => Ok(false),
            TYPE_REPLY => Ok(true),
            other => Err(Malformed::Type(other)),
        }
    }

    fn new(id: u16, command: u16, body: usize, flags: u32, error: u32) -> Self {
        // Bodies are built here and bounded by MAX_FRAME; a longer one would be a defect of ours that the peer refuses.
        let size = u32::try_from(HEADER_SIZE + body).unwrap_or(u32::MAX);
        Self {
            id: id.into(),
            command: command.into(),
            size: size.into(),
            flags: flags.into(),
            error: error.into(),
        }
    }
}

/// The length in bytes of the message that `prefix` begins, or `None` if its header has not come completely yet.
///
/// # Errors
///
/// The size field is below [`HEADER_SIZE`] or above [`MAX_FRAME`].
pub fn frame_length(prefix: &[u8]) -> Result<Option<usize>, Malformed> {
    let Ok((header, _)) = Header::ref_from_prefix(prefix) else {
        return Ok(None);
    };
    let size = header.size.get();
    match usize::try_from(size) {
        Ok(length) if (HEADER_SIZE..=MAX_FRAME).contains(&length) => Ok(Some(length)),
        _ => Err(Malformed::Size(size)),
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// What a message asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Command {
            $($(#[$doc])* $name,)*
            /// Not known here: to be refused, not guessed at.
            Other(u16),
        }

        impl From<u16> for Command {
            fn from(value: u16) -> Self {
                match value {
                    $($value => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl From<Command> for u16 {
            fn from(command: Command) -> Self {
                match command {
                    $(Command::$name => $value,)*
                    Command::Other(other) => other,
                }
            }
        }
    };
}

commands! {
    /// Negotiate version and capabilities; the first message on a connection.
    Version = 1,
    /// Guest memory becomes reachable.
    DmaMap = 2,
    /// Guest memory is no longer reachable.
    DmaUnmap = 3,
    /// How many regions and interrupt types there are.
    GetInfo = 4,
    /// Size and properties of a region.
    GetRegionInfo = 5,
    /// Properties of an interrupt type.
    GetIrqInfo = 7,
    /// Attach or detach interrupt event descriptors.
    SetIrqs = 8,
    /// Read from a region.
    RegionRead = 9,
    /// Write to a region.
    RegionWrite = 10,
    /// Server to client: read the guest's address space.
    DmaRead = 11,
    /// Server to client: write the guest's address space.
    DmaWrite = 12,
    /// Reset the device.
    Reset = 13,
    /// Several small region writes in one message.
    RegionWriteMulti = 15,
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn command_values_are_the_protocols() {
        for value in 0..=u16::MAX {
            assert_eq!(u16::from(Command::from(value)), value);
        }
        assert_eq!(Command::from(1), Command::Version);
        assert_eq!(Command::from(13), Command::Reset);
        assert_eq!(Command::from(15), Command::RegionWriteMulti);
        assert_eq!(Command::from(6), Command::Other(6));
    }

    #[test]
    fn frame_length_wants_a_whole_header_and_a_sane_size() {
        let header = |size: u32| {
            let mut h = Header::command(1, Command::Reset, 0, 0);
            h.size = size.into();
            h.as_bytes().to_vec()
        };
        assert_eq!(frame_length(&[]), Ok(None));
        assert_eq!(frame_length(&header(16)[..15]), Ok(None));
        assert_eq!(frame_length(&header(15)), Err(Malformed::Size(15)));
        assert_eq!(frame_length(&header(0)), Err(Malformed::Size(0)));
        assert_eq!(frame_length(&header(16)), Ok(Some(16)));
        let max = u32::try_from(MAX_FRAME).unwrap();
        assert_eq!(frame_length(&header(max)), Ok(Some(MAX_FRAME)));
        assert_eq!(
            frame_length(&header(max + 1)),
            Err(Malformed::Size(max + 1))
        );
        assert_eq!(
            frame_length(&header(u32::MAX)),
            Err(Malformed::Size(u32::MAX))
        );
    }

    #[test]
    fn a_refusal_carries_the_errno() {
        let command = Header::command(7, Command::DmaMap, 32, 0);
        let refusal = command.refusal(rustix::io::Errno::EXIST);
        assert_eq!(
            (refusal.id.get(), refusal.command.get(), refusal.size.get()),
            (7, 2, 16)
        );
        assert!(refusal.is_refusal() && refusal.is_reply().unwrap());
        assert_eq!(refusal.error.get(), 17);
    }
}
