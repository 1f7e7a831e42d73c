// SPDX-License-Identifier: GPL-2.0

//! Which BAR is what. BAR 0 always holds registers; the others are memory windows.

/// Index of the configuration space among the regions.
pub const CONFIG_REGION: u32 = 7;
/// Regions: six BARs, expansion ROM, configuration space, VGA.
pub const REGIONS: u32 = 9;

/// How a BAR announces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarType {
    /// 32-bit memory.
    Memory32,
    /// 64-bit memory.
    Memory64,
    /// 64-bit prefetchable memory.
    Prefetchable64,
}

/// A BAR that is a memory window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowBar {
    /// Its number, 1 to 5.
    pub index: u32,
    /// Bytes, a power of two.
    pub size: u64,
    /// Its type.
    pub kind: BarType,
}

/// Where the interrupt vectors are in BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// How many there are, at most 64.
    pub vectors: usize,
    /// Offset of the table. QEMU keeps the table itself.
    pub table: u64,
    /// Offset of the pending bits.
    pub pending: u64,
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

/// The regions of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of BAR 0, a power of two.
    pub registers: u64,
    /// Type of BAR 0.
    pub registers_kind: BarType,
    /// The windows, in the order of their numbers.
    pub windows: Vec<WindowBar>,
    /// The interrupt vectors.
    pub msix: Msix,
}

impl Layout {
    /// What region an index stands for, and its size in bytes; `None` if there is no such index.
    pub fn region(&self, index: u32) -> Option<(Region, u64)> {
        let window = self.windows.iter().position(|bar| bar.index == index);
        if let Some(window) = window {
            return Some((Region::Window(window), self.window(window)));
        }
        match index {
            0 => Some((Region::Registers, self.registers)),
            CONFIG_REGION => Some((Region::Config, crate::pci_config::SIZE as u64)),
            _ if index < REGIONS => Some((Region::Empty, 0)),
            _ => None,
        }
    }

    /// Size of a window in bytes; 0 if there is no such window.
    pub fn window(&self, window: usize) -> u64 {
        self.windows.get(window).map_or(0, |bar| bar.size)
    }

    /// Number, size and type of each BAR.
    pub fn bars(&self) -> impl Iterator<Item = (u32, u64, BarType)> + '_ {
        let windows = self
            .windows
            .iter()
            .map(|bar| (bar.index, bar.size, bar.kind));
        std::iter::once((0, self.registers, self.registers_kind)).chain(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        let bar = |index, size| WindowBar {
            index,
            size,
            kind: BarType::Prefetchable64,
        };
        let layout = Layout {
            registers: 0x4000,
            registers_kind: BarType::Memory32,
            windows: vec![bar(1, 1), bar(2, 2), bar(4, 4)],
            msix: Msix {
                vectors: 1,
                table: 0x2000,
                pending: 0x3000,
            },
        };
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
        assert_eq!(layout.window(3), 0);
    }
}
