// SPDX-License-Identifier: GPL-2.0

//! The window plan: what the peer's windows are to show of this host.
//!
//! Three things have to be within the peer's reach: this host's RAM, for the control block and for the DMA of devices
//! it borrows; its message-interrupt range, for their interrupts; and the registers of devices it lends.

use core::fmt;

/// Where x86 takes message interrupts: start and length. The destination is in address bits 12 to 19 and the
/// remapping handle in bits 5 to 19, so a window has to show all of it.
pub const MSI_RANGE: (u64, u64) = (0xfee0_0000, 0x10_0000);

/// End of [`MSI_RANGE`].
const MSI_END: u64 = MSI_RANGE.0 + MSI_RANGE.1;

/// Granule of translations, bytes.
const PAGE: u64 = 4096;

/// A window of the peer, as this host's NTB driver describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Index among the peer's windows.
    pub index: u8,
    /// Largest translation, bytes.
    pub size: u64,
    /// Alignment of the translated address, bytes, a power of two; 0 means any.
    pub align: u64,
    /// Whether it only shows what is a power of two in size and at a multiple of that: hardware that takes the low bits of
    /// an address from the offset and the others from the translation, instead of adding them.
    pub natural: bool,
}

/// What the peer's windows are to show of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Index of the window that shows RAM.
    pub memory_window: u8,
    /// Bus address it starts at.
    pub memory_base: u64,
    /// Bytes translated.
    pub memory_size: u64,
    /// End of this host's RAM: what the memory window must show for borrowing.
    pub dma_needed: u64,
    /// What it can show, 0 if the control block lies where RAM is not. Less than `dma_needed`: this host can lend
    /// and talk, but not borrow without bouncing.
    pub dma_available: u64,
    /// Index of the window that shows device registers.
    pub mmio_window: u8,
    /// Its size, bytes.
    pub mmio_size: u64,
    /// Alignment its translation needs, bytes.
    pub mmio_align: u64,
    /// Whether it is [natural](Window::natural).
    pub mmio_natural: bool,
    /// Index of the window that shows [`MSI_RANGE`]; may be `memory_window`.
    pub msi_window: u8,
    /// Bus address that window starts at.
    pub msi_base: u64,
    /// Bytes translated.
    pub msi_size: u64,
    /// Where in that window [`MSI_RANGE`] starts.
    pub msi_offset: u64,
}

impl Plan {
    /// Bytes of this host's memory, from address 0, that the memory window shows; 0 if it starts elsewhere.
    pub fn shown(&self) -> u64 {
        match self.memory_base {
            0 => self.memory_size,
            _ => 0,
        }
    }

    /// The window that shows device registers.
    pub fn mmio(&self) -> Window {
        Window {
            index: self.mmio_window,
            size: self.mmio_size,
            align: self.mmio_align,
            natural: self.mmio_natural,
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The NTB has fewer windows than there are things to show.
    TooFewWindows {
        /// Windows of a size above 0.
        have: usize,
        /// Windows needed.
        need: usize,
    },
    /// No window but the memory window is large enough for the interrupt range.
    NoMsiWindow {
        /// Bytes needed.
        needed: u64,
        /// Bytes in the largest window left.
        available: u64,
    },
    /// The control block cannot be brought into the memory window.
    Control {
        /// Its bus address.
        address: u64,
        /// Its length, bytes.
        length: u64,
        /// Size of the memory window, bytes.
        available: u64,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooFewWindows { have, need } => {
                write!(f, "the NTB has {have} memory windows, {need} are needed")
            }
            Self::NoMsiWindow { needed, available } => write!(
                f,
                "no memory window left for the interrupt range: {needed} bytes needed, {available} available"
            ),
            Self::Control {
                address,
                length,
                available,
            } => write!(
                f,
                "memory window of {available} bytes cannot show the control block at {address:#x}, {length} bytes"
            ),
        }
    }
}

/// Something does not fit a window, or not the window as it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSpace {
    /// Bytes needed.
    pub needed: u64,
    /// Bytes there are. If that is enough, the window shows something else, and cannot be moved while that is in use.
    pub available: u64,
}

