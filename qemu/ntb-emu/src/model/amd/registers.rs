// SPDX-License-Identifier: GPL-2.0

//! The table of registers: where they are, what they are after a reset, who may change which bits.

use super::WINDOWS;

/// How far a side's view of its peer's registers lies behind the view of its own, in bytes.
pub const PEER: u64 = 0x400;

const FIRST: u64 = 0x200;
const LAST: u64 = 0x4b4;
const SLOTS: usize = ((LAST - FIRST) / 4 + 1) as usize;

/// The offset of a register in the peer's block.
pub fn peer_offset(offset: u64) -> u64 {
    offset + PEER
}

/// What a register does beyond holding its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Plain,
    /// Holds one value for both sides.
    Shared,
    /// Which side this is, and whether its driver is there.
    SideInfo,
    /// Low half of a window's translation.
    XlatLow(usize),
    /// High half of a window's translation.
    XlatHigh(usize),
    /// Low half of a window's limit.
    LimitLow(usize),
    /// High half of a window's limit.
    LimitHigh(usize),
    /// Rings the peer's doorbells.
    DoorbellRequest,
    /// Shows the peer's doorbells.
    DoorbellMirror,
    /// Doorbells rung; ones clear.
    DoorbellStatus,
    /// Doorbells that do not interrupt.
    DoorbellMask,
    /// Events that do not interrupt.
    EventMask,
    /// The event raised; ones clear.
    EventStatus,
}

/// A 32-bit register.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// The kernel's name for it, without `AMD_` and `_OFFSET`.
    pub name: &'static str,
    /// What it is called where the peer sees it.
    pub peer_name: &'static str,
    /// Where it is in the block of its own side, in bytes.
    pub offset: u64,
    /// Value after a reset.
    pub reset: u32,
    /// Bits that its own side can change.
    pub own: u32,
    /// Bits that the peer can change.
    pub peer: u32,
    pub(super) role: Role,
}

macro_rules! row {
    ($name:literal, $offset:expr, $reset:expr, $own:expr, $peer:expr, $role:expr) => {
        Register {
            name: $name,
            peer_name: concat!("PEER_", $name),
            offset: $offset,
            reset: $reset,
            own: $own,
            peer: $peer,
            role: $role,
        }
    };
}

const ALL: u32 = u32::MAX;
/// Translations are in units of 4 KiB.
const PAGES: u32 = 0xffff_f000;
const DB: u32 = 0xffff;
const EV: u32 = super::Event::ALL;

/// READY in SIDEINFO.
pub(super) const READY: u32 = 1 << 1;

use Role::*;

