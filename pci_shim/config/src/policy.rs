// SPDX-License-Identifier: GPL-2.0

//! What happens to each access, on the borrower and on the lender.

use crate::{
    bar::{
        bar_register,
        Bar, //
    },
    bytes::{
        get16,
        get32,
        get8,
        put, //
    },
    capability::{
        for_each,
        Capability,
        Kind,
        Strictness, //
    },
    malformed::Malformed,
    register::{
        Register,
        Rule, //
    },
    regs::{
        BASE_ADDRESS_0,
        CACHE_LINE_SIZE,
        COMMAND,
        EXP_DEVCAP,
        EXP_DEVCAP_FLR,
        EXP_DEVCTL,
        EXP_DEVCTL2,
        EXP_DEVCTL_BCR_FLR,
        EXP_LNKCTL,
        HEADER_TYPE,
        INTERRUPT_LINE,
        INTERRUPT_PIN,
        PM_CTRL,
        VENDOR_ID, //
    },
    CONFIG_SIZE,
    EXTENDED_SIZE, //
};

const DWORDS: usize = CONFIG_SIZE / 4;

/// The interrupt pin of a function that stands alone.
pub(crate) const INTA: u8 = 1;

/// Which registers a device has. Both sides make it from the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    registers: [Register; DWORDS],
    /// The device can be asked for a function-level reset.
    flr: bool,
}

/// Where a read is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Here: this is the value.
    Shadow(u32),
    /// By the device; what comes back goes through [`Policy::merge_read`].
    Peer,
}

/// What a write comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing further: it was for the shadow, or for nobody.
    Done,
    /// The device has to see it. Offset and size are those of the write, the shadow has the new bits.
    Peer {
        /// What to forward: only bits that the lender admits.
        value: u32,
    },
    /// The device has to be reset. The lender restores its configuration space, with [`Policy::restore`] too, so the
    /// shadow stays as it is.
    Reset,
}

/// The place of an access in its dword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Number of the dword.
    pub(crate) dword: usize,
    /// Bits below the access.
    shift: u32,
    /// The bits of the access.
    pub(crate) mask: u32,
}

impl Lane {
    /// `None` if this is no aligned access of 1, 2 or 4 bytes to the first `end` bytes.
    pub(crate) fn new(offset: u16, size: u8, end: usize) -> Option<Self> {
        let low = all_ones(size)?;
        let offset = usize::from(offset);
        let size = usize::from(size);
        if offset % size != 0 || offset + size > end {
            return None;
        }
        // CAST: at most 24.
        let shift = (offset % 4 * 8) as u32;
        Some(Self {
            dword: offset / 4,
            shift,
            mask: low << shift,
        })
    }

    /// A value of the access, at its place in the dword.
    pub(crate) fn place(&self, value: u32) -> u32 {
        value << self.shift & self.mask
    }

    /// A value of the access, out of the dword.
    pub(crate) fn extract(&self, dword: u32) -> u32 {
        (dword & self.mask) >> self.shift
    }
}

/// What nobody answers reads as; `None` for an impossible size.
const fn all_ones(size: u8) -> Option<u32> {
    match size {
        1 => Some(0xff),
        2 => Some(0xffff),
        4 => Some(0xffff_ffff),
        _ => None,
    }
}

impl Policy {
    /// The policy for a device that looks like `image`, which [`present`](crate::present) has made.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it cannot be such an image: the borrower does not take it.
    pub fn of(image: &[u8]) -> Result<Self, Malformed> {
        if image.len() != CONFIG_SIZE && image.len() != EXTENDED_SIZE {
            return Err(Malformed::Size(image.len()));
        }
        if get16(image, VENDOR_ID) == Some(0xffff) {
            return Err(Malformed::Absent);
        }
        // All bits: the image of a function has no multi-function bit.
        match get8(image, HEADER_TYPE) {
            Some(0) => {}
            header_type => return Err(Malformed::HeaderType(header_type.unwrap_or(0))),
        }
        let command = match get8(image, INTERRUPT_PIN) {
            Some(0) => Register::Command,
            Some(INTA) => Register::CommandIntx,
            pin => return Err(Malformed::Pin(pin.unwrap_or(0))),
        };

        let mut policy = Self {
            registers: [Register::Fixed; DWORDS],
            flr: false,
        };
        policy.set(COMMAND, command);
        policy.set(CACHE_LINE_SIZE, Register::CacheLine);
        for index in 0..6u8 {
            policy.set(
                BASE_ADDRESS_0 + usize::from(index) * 4,
                Register::Bar(index),
            );
        }
        policy.set(INTERRUPT_LINE, Register::InterruptLine);
        for_each(image, Strictness::Strict, |capability| {
            policy.add(image, &capability);
        })?;
        Ok(policy)
    }

