// SPDX-License-Identifier: GPL-2.0

//! The fixed parts of the message bodies.

use zerocopy::native_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident[$size:literal] { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }
            const _: () = assert!(size_of::<$name>() == $size);
        )*
    };
}

bodies! {
    /// Version negotiation; JSON capabilities follow, ended by a NUL.
    Version[4] {
        /// Incompatible changes.
        major: U16,
        /// Compatible additions.
        minor: U16,
    }
    /// Guest memory that becomes reachable.
    DmaMap[32] {
        /// Size of this structure.
        argsz: U32,
        /// See [`DmaMapFlags`].
        flags: U32,
        /// Where the memory begins in the file whose descriptor comes with the message, in bytes.
        offset: U64,
        /// Guest bus address.
        address: U64,
        /// Bytes.
        size: U64,
    }
    /// Guest memory that goes away.
    DmaUnmap[24] {
        /// Largest reply the client takes.
        argsz: U32,
        /// See [`DmaUnmapFlags`].
        flags: U32,
        /// Guest bus address.
        address: U64,
        /// Bytes.
        size: U64,
    }
    /// What kind of device this is.
    DeviceInfo[16] {
        /// Largest reply the client takes; in a reply, the size needed.
        argsz: U32,
        /// Bit 0: can be reset. Bit 1: is a PCI device.
        flags: U32,
        /// Number of regions.
        regions: U32,
        /// Number of interrupt types.
        irqs: U32,
    }
    /// A region.
    RegionInfo[32] {
        /// Largest reply the client takes; in a reply, the size needed.
        argsz: U32,
        /// See [`RegionInfoFlags`].
        flags: U32,
        /// Which region.
        index: U32,
        /// Where capabilities begin, from the start of this structure.
        cap_offset: U32,
        /// Bytes.
        size: U64,
        /// Added to the offset of each mappable area to give the offset in the file.
        offset: U64,
    }
    /// Capability of a region of which only parts can be mapped; [`SparseArea`]s follow.
    SparseMmap[16] {
        /// 1 (VFIO_REGION_INFO_CAP_SPARSE_MMAP).
        id: U16,
        /// 1.
        version: U16,
        /// Offset of the next capability, 0 if there is none.
        next: U32,
        /// Number of areas.
        areas: U32,
        /// 0.
        reserved: U32,
    }
    /// Part of a region that can be mapped.
    SparseArea[16] {
        /// From the start of the region.
        offset: U64,
        /// Bytes.
        size: U64,
    }
    /// An interrupt type.
    IrqInfo[16] {
        /// Largest reply the client takes; in a reply, the size needed.
        argsz: U32,
        /// Bit 0: signalled by event descriptors. Bit 3: no vectors can be added while some are in use.
        flags: U32,
        /// Which type.
        index: U32,
        /// Number of vectors.
        count: U32,
    }
    /// What to do with interrupt vectors; data may follow.
    IrqSet[20] {
        /// Size of the body.
        argsz: U32,
        /// See [`IrqSetFlags`].
        flags: U32,
        /// Which interrupt type.
        index: U32,
        /// First vector.
        start: U32,
        /// Number of vectors.
        count: U32,
    }
    /// An access to a region; data follows in a write and in the reply to a read.
    RegionAccess[16] {
        /// From the start of the region.
        offset: U64,
        /// Which region.
        region: U32,
        /// Bytes.
        count: U32,
    }
    /// An access to the guest's address space; data follows in a write and in the reply to a read.
    DmaRange[16] {
        /// Guest bus address.
        address: U64,
        /// Bytes.
        count: U64,
    }
    /// One write of a message with several.
    WriteOne[24] {
        /// Where to.
        access: RegionAccess,
        /// The data, of which the first `access.count` bytes count.
        data: [u8; 8],
    }
}

/// Flag words of [`DmaMap`].
pub struct DmaMapFlags;
impl DmaMapFlags {
    /// May be read.
    pub const READ: u32 = 1;
    /// May be written.
    pub const WRITE: u32 = 2;
}

/// Flag words of [`DmaUnmap`].
pub struct DmaUnmapFlags;
impl DmaUnmapFlags {
    /// Everything goes away; address and size are 0.
    pub const ALL: u32 = 2;
}

/// Flag words of [`RegionInfo`].
pub struct RegionInfoFlags;
impl RegionInfoFlags {
    /// May be read.
    pub const READ: u32 = 1;
    /// May be written.
    pub const WRITE: u32 = 2;
    /// May be mapped; a descriptor comes with the reply.
    pub const MMAP: u32 = 4;
    /// Capabilities follow.
    pub const CAPS: u32 = 8;
}

/// Flag words of [`IrqSet`].
pub struct IrqSetFlags;
impl IrqSetFlags {
    /// No data follows.
    pub const DATA_NONE: u32 = 1;
    /// Event descriptors come with the message.
    pub const DATA_EVENTFD: u32 = 4;
    /// The action is to signal the vectors.
    pub const ACTION_TRIGGER: u32 = 32;
}

/// A mappable part of a region, in bytes.
pub fn sparse_area(offset: u64, size: u64) -> SparseArea {
    SparseArea {
        offset: offset.into(),
        size: size.into(),
    }
}