/// All registers, in the order of their offsets. What lies between them reads as zero and ignores writes.
#[rustfmt::skip]
pub static REGISTERS: [Register; 47] = [
    //   name           offset reset  own   peer   role
    row!("CNTL",         0x200, 0,     0x003f_0000, 0, Plain),
    row!("STA",          0x204, 0,     0,     0,     Plain),
    row!("PGSLV",        0x208, 0,     ALL,   0,     Plain),
    row!("SPAD_MUX",     0x20c, 0,     ALL,   0,     Plain),
    row!("SPAD0",        0x210, 0,     ALL,   ALL,   Shared),
    row!("SPAD1",        0x214, 0,     ALL,   ALL,   Shared),
    row!("SPAD2",        0x218, 0,     ALL,   ALL,   Shared),
    row!("SPAD3",        0x21c, 0,     ALL,   ALL,   Shared),
    row!("SPAD4",        0x220, 0,     ALL,   ALL,   Shared),
    row!("SPAD5",        0x224, 0,     ALL,   ALL,   Shared),
    row!("SPAD6",        0x228, 0,     ALL,   ALL,   Shared),
    row!("SPAD7",        0x22c, 0,     ALL,   ALL,   Shared),
    row!("SPAD8",        0x230, 0,     ALL,   ALL,   Shared),
    row!("SPAD9",        0x234, 0,     ALL,   ALL,   Shared),
    row!("SPAD10",       0x238, 0,     ALL,   ALL,   Shared),
    row!("SPAD11",       0x23c, 0,     ALL,   ALL,   Shared),
    row!("SPAD12",       0x240, 0,     ALL,   ALL,   Shared),
    row!("SPAD13",       0x244, 0,     ALL,   ALL,   Shared),
    row!("SPAD14",       0x248, 0,     ALL,   ALL,   Shared),
    row!("SPAD15",       0x24c, 0,     ALL,   ALL,   Shared),
    row!("RSMU_HCID",    0x250, 0,     0,     0,     Plain),
    row!("RSMU_SIID",    0x254, 0,     0,     0,     Plain),
    row!("SIDEINFO",     0x408, 0,     READY, READY, SideInfo),
    row!("BAR1LMT",      0x414, 0,     0,     ALL,   LimitLow(0)),
    row!("BAR23LMT",     0x418, 0,     0,     ALL,   LimitLow(1)),
    row!("BAR23LMT+4",   0x41c, 0,     0,     ALL,   LimitHigh(1)),
    row!("BAR45LMT",     0x420, 0,     0,     ALL,   LimitLow(2)),
    row!("BAR45LMT+4",   0x424, 0,     0,     ALL,   LimitHigh(2)),
    row!("BAR1XLAT",     0x430, 0,     0,     PAGES, XlatLow(0)),
    row!("BAR1XLAT+4",   0x434, 0,     0,     ALL,   XlatHigh(0)),
    row!("BAR23XLAT",    0x438, 0,     0,     PAGES, XlatLow(1)),
    row!("BAR23XLAT+4",  0x43c, 0,     0,     ALL,   XlatHigh(1)),
    row!("BAR45XLAT",    0x440, 0,     0,     PAGES, XlatLow(2)),
    row!("BAR45XLAT+4",  0x444, 0,     0,     ALL,   XlatHigh(2)),
    row!("DBFM",         0x450, 0,     DB,    0,     Plain),
    row!("DBREQ",        0x454, 0,     DB,    DB,    DoorbellRequest),
    row!("MIRRDBSTAT",   0x458, 0,     0,     0,     DoorbellMirror),
    row!("DBMASK",       0x45c, DB,    DB,    0,     DoorbellMask),
    row!("DBSTAT",       0x460, 0,     DB,    0,     DoorbellStatus),
    row!("INTMASK",      0x470, EV,    EV,    0,     EventMask),
    row!("INTSTAT",      0x474, 0,     EV,    0,     EventStatus),
    row!("PMESTAT",      0x480, 0,     0,     0,     Plain),
    row!("LTRLATENCY",   0x494, 0,     ALL,   0,     Plain),
    // The driver acknowledges events here to the management unit, which takes the bits at once.
    row!("SMUACK",       0x4a0, 0,     0,     0,     Plain),
    row!("RSPNUM",       0x4a8, 0,     0,     0,     Plain),
    row!("SMU_SPADMUTEX", 0x4b0, 0,    0,     0,     Plain),
    row!("SMU_SPADOFFSET", 0x4b4, 0,   0,     0,     Plain),
];

/// Index in [`REGISTERS`] plus one, by dword from [`FIRST`] on; 0 where there is no register.
static SLOT: [u8; SLOTS] = {
    let mut slots = [0; SLOTS];
    let mut i = 0;
    while i < REGISTERS.len() {
        slots[((REGISTERS[i].offset - FIRST) / 4) as usize] = i as u8 + 1;
        i += 1;
    }
    slots
};

impl Role {
    /// A small number of its own.
    const fn code(self) -> usize {
        match self {
            Plain => 0,
            Shared => 1,
            SideInfo => 2,
            DoorbellRequest => 3,
            DoorbellMirror => 4,
            DoorbellStatus => 5,
            DoorbellMask => 6,
            EventMask => 7,
            EventStatus => 8,
            XlatLow(window) => 9 + window % WINDOWS,
            XlatHigh(window) => 9 + WINDOWS + window % WINDOWS,
            LimitLow(window) => 9 + 2 * WINDOWS + window % WINDOWS,
            LimitHigh(window) => 9 + 3 * WINDOWS + window % WINDOWS,
        }
    }
}