    /// Says what the dword at `at` is.
    fn set(&mut self, at: usize, register: Register) {
        if let Some(place) = self.registers.get_mut(at / 4) {
            *place = register;
        }
    }

    /// The registers of a capability. None of them is beyond its length, so none is another's.
    fn add(&mut self, image: &[u8], capability: &Capability) {
        let at = usize::from(capability.at);
        match capability.kind {
            Kind::Pm => self.set(at + PM_CTRL, Register::PmControl),
            Kind::Msi { wide, maskable } => {
                self.set(at, Register::MsiControl);
                self.set(at + 4, Register::MsiAddress);
                let mut data = at + 8;
                if wide {
                    self.set(data, Register::MsiUpperAddress);
                    data += 4;
                }
                self.set(data, Register::MsiData);
                if maskable {
                    self.set(data + 4, Register::MsiMask);
                    self.set(data + 8, Register::MsiPending);
                }
            }
            Kind::Msix => self.set(at, Register::MsixControl),
            Kind::Exp { link, second } => {
                self.set(at + EXP_DEVCTL, Register::DeviceControl);
                if link {
                    self.set(at + EXP_LNKCTL, Register::LinkControl);
                }
                if second {
                    self.set(at + EXP_DEVCTL2, Register::DeviceControl2);
                }
                self.flr = get32(image, at + EXP_DEVCAP)
                    .is_some_and(|devcap| devcap & EXP_DEVCAP_FLR != 0);
            }
            Kind::Vendor => {}
        }
    }

    /// What the dword is; registers beyond the first 256 bytes are fixed.
    fn register(&self, lane: &Lane) -> Register {
        self.registers
            .get(lane.dword)
            .copied()
            .unwrap_or(Register::Fixed)
    }

    /// Whether the device has INTx, and the lender relays it.
    pub fn has_intx(&self) -> bool {
        self.registers.contains(&Register::CommandIntx)
    }

    /// Whether the device has this register set to these bits, or some of them; no device has two of the registers that are asked
    /// for.
    pub(crate) fn is_set(&self, image: &[u8], register: Register, bits: u32) -> bool {
        self.registers
            .iter()
            .position(|&other| other == register)
            .and_then(|dword| get32(image, dword * 4))
            .is_some_and(|value| value & bits != 0)
    }

