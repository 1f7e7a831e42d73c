// SPDX-License-Identifier: GPL-2.0

//! Base address registers.

use bitflags::bitflags;

use crate::{
    malformed::Malformed,
    regs::{
        BASE_ADDRESS_FLAGS,
        BASE_ADDRESS_MEM_PREFETCH,
        BASE_ADDRESS_MEM_TYPE_64, //
    }, //
};

bitflags! {
    /// What kind of memory a base address register decodes. The values are also those on the wire.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BarFlags: u32 {
        /// The register is 64 bits wide, with its upper half in the next one.
        const MEM64 = 1 << 0;
        /// Reads have no side effects and writes may be merged.
        const PREFETCH = 1 << 1;
    }
}

/// A memory base address register. I/O ones are not lent and count as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Bytes, a power of two from 16; 0 if there is none.
    pub size: u64,
    /// Its kind.
    pub flags: BarFlags,
    /// Bus address in the lender, a multiple of `size`.
    pub address: u64,
}

/// Smallest memory range a register can decode: its low four bits are flags.
const SMALLEST: u64 = 16;

impl Bar {
    /// Whether there is such a register that can exist.
    fn is_present(&self) -> bool {
        self.size.is_power_of_two() && self.size >= SMALLEST
    }

    /// The flag bits of the register's low half.
    fn flag_bits(&self) -> u32 {
        let mut bits = 0;
        if self.flags.contains(BarFlags::MEM64) {
            bits |= BASE_ADDRESS_MEM_TYPE_64;
        }
        if self.flags.contains(BarFlags::PREFETCH) {
            bits |= BASE_ADDRESS_MEM_PREFETCH;
        }
        bits
    }

    /// The address bits of the register, as 64 bits: those that keep what is written.
    fn address_bits(&self) -> u64 {
        !self.size.wrapping_sub(1)
    }
}

/// Checks that six registers can exist side by side. The borrower does so with what the lender tells it.
///
/// # Errors
///
/// [`Malformed::Bar`] with the index of the first that cannot: size not a power of two or below 16, address not a
/// multiple of the size or beyond what the register holds, or the upper half of a 64-bit one in use.
pub fn check_bars(bars: &[Bar; 6]) -> Result<(), Malformed> {
    let mut upper = false;
    for (index, bar) in bars.iter().enumerate() {
        let error = Err(Malformed::Bar(index));
        if bar.size == 0 {
            upper = false;
            continue;
        }
        if upper || !bar.is_present() || bar.address & !bar.address_bits() != 0 {
            return error;
        }
        upper = bar.flags.contains(BarFlags::MEM64);
        let Some(last) = bar.address.checked_add(bar.size - 1) else {
            return error;
        };
        if upper && index == 5 || !upper && last > u64::from(u32::MAX) {
            return error;
        }
    }
    Ok(())
}

/// One 32-bit register: which bits keep what is written, and what the others read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BarRegister {
    /// Bits that keep what is written.
    pub(crate) writable: u32,
    /// What the other bits read as.
    pub(crate) fixed: u32,
    /// What the register holds while the bar is at its address.
    pub(crate) value: u32,
}

/// Register `index`, which may be the upper half of the bar before it.
pub(crate) fn bar_register(bars: &[Bar; 6], index: usize) -> BarRegister {
    let bar = |index: usize| bars.get(index).filter(|bar| bar.is_present());

    if let Some(bar) = bar(index) {
        // CAST: the low half on purpose.
        let writable = bar.address_bits() as u32 & !BASE_ADDRESS_FLAGS;
        return BarRegister {
            writable,
            fixed: bar.flag_bits(),
            value: bar.address as u32 & writable | bar.flag_bits(),
        };
    }
    let below = index.checked_sub(1).and_then(bar);
    if let Some(bar) = below.filter(|bar| bar.flags.contains(BarFlags::MEM64)) {
        // CAST: the high half fits.
        let writable = (bar.address_bits() >> 32) as u32;
        return BarRegister {
            writable,
            fixed: 0,
            value: (bar.address >> 32) as u32 & writable,
        };
    }
    BarRegister {
        writable: 0,
        fixed: 0,
        value: 0,
    }
}