const ROLES: usize = 9 + 4 * WINDOWS;

/// Index in [`REGISTERS`] plus one, by role; 0 where no register has it. Of no use for roles that several have.
static BY_ROLE: [u8; ROLES] = {
    let mut slots = [0; ROLES];
    let mut i = 0;
    while i < REGISTERS.len() {
        slots[REGISTERS[i].role.code()] = i as u8 + 1;
        i += 1;
    }
    slots
};

/// Finds the register with a role that only one has.
pub(super) fn with_role(role: Role) -> Option<usize> {
    usize::from(*BY_ROLE.get(role.code())?).checked_sub(1)
}

/// A register as an access from one side meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Which of [`REGISTERS`].
    pub(super) index: usize,
    /// Whether it is in the peer's block.
    pub(super) peer: bool,
}

/// Finds the register at `offset` of BAR 0, a multiple of 4.
pub(super) fn find(offset: u64) -> Option<Target> {
    let slot = |offset: u64| {
        let slot = usize::try_from(offset.checked_sub(FIRST)? / 4).ok()?;
        usize::from(*SLOT.get(slot)?).checked_sub(1)
    };
    // The two blocks overlap in address range but not in registers: own offsets end below the peer's first one.
    if let Some(index) = slot(offset) {
        return Some(Target { index, peer: false });
    }
    Some(Target {
        index: slot(offset.checked_sub(PEER)?)?,
        peer: true,
    })
}

const _: () = {
    // Each register has its own place, and windows are numbered within bounds.
    let mut i = 1;
    while i < REGISTERS.len() {
        assert!(REGISTERS[i - 1].offset < REGISTERS[i].offset);
        i += 1;
    }
    assert!(WINDOWS == 3);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets as in the kernel's ntb_hw_amd.h.
    #[test]
    fn offsets_are_the_drivers() {
        let expected = [
            ("CNTL", 0x200),
            ("SPAD0", 0x210),
            ("SIDEINFO", 0x408),
            ("BAR1LMT", 0x414),
            ("BAR23LMT", 0x418),
            ("BAR45LMT", 0x420),
            ("BAR1XLAT", 0x430),
            ("BAR23XLAT", 0x438),
            ("BAR45XLAT", 0x440),
            ("DBREQ", 0x454),
            ("MIRRDBSTAT", 0x458),
            ("DBMASK", 0x45c),
            ("DBSTAT", 0x460),
            ("INTMASK", 0x470),
            ("INTSTAT", 0x474),
            ("PMESTAT", 0x480),
            ("SMUACK", 0x4a0),
        ];
        for (name, offset) in expected {
            let found = find(offset).unwrap();
            assert_eq!((REGISTERS[found.index].name, found.peer), (name, false));
            let found = find(peer_offset(offset)).unwrap();
            assert_eq!((REGISTERS[found.index].name, found.peer), (name, true));
        }
    }

    #[test]
    fn no_offset_is_found_twice_and_gaps_are_gaps() {
        let mut own = 0;
        let mut peer = 0;
        for offset in (0..0x2000).step_by(4) {
            match find(offset) {
                Some(Target { peer: false, index }) => {
                    assert_eq!(REGISTERS[index].offset, offset);
                    own += 1;
                }
                Some(Target { peer: true, index }) => {
                    assert_eq!(peer_offset(REGISTERS[index].offset), offset);
                    peer += 1;
                }
                None => {}
            }
        }
        assert_eq!((own, peer), (REGISTERS.len(), REGISTERS.len()));
        assert_eq!(find(0), None);
        assert_eq!(find(0x1fc), None);
        assert_eq!(find(u64::MAX - 3), None);
    }
}
