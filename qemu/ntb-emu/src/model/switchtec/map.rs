// SPDX-License-Identifier: GPL-2.0

//! What a partition's BARs show: a control block's entries, once they are in effect.

use super::gas::{Bank, Role};
use super::{LUT_SHIFT, LUT_SIZE, WINDOWS};
use crate::model::{Blocked, Opening};

/// The number of the BAR that is each window.
pub(super) const BARS: [usize; WINDOWS] = [2, 4];

/// BAR_VALID, DIR_WIN_EN and LUT_WIN_EN in a BAR's control register.
pub(super) const VALID: u64 = 1 << 0;
pub(super) const DIRECT: u64 = 1 << 4;
pub(super) const LUT: u64 = 1 << 5;
/// LUT_EN in a LUT entry, REQ_ID_EN in a requester's.
pub(super) const ENABLED: u64 = 1 << 0;

/// Bits of an entry that are not address.
const LUT_LOW: u64 = LUT_SIZE - 1;
const PAGE_LOW: u64 = 0xfff;

/// What a partition's BARs can show.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Their sizes in bytes.
    pub(super) sizes: [u64; WINDOWS],
    /// Whether the second one shows the peer's memory from 0 on, whatever is written.
    pub(super) fixed: bool,
    /// How many LUT entries the first one has.
    pub(super) luts: u64,
    /// The only partition that they can lead to.
    pub(super) target: u64,
}

/// Why entries cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The first wrong one is a BAR's, by its number.
    Bar(usize),
    /// The first wrong one is a LUT entry, by its number.
    Lut(usize),
}

/// A direct window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Direct {
    /// Where it begins in its BAR, a multiple of `1 << shift`.
    start: u64,
    /// Bytes.
    size: u64,
    /// The address that it shows, a multiple of `1 << shift`.
    address: u64,
    /// How many bits of an address come from the offset.
    shift: u32,
}

/// What a partition's BARs show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    luts: Vec<Option<u64>>,
    direct: [Option<Direct>; WINDOWS],
    requesters: bool,
}

impl Map {
    /// Understands the entries of a control block.
    ///
    /// # Errors
    ///
    /// They cannot be had.
    pub(super) fn new(entries: &Bank, frame: &Frame) -> Result<Self, Fault> {
        let mut map = Self {
            requesters: entries
                .all(Role::Requester)
                .iter()
                .any(|requester| requester & ENABLED != 0),
            ..Self::default()
        };
        for (bar, control) in entries.all(Role::BarControl).iter().enumerate() {
            let window = BARS.iter().position(|number| *number == bar);
            match window {
                Some(window) => map.add(entries, frame, window, bar, *control)?,
                None if control & (DIRECT | LUT) != 0 => return Err(Fault::Bar(bar)),
                None => {}
            }
        }
        Ok(map)
    }

    /// Adds a window, whose BAR has this control register.
    fn add(
        &mut self,
        entries: &Bank,
        frame: &Frame,
        window: usize,
        bar: usize,
        control: u64,
    ) -> Result<(), Fault> {
        let room = frame.sizes.get(window).copied().unwrap_or(0);
        let mut start = 0;
        if control & LUT != 0 {
            let shift = control >> 8 & 0x3f;
            let count = (control >> 14 & 0x1ff) + 1;
            if window != 0 || shift != u64::from(LUT_SHIFT) || count > frame.luts {
                return Err(Fault::Bar(bar));
            }
            start = count << LUT_SHIFT;
            for (index, entry) in (0..count).zip(entries.all(Role::LutEntry)) {
                // CAST: at most 512.
                let fault = Fault::Lut(index as usize);
                self.luts.push(lut(*entry, frame).ok_or(fault)?);
            }
        }
        if control & DIRECT != 0 {
            let fixed = frame.fixed && window == 1;
            let direct = direct(entries, bar, start, frame.target)
                .filter(|direct| direct.size <= room.saturating_sub(start))
                .filter(|direct| !fixed || direct.address == 0);
            if let Some(slot) = self.direct.get_mut(window) {
                *slot = Some(direct.ok_or(Fault::Bar(bar))?);
            }
        }
        Ok(())
    }

