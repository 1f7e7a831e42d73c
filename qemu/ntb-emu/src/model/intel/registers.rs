// SPDX-License-Identifier: GPL-2.0

//! The table of registers: where they are, what they are after a reset, which bits their host may change.

use super::{VECTORS, WINDOWS};

/// What a register does beyond holding its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Plain,
    /// Whether this side wants a link.
    Control,
    /// Where the peer's window begins in this host.
    Base(usize),
    /// Where it ends, as an address in this host's own BAR.
    Limit(usize),
    /// Doorbells rung and link events; ones clear.
    Status,
    /// Those of them that do not interrupt.
    Disable,
    /// The vector of each of them.
    Vectors,
    /// Scratchpads.
    Scratchpads,
    /// Ring the peer.
    Doorbells,
    /// The peer's scratchpads.
    PeerScratchpads,
    /// Where a BAR of this bridge begins between the bridges, as seen from here: 0 is the registers', then the windows'.
    OuterBase(usize),
    /// Where the peer's window ends, as an address between the bridges.
    OuterLimit(usize),
    /// Interrupts towards the cable; ones clear.
    OuterStatus,
    /// The scratchpads, another view.
    OuterScratchpads,
    /// Ring this host itself.
    OuterDoorbells,
    /// The command register towards the cable.
    OuterCommand,
    /// Where a BAR of this bridge begins between the bridges, as seen from the peer.
    OuterBar(usize),
}

/// A register, or several of a kind in a row.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// The kernel's name for it, without `GEN3_` and `_OFFSET`.
    pub name: &'static str,
    /// Where the first one is in BAR 0, in bytes.
    pub offset: u64,
    /// Bytes of each: 1, 2, 4 or 8.
    pub width: u64,
    /// How many there are.
    pub count: u64,
    /// Bits that its host can change.
    pub writable: u64,
    pub(super) role: Role,
    reset: u64,
}

const fn row(
    name: &'static str,
    offset: u64,
    (width, count): (u64, u64),
    reset: u64,
    writable: u64,
    role: Role,
) -> Register {
    Register {
        name,
        offset,
        width,
        count,
        writable,
        role,
        reset,
    }
}

/// In NTBCNTL: configuration space cannot be reached from the other side. Of no effect here.
pub(super) const CFG_LOCK: u64 = 1 << 0;
/// In NTBCNTL: no link.
pub(super) const DISABLE: u64 = 1 << 1;
/// In SPCICMD: takes memory accesses from the cable.
pub(super) const MEMORY: u64 = 1 << 1;
/// In SPCICMD: sends memory accesses to the cable.
pub(super) const MASTER: u64 = 1 << 2;
/// The bit of IM_INT_STATUS that says that the link has changed.
pub(super) const LINK: u64 = 1 << 32;

const ALL: u64 = u64::MAX;
const PAGES: u64 = !0xfff;
/// One bit for each doorbell, and the link's.
const INT: u64 = 0x1_ffff_ffff;
/// A 64-bit prefetchable BAR.
const BAR: u64 = 0xc;
/// Where the windows are between the bridges.
const PLACE1: u64 = 256 << 30;
const PLACE2: u64 = 512 << 30;

use Role::*;

/// All registers, in the order of their offsets. What lies between them reads as zero and ignores writes.
#[rustfmt::skip]
pub static REGISTERS: [Register; 25] = [
    //   name              offset   each     reset               writable          role
    row("NTBCNTL",         0x0000, (4, 1),  CFG_LOCK | DISABLE, 0x3ff,            Control),
    row("IMBAR1XBASE",     0x0010, (8, 1),  0,                  PAGES,            Base(0)),
    row("IMBAR1XLMT",      0x0018, (8, 1),  0,                  PAGES,            Limit(0)),
    row("IMBAR2XBASE",     0x0020, (8, 1),  0,                  PAGES,            Base(1)),
    row("IMBAR2XLMT",      0x0028, (8, 1),  0,                  PAGES,            Limit(1)),
    row("IM_INT_STATUS",   0x0040, (8, 1),  0,                  INT,              Status),
    row("IM_INT_DISABLE",  0x0048, (8, 1),  INT,                INT,              Disable),
    row("USMEMMISS",       0x0070, (2, 1),  0,                  0xffff,           Plain),
    row("IM_SPAD",         0x0080, (4, 16), 0,                  ALL,              Scratchpads),
    row("INTVEC",          0x00d0, (1, 33), 0,                  0xff,             Vectors),
    row("IM_DOORBELL",     0x0100, (4, 32), 0,                  1,                Doorbells),
    row("B2B_SPAD",        0x0180, (4, 16), 0,                  ALL,              PeerScratchpads),
    row("EMBAR0XBASE",     0x4008, (8, 1),  0,                  PAGES,            OuterBase(0)),
    row("EMBAR1XBASE",     0x4010, (8, 1),  PLACE1,             PAGES,            OuterBase(1)),
    row("EMBAR1XLMT",      0x4018, (8, 1),  0,                  PAGES,            OuterLimit(0)),
    row("EMBAR2XBASE",     0x4020, (8, 1),  PLACE2,             PAGES,            OuterBase(2)),
    row("EMBAR2XLMT",      0x4028, (8, 1),  0,                  PAGES,            OuterLimit(1)),
    row("EM_INT_STATUS",   0x4040, (8, 1),  0,                  INT,              OuterStatus),
    row("EM_INT_DISABLE",  0x4048, (8, 1),  INT,                INT,              Plain),
    row("EM_SPAD",         0x4080, (4, 16), 0,                  ALL,              OuterScratchpads),
    row("EM_DOORBELL",     0x4100, (4, 32), 0,                  1,                OuterDoorbells),
    row("SPCICMD",         0x4504, (2, 1),  0,                  0x0546,           OuterCommand),
    row("EMBAR0",          0x4510, (8, 1),  BAR,                PAGES,            OuterBar(0)),
    row("EMBAR1",          0x4518, (8, 1),  PLACE1 | BAR,       PAGES,            OuterBar(1)),
    row("EMBAR2",          0x4520, (8, 1),  PLACE2 | BAR,       PAGES,            OuterBar(2)),
];