impl fmt::Display for NoSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, available } = self;
        write!(f, "{needed} bytes of window needed, {available} available")?;
        if needed <= available {
            f.write_str(
                ", which show others' BARs that are too far away, until these are returned",
            )?;
        }
        Ok(())
    }
}

/// `value` down to a multiple of `align`; 0 counts as 1.
fn round_down(value: u64, align: u64) -> u64 {
    // PANIC: a remainder is not above the value.
    value - value % align.max(1)
}

/// `value` up to a multiple of a page, `u64::MAX` if there is none.
fn page_up(value: u64) -> u64 {
    value.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
}

/// A window's alignment, but at least a page.
fn alignment(window: &Window) -> u64 {
    window.align.max(PAGE)
}

/// The smallest range of the kind that a natural window shows with `start` to `end` in it; `None` if there is none.
fn natural(start: u64, end: u64, align: u64) -> Option<Span> {
    let mut size = end
        .checked_sub(start)?
        .max(align)
        .checked_next_power_of_two()?;
    loop {
        let base = round_down(start, size);
        // PANIC: the base is not above the start.
        if end - base <= size {
            return Some(Span { base, size });
        }
        size = size.checked_mul(2)?;
    }
}

/// The range that a window shows with `start`, a multiple of its alignment, to `end` in it; `None` if there is none.
fn shown(window: &Window, start: u64, end: u64) -> Option<Span> {
    if window.natural {
        natural(start, end, alignment(window))
    } else {
        let size = end.checked_sub(start)?;
        Some(Span { base: start, size })
    }
    .filter(|span| span.size <= window.size)
}

/// As much of a window as can be used.
fn usable(window: &Window) -> Window {
    let size = match window.size.checked_ilog2() {
        Some(shift) if window.natural => 1 << shift,
        _ => window.size,
    };
    Window { size, ..*window }
}

/// Shares out the peer's windows.
///
/// `ram_end` is the end of this host's RAM as a bus address, `control` address and length of its control block.
///
/// - The largest window shows memory, from address 0, as far as RAM goes. If the control block is beyond its end,
///   it starts where it shows the control block instead: the channel works, borrowing does not.
/// - If the memory window reaches over [`MSI_RANGE`], that serves. Otherwise another window does, the one that shows
///   least besides the interrupt range.
/// - The largest window left shows device registers.
///
/// # Errors
///
/// [`PlanError`], with the numbers.
pub fn plan(windows: &[Window], ram_end: u64, control: (u64, u64)) -> Result<Plan, PlanError> {
    let usable = || windows.iter().map(usable).filter(|window| window.size > 0);
    let have = usable().count();
    let largest = |best: Option<Window>, window: Window| match best {
        Some(best) if best.size >= window.size => Some(best),
        _ => Some(window),
    };

    let Some(memory) = usable().fold(None, largest) else {
        return Err(PlanError::TooFewWindows { have, need: 2 });
    };
    let (memory_base, ram_end_shown) = place_memory(&memory, ram_end, control)?;

    let reach = memory_base.saturating_add(memory.size);
    let inside = memory_base <= MSI_RANGE.0 && MSI_END <= reach;
    let memory_end = if inside {
        ram_end_shown.max(MSI_END)
    } else {
        ram_end_shown
    };
    let memory_span = shown(&memory, memory_base, memory_end).ok_or(PlanError::Control {
        address: control.0,
        length: control.1,
        available: memory.size,
    })?;
    let need = if inside { 2 } else { 3 };
    if have < need {
        return Err(PlanError::TooFewWindows { have, need });
    }

    let others = || usable().filter(|window| window.index != memory.index);
    let (msi_window, msi) = if inside {
        (memory.index, memory_span)
    } else {
        others()
            .filter_map(|window| {
                let base = round_down(MSI_RANGE.0, alignment(&window));
                Some((window, shown(&window, base, MSI_END)?))
            })
            .min_by_key(|&(window, span)| (span.size, window.size))
            .map(|(window, span)| (window.index, span))
            .ok_or(PlanError::NoMsiWindow {
                needed: MSI_RANGE.1,
                available: others().map(|window| window.size).max().unwrap_or(0),
            })?
    };

    let Some(mmio) = others()
        .filter(|window| window.index != msi_window)
        .fold(None, largest)
    else {
        return Err(PlanError::TooFewWindows { have, need });
    };

    Ok(Plan {
        memory_window: memory.index,
        memory_base: memory_span.base,
        memory_size: memory_span.size,
        dma_needed: ram_end,
        dma_available: if memory_base == 0 || memory.size < ram_end {
            memory.size
        } else {
            0
        },
        mmio_window: mmio.index,
        mmio_size: mmio.size,
        mmio_align: alignment(&mmio),
        mmio_natural: mmio.natural,
        msi_window,
        msi_base: msi.base,
        msi_size: msi.size,
        // PANIC: either window starts at or below the range.
        msi_offset: MSI_RANGE.0 - msi.base,
    })
}

