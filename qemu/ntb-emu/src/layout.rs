// SPDX-License-Identifier: GPL-2.0

//! Which BAR is what: BAR 0 holds registers, then come the three memory windows.

use crate::amd::WINDOWS;

/// Bytes of BAR 0.
pub const REGISTERS_SIZE: u64 = 0x4000;
/// Where the MSI-X table is in BAR 0. QEMU keeps the table itself.
pub const MSIX_TABLE_OFFSET: u64 = 0x2000;
/// Where the pending bits are in BAR 0.
pub const MSIX_PENDING_OFFSET: u64 = 0x3000;
/// Index of the configuration space among the regions.
pub const CONFIG_REGION: u32 = 7;
/// Regions: six BARs, expansion ROM, configuration space, VGA.
pub const REGIONS: u32 = 9;

/// BAR of each window, as `ntb_hw_amd` finds it.
const WINDOW_BARS: [u32; WINDOWS] = [1, 2, 4];

/// How a BAR announces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarType {
    /// 32-bit memory.
    Memory32,
    /// 64-bit prefetchable memory.
    Prefetchable64,
}

/// A BAR.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Its number.
    pub index: usize,
    /// Bytes, a power of two.
    pub size: u64,
    /// Its type.
    pub kind: BarType,
}

/// What a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// BAR 0.
    Registers,
    /// A memory window, by its number.
    Window(usize),
    /// Configuration space.
    Config,
    /// Nothing.
    Empty,
}

/// The regions of the function.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    windows: [u64; WINDOWS],
}

impl Layout {
    /// A layout with windows of these sizes in bytes, each a power of two.
    pub fn new(windows: [u64; WINDOWS]) -> Self {
        Self { windows }
    }

    /// What region an index stands for, and its size in bytes; `None` if there is no such index.
    pub fn region(&self, index: u32) -> Option<(Region, u64)> {
        if index >= REGIONS {
            return None;
        }
        if let Some(window) = WINDOW_BARS.iter().position(|bar| *bar == index) {
            return Some((Region::Window(window), self.windows.get(window).copied()?));
        }
        Some(match index {
            0 => (Region::Registers, REGISTERS_SIZE),
            CONFIG_REGION => (Region::Config, crate::pci_config::SIZE as u64),
            _ => (Region::Empty, 0),
        })
    }

    /// Size of a window in bytes.
    pub fn window(&self, window: usize) -> u64 {
        self.windows.get(window).copied().unwrap_or(0)
    }

    /// The BARs.
    pub fn bars(&self) -> impl Iterator<Item = Bar> + '_ {
        let registers = Bar {
            index: 0,
            size: REGISTERS_SIZE,
            kind: BarType::Memory32,
        };
        let windows = WINDOW_BARS
            .iter()
            .zip(&self.windows)
            .map(|(bar, size)| Bar {
                index: *bar as usize,
                size: *size,
                kind: if *bar == 1 {
                    BarType::Memory32
                } else {
                    BarType::Prefetchable64
                },
            });
        std::iter::once(registers).chain(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        let layout = Layout::new([1, 2, 4]);
        let expected = [
            Some((Region::Registers, 0x4000)),
            Some((Region::Window(0), 1)),
            Some((Region::Window(1), 2)),
            Some((Region::Empty, 0)),
            Some((Region::Window(2), 4)),
            Some((Region::Empty, 0)),
            Some((Region::Empty, 0)),
            Some((Region::Config, 4096)),
            Some((Region::Empty, 0)),
            None,
        ];
        for (index, expected) in (0..).zip(expected) {
            assert_eq!(layout.region(index), expected, "{index}");
        }
        assert_eq!(layout.region(u32::MAX), None);
    }
}