    /// Where an access goes in the peer's address space, whoever is there.
    ///
    /// # Errors
    ///
    /// It goes nowhere.
    pub(super) fn translate(
        &self,
        window: usize,
        offset: u64,
        length: u64,
    ) -> Result<u64, Blocked> {
        let found = self.translated(window, offset, length);
        let address = found.ok_or(Blocked::Closed)?;
        if !self.requesters {
            return Err(Blocked::Requester);
        }
        let end = address.checked_add(length);
        end.map(|_| address).ok_or(Blocked::Address)
    }

    fn translated(&self, window: usize, offset: u64, length: u64) -> Option<u64> {
        if window == 0 {
            let entry = usize::try_from(offset >> LUT_SHIFT).ok()?;
            if let Some(entry) = self.luts.get(entry) {
                let low = offset & LUT_LOW;
                return entry
                    .filter(|_| low.checked_add(length).is_some_and(|end| end <= LUT_SIZE))
                    .map(|address| address | low);
            }
        }
        let direct = self.direct.get(window)?.as_ref()?;
        let within = offset.checked_sub(direct.start)?;
        let low = within & direct.low();
        // An access does not reach from one repetition into the next.
        let fits = within.checked_add(length)? <= direct.size
            && low.checked_add(length)? <= direct.low().checked_add(1)?;
        fits.then_some(direct.address | low)
    }

    /// The open parts of a window.
    pub(super) fn openings(&self, window: usize) -> Vec<Opening> {
        let mut openings = Vec::new();
        if window == 0 {
            for (offset, entry) in (0..).step_by(1 << LUT_SHIFT).zip(&self.luts) {
                openings.extend(entry.map(|address| Opening {
                    offset,
                    size: LUT_SIZE,
                    address,
                }));
            }
        }
        if let Some(Some(direct)) = self.direct.get(window) {
            // A size is less than twice the repetition: there are at most two.
            let repeat = direct.low().saturating_add(1);
            let first = direct.size.min(repeat);
            for (offset, size) in [(0, first), (first, direct.size - first)] {
                if size > 0 {
                    openings.push(Opening {
                        offset: direct.start + offset,
                        size,
                        address: direct.address,
                    });
                }
            }
        }
        openings
    }
}

impl Direct {
    /// The bits of an address that come from the offset.
    fn low(&self) -> u64 {
        (1 << self.shift) - 1
    }
}

/// The address that a LUT entry shows, if it is enabled; `None` if it cannot be had.
fn lut(entry: u64, frame: &Frame) -> Option<Option<u64>> {
    if entry & ENABLED == 0 {
        return Some(None);
    }
    let target = (entry & LUT_LOW) >> 1;
    (target == frame.target).then_some(Some(entry & !LUT_LOW))
}

/// The direct window of a BAR, from `start` on; `None` if it cannot be had.
fn direct(entries: &Bank, bar: usize, start: u64, target: u64) -> Option<Direct> {
    let low = entries.get(Role::WindowSize, bar);
    let size = low & !PAGE_LOW | entries.get(Role::WindowSizeHigh, bar) << 32;
    // CAST: 6 bits.
    let shift = (low & 0x3f) as u32;
    let entry = entries.get(Role::WindowTarget, bar);
    let address = entry & !PAGE_LOW;
    let direct = Direct {
        start,
        size,
        address,
        shift,
    };
    let fits = size.checked_ilog2() == Some(shift)
        && low & PAGE_LOW == u64::from(shift)
        && entry & PAGE_LOW == target
        && address & direct.low() == 0
        && start & direct.low() == 0;
    fits.then_some(direct)
}

#[cfg(test)]
mod tests;