/// Where the last register ends.
pub(super) const END: usize = 0x4528;

impl Register {
    /// The value of the `element`th after a reset.
    pub fn reset(&self, element: u64) -> u64 {
        match self.role {
            // The link has the first vector then, and doorbells the others.
            Vectors => (element + 1) % VECTORS as u64,
            _ => self.reset,
        }
    }

    /// Where the `element`th is in BAR 0, in bytes.
    pub fn at(&self, element: u64) -> u64 {
        self.offset + element * self.width
    }

    /// Bytes of all of them.
    pub fn length(&self) -> u64 {
        self.width * self.count
    }
}

/// Finds the register with a role that only one has.
pub(super) fn with_role(role: Role) -> Option<&'static Register> {
    REGISTERS.iter().find(|register| register.role == role)
}

/// A byte of a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) register: &'static Register,
    /// Which of several.
    pub(super) element: u64,
    /// Which byte of it, from the lowest on.
    pub(super) byte: u64,
}

impl Place {
    /// The bits of this byte of a register-wide mask or value.
    pub(super) fn lane(&self, wide: u64) -> u8 {
        // CAST: one byte is wanted; registers have at most 8.
        (wide >> (8 * (self.byte & 7))) as u8
    }
}

/// Finds the register at a byte of BAR 0.
pub(super) fn find(offset: u64) -> Option<Place> {
    let after = REGISTERS.partition_point(|register| register.offset <= offset);
    let register = REGISTERS.get(after.checked_sub(1)?)?;
    let distance = offset - register.offset;
    (distance < register.length()).then(|| Place {
        register,
        element: distance / register.width,
        byte: distance % register.width,
    })
}

const _: () = {
    let mut i = 0;
    while i < REGISTERS.len() {
        let register = &REGISTERS[i];
        assert!(register.width.is_power_of_two() && register.width <= 8);
        assert!(register.offset % register.width == 0);
        let end = register.offset + register.width * register.count;
        assert!(end <= END as u64);
        assert!(i + 1 == REGISTERS.len() || end <= REGISTERS[i + 1].offset);
        i += 1;
    }
    assert!(WINDOWS == 2);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets as in the kernel's ntb_hw_gen3.h.
    #[test]
    fn offsets_are_the_drivers() {
        let expected = [
            ("NTBCNTL", 0x0000),
            ("IMBAR1XBASE", 0x0010),
            ("IMBAR1XLMT", 0x0018),
            ("IMBAR2XBASE", 0x0020),
            ("IMBAR2XLMT", 0x0028),
            ("IM_INT_STATUS", 0x0040),
            ("IM_INT_DISABLE", 0x0048),
            ("IM_SPAD", 0x0080),
            ("USMEMMISS", 0x0070),
            ("INTVEC", 0x00d0),
            ("IM_DOORBELL", 0x0100),
            ("B2B_SPAD", 0x0180),
            ("EMBAR0XBASE", 0x4008),
            ("EMBAR1XBASE", 0x4010),
            ("EMBAR1XLMT", 0x4018),
            ("EMBAR2XBASE", 0x4020),
            ("EMBAR2XLMT", 0x4028),
            ("EM_INT_STATUS", 0x4040),
            ("EM_INT_DISABLE", 0x4048),
            ("EM_SPAD", 0x4080),
            ("EM_DOORBELL", 0x4100),
            ("SPCICMD", 0x4504),
            ("EMBAR0", 0x4510),
            ("EMBAR1", 0x4518),
            ("EMBAR2", 0x4520),
        ];
        assert_eq!(expected.len(), REGISTERS.len());
        for (name, offset) in expected {
            let found = find(offset).unwrap();
            assert_eq!(found.register.name, name);
            assert_eq!((found.element, found.byte), (0, 0));
        }
    }

    #[test]
    fn every_byte_is_found_where_it_is_and_gaps_are_gaps() {
        let mut bytes = 0;
        for offset in 0..0x1_0000 {
            if let Some(place) = find(offset) {
                assert_eq!(place.register.at(place.element) + place.byte, offset);
                assert!(place.element < place.register.count);
                assert!(place.byte < place.register.width);
                bytes += 1;
            }
        }
        assert_eq!(bytes, REGISTERS.iter().map(Register::length).sum::<u64>());
        for gap in [0x4, 0xf, 0x30, 0x50, 0x72, 0xf1, 0x1c0, 0x2000, 0x4528] {
            assert!(find(gap).is_none(), "{gap:#x}");
        }
        assert!(find(u64::MAX).is_none());
    }

    #[test]
    fn roles_are_found() {
        for register in &REGISTERS {
            if register.role != Role::Plain {
                assert_eq!(with_role(register.role).unwrap().name, register.name);
            }
        }
    }
}