/// Start and end of what the memory window shows.
fn place_memory(
    window: &Window,
    ram_end: u64,
    control: (u64, u64),
) -> Result<(u64, u64), PlanError> {
    let (address, length) = control;
    let error = PlanError::Control {
        address,
        length,
        available: window.size,
    };
    let control_end = address.checked_add(length).ok_or(error)?;

    let base = if control_end <= window.size {
        0
    } else if window.natural {
        // All of it, then, and nothing has to be widened.
        round_down(address, window.size.max(alignment(window)))
    } else {
        round_down(address, alignment(window))
    };
    let reach = base.saturating_add(window.size);
    if control_end > reach {
        return Err(error);
    }
    let end = page_up(ram_end.max(control_end)).min(reach);
    Ok((base, end))
}

/// A range of bus addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

impl Span {
    /// Offset of a range in the span; `None` if it is not all inside.
    pub fn offset_of(&self, address: u64, length: u64) -> Option<u64> {
        let offset = address.checked_sub(self.base)?;
        (offset.checked_add(length)? <= self.size).then_some(offset)
    }
}

/// The pages from the first to the last of `bars` (address and length; those of length 0 do not count), as `window` can
/// show them: its index does not matter.
///
/// # Errors
///
/// [`NoSpace`] if they lie too far apart.
pub fn mmio_span(bars: impl Iterator<Item = (u64, u64)>, window: &Window) -> Result<Span, NoSpace> {
    let hull = bars
        .filter(|&(_, length)| length > 0)
        .map(|(address, length)| (address, address.checked_add(length)))
        .reduce(|(start, end), (bar_start, bar_end)| {
            let end = end.zip(bar_end).map(|(end, bar_end)| end.max(bar_end));
            (start.min(bar_start), end)
        });
    let Some((start, end)) = hull else {
        return Ok(Span::default());
    };
    let base = round_down(start, alignment(window));
    let all = |end: u64| {
        if window.natural {
            natural(base, page_up(end), alignment(window))
        } else {
            // PANIC: the base is not above the start, nor the start above the end.
            let size = page_up(end) - base;
            Some(Span { base, size })
        }
    };
    match end.and_then(all) {
        Some(span) if span.size <= window.size => Ok(span),
        span => Err(NoSpace {
            needed: span.map_or(u64::MAX, |span| span.size),
            available: window.size,
        }),
    }
}

/// What a window is to show with `span` in it, which it [can](mmio_span): as many of the `others` beside it (each address and
/// length of what belongs together, above 0) as fit and as `may_show` lets in, the nearest first.
pub fn widen(
    span: Span,
    others: impl Iterator<Item = (u64, u64)> + Clone,
    window: &Window,
    may_show: impl Fn(&Span) -> bool,
) -> Span {
    let mut widest = span;
    loop {
        let shown = widest;
        let wider = others
            .clone()
            .filter(|&(address, length)| shown.offset_of(address, length).is_none())
            .filter_map(|other| {
                mmio_span([(shown.base, shown.size), other].into_iter(), window).ok()
            })
            .filter(&may_show)
            .min_by_key(|span| span.size);
        // It shows one more each time.
        match wider {
            Some(wider) => widest = wider,
            None => return widest,
        }
    }
}

#[cfg(test)]
mod tests;