    /// Offset of each dword that has `bits` of a kind, ascending, and those bits.
    pub(crate) fn dwords_with<'a>(
        &'a self,
        bits: impl Fn(Rule) -> u32 + 'a,
    ) -> impl DoubleEndedIterator<Item = (u16, u32)> + 'a {
        self.registers
            .iter()
            .enumerate()
            // CAST: below 256.
            .map(move |(dword, register)| ((dword * 4) as u16, bits(register.rule())))
            .filter(|&(_, bits)| bits != 0)
    }

    fn rule(&self, lane: &Lane) -> Rule {
        self.register(lane).rule()
    }

    /// Borrower: a read of `size` bytes at `offset`.
    ///
    /// What is not an aligned read of 1, 2 or 4 bytes inside the image reads as all ones.
    pub fn read(&self, image: &[u8], offset: u16, size: u8) -> Read {
        match Lane::new(offset, size, image.len()) {
            Some(lane) if self.rule(&lane).live & lane.mask != 0 => Read::Peer,
            _ => Read::Shadow(self.remembered(image, offset, size)),
        }
    }

    /// Borrower: what the image has there, live bits as they were when it was made.
    ///
    /// That is as good as an answer until something may have happened to the device, or [`Policy::clears`] some of them.
    pub fn remembered(&self, image: &[u8], offset: u16, size: u8) -> u32 {
        let lane = Lane::new(offset, size, image.len());
        lane.and_then(|lane| Some(lane.extract(get32(image, lane.dword * 4)?)))
            .unwrap_or_else(|| all_ones(size).unwrap_or(!0))
    }

    /// Borrower: whether a write asks the device to clear bits; the image does not follow.
    pub fn clears(&self, offset: u16, size: u8, value: u32) -> bool {
        Lane::new(offset, size, CONFIG_SIZE)
            .is_some_and(|lane| lane.place(value) & self.rule(&lane).clear != 0)
    }

    /// Borrower: the value of a read that went to the device. Bits that are not live come from the shadow.
    pub fn merge_read(&self, image: &[u8], offset: u16, size: u8, device_value: u32) -> u32 {
        let Some(lane) = Lane::new(offset, size, image.len()) else {
            return all_ones(size).unwrap_or(!0);
        };
        let live = self.rule(&lane).live;
        let shadow = get32(image, lane.dword * 4).unwrap_or(!0);
        lane.extract(shadow & !live | lane.place(device_value) & live)
    }

    /// Borrower: a write of `size` bytes at `offset`. The shadow is `image`.
    ///
    /// A write that changes none of the device's bits and clears none is [`Write::Done`]. That is right because the
    /// shadow equals the device in every bit that is written through: nobody else writes them during a lease, the lender
    /// puts them back after a reset (of INTx disable it keeps the borrower's in an [`IntxGate`](crate::IntxGate)), and a write that could not be delivered is the end of the lease (the caller sees to that). Nor
    /// does any of them do something when written with the value it has: the two kinds that do, bits cleared by writing
    /// 1 and the request for a reset, are not compared with the shadow.
    pub fn write(
        &self,
        image: &mut [u8],
        bars: &[Bar; 6],
        offset: u16,
        size: u8,
        value: u32,
    ) -> Write {
        let Some(lane) = Lane::new(offset, size, image.len()) else {
            return Write::Done;
        };
        let Some(old) = get32(image, lane.dword * 4) else {
            return Write::Done;
        };
        let value = lane.place(value);
        let register = self.register(&lane);

        if let Register::Bar(index) = register {
            let bar = bar_register(bars, usize::from(index));
            // What is not written stays as it is; flags and the bits below the size are wired.
            let new = old & !lane.mask | value;
            let new = new & bar.writable | bar.fixed;
            put(image, lane.dword * 4, &new.to_le_bytes());
            return Write::Done;
        }
        if register == Register::DeviceControl
            && self.flr
            && value & u32::from(EXP_DEVCTL_BCR_FLR) != 0
        {
            // A device loses what is written along with the reset bit; so do we.
            return Write::Reset;
        }

        let rule = register.rule();
        let writable = (rule.shadow | rule.through) & lane.mask;
        let new = old & !writable | value & writable;
        put(image, lane.dword * 4, &new.to_le_bytes());

        let cleared = value & rule.clear;
        if (old ^ new) & rule.through == 0 && cleared == 0 {
            return Write::Done;
        }
        Write::Peer {
            value: lane.extract(new & rule.through | cleared),
        }
    }

    /// Lender: whether the borrower may have the device read here. Only where something is live: for all the rest it has
    /// the image, and reading a register can have effects.
    ///
    /// What was read is passed through [`Policy::filter_read`] before it is sent.
    pub fn admit_read(&self, offset: u16, size: u8) -> bool {
        Lane::new(offset, size, CONFIG_SIZE)
            .is_some_and(|lane| self.rule(&lane).live & lane.mask != 0)
    }

    /// Lender: what the borrower gets of a value that was read from the device: the live bits.
    ///
    /// All ones is how a device reads that is gone; that has to be noticed before.
    pub fn filter_read(&self, offset: u16, size: u8, device_value: u32) -> u32 {
        Lane::new(offset, size, CONFIG_SIZE).map_or(0, |lane| {
            lane.extract(lane.place(device_value) & self.rule(&lane).live)
        })
    }

    /// Lender: what to write to the device when the borrower asks for `value`, `current` being what the device has there
    /// now, in the same bytes. `None`: the borrower has no business there.
    ///
    /// If the image has an interrupt pin, the value then goes through [`IntxGate::write`](crate::IntxGate::write).
    pub fn admit_write(&self, offset: u16, size: u8, value: u32, current: u32) -> Option<u32> {
        let lane = Lane::new(offset, size, CONFIG_SIZE)?;
        let rule = self.rule(&lane);
        let admitted = rule.through | rule.clear;
        if admitted & lane.mask == 0 {
            return None;
        }
        let kept = lane.place(current) & !(admitted | rule.zero);
        Some(lane.extract(kept | lane.place(value) & admitted | rule.force))
    }
}
