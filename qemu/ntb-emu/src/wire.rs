// SPDX-License-Identifier: GPL-2.0

//! The vfio-user messages, as bytes: what each one looks like and how it is checked.
//!
//! The protocol is described in QEMU's `docs/interop/vfio-user.rst`. Every message begins with a [`Header`]; all numbers
//! are in the byte order of the machine, since both ends share it. Nothing here does I/O or keeps state, so the whole
//! module can be fed by a fuzzer through [`parse`].

mod body;
mod header;
mod request;

pub use body::{
    sparse_area, DeviceInfo, DmaMap, DmaMapFlags, DmaRange, DmaUnmap, DmaUnmapFlags, IrqInfo,
    IrqSet, IrqSetFlags, RegionAccess, RegionInfo, RegionInfoFlags, SparseArea, SparseMmap,
    Version, WriteOne,
};
pub use header::{frame_length, Command, Header, HEADER_SIZE, MAX_FRAME, MAX_TRANSFER, NO_REPLY};
pub use request::{parse, Message, Reply, Request};

/// Why a message cannot be understood. The connection it came on cannot be trusted any more and is closed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// The header's size is below the header or above what was negotiated.
    #[error("message size {0} is out of bounds")]
    Size(u32),
    /// Neither a command nor a reply.
    #[error("unknown message type {0:#x}")]
    Type(u32),
    /// The body is shorter or longer than the command's.
    #[error("{command:?} with a body of {length} bytes")]
    Body {
        /// The command in question.
        command: Command,
        /// Length of the body received, in bytes.
        length: usize,
    },
    /// A count in the body disagrees with the data that follows.
    #[error("{command:?} names {named} bytes or items but carries {carried}")]
    Count {
        /// The command in question.
        command: Command,
        /// What the message says.
        named: u64,
        /// What it holds.
        carried: usize,
    },
}
