// SPDX-License-Identifier: GPL-2.0

//! The configuration space of one host's NTB function.
//!
//! QEMU emulates most of what guests do to it (BAR addresses, MSI-X enable) and takes identity, BAR types and
//! capabilities from here. It hands every write on, from which we learn whether the function may master the bus.

use crate::layout::{BarType, Layout};

/// Bytes of configuration space.
pub const SIZE: usize = 4096;

const COMMAND: usize = 0x04;
const COMMAND_BITS: u16 = 0x0546;
const BUS_MASTER: u16 = 1 << 2;
const BAR0: usize = 0x10;
const EXPRESS: usize = 0x40;
const MSIX: usize = 0x80;

/// What a function says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor identifier, also of the subsystem.
    pub vendor: u16,
    /// Device identifier, also of the subsystem.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code, 24 bits.
    pub class: u32,
}

/// Configuration space: values, and which bits of each byte can be written.
#[derive(Debug)]
pub struct ConfigSpace {
    values: Vec<u8>,
    writable: Vec<u8>,
    reset: Vec<u8>,
}

impl ConfigSpace {
    /// Configuration space of a function with these BARs.
    pub fn new(identity: &Identity, layout: &Layout) -> Self {
        let Identity {
            vendor,
            device,
            revision,
            class,
        } = *identity;
        let mut space = Self {
            values: vec![0; SIZE],
            writable: vec![0; SIZE],
            reset: Vec::new(),
        };
        space.put(0x00, &vendor.to_le_bytes(), &[]);
        space.put(0x02, &device.to_le_bytes(), &[]);
        space.put(COMMAND, &[0, 0], &COMMAND_BITS.to_le_bytes());
        // There is a capability list.
        space.put(0x06, &0x0010u16.to_le_bytes(), &[]);
        space.put(0x08, &(class << 8 | u32::from(revision)).to_le_bytes(), &[]);
        // Cache line size and interrupt line are for software's use.
        space.put(0x0c, &[0], &[0xff]);
        space.put(0x3c, &[0], &[0xff]);
        for (index, size, kind) in layout.bars() {
            let mask = !(size - 1);
            let offset = BAR0 + 4 * index as usize;
            match kind {
                BarType::Memory32 => space.put(offset, &[0; 4], &low(mask).to_le_bytes()),
                BarType::Memory64 => space.put(offset, &0x04u64.to_le_bytes(), &mask.to_le_bytes()),
                BarType::Prefetchable64 => {
                    space.put(offset, &0x0cu64.to_le_bytes(), &mask.to_le_bytes())
                }
            }
        }
        space.put(0x2c, &vendor.to_le_bytes(), &[]);
        space.put(0x2e, &device.to_le_bytes(), &[]);
        space.put(0x34, &[EXPRESS as u8], &[]);
        space.express();
        space.msix(layout);
        space.reset = space.values.clone();
        space
    }

    /// Adds bytes of the model's own: their value after a reset, and which bits can be written. To be called before the
    /// space is used.
    pub fn add(&mut self, offset: usize, value: &[u8], writable: &[u8]) {
        self.put(offset, value, writable);
        self.reset.clone_from(&self.values);
    }

    /// The address that the host has given to a 64-bit BAR, as it was last written.
    pub fn bar64(&self, index: u32) -> u64 {
        let mut data = [0; 8];
        self.read(BAR0 as u64 + 4 * u64::from(index), &mut data);
        u64::from_le_bytes(data) & !0xf
    }

    /// Reads; what lies outside reads as zero.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        for (byte, index) in data.iter_mut().zip(indices(offset)) {
            *byte = index
                .and_then(|index| self.values.get(index))
                .copied()
                .unwrap_or(0);
        }
    }

    /// Writes what can be written.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (byte, index) in data.iter().zip(indices(offset)) {
            let Some(index) = index else { return };
            if let (Some(value), Some(mask)) =
                (self.values.get_mut(index), self.writable.get(index))
            {
                *value = (*value & !mask) | (byte & mask);
            }
        }
    }

    /// Back to the values of power-on.
    pub fn reset(&mut self) {
        self.values.clone_from(&self.reset);
    }

    /// Whether the function may access the host's memory.
    pub fn bus_master(&self) -> bool {
        let mut command = [0; 2];
        self.read(COMMAND as u64, &mut command);
        u16::from_le_bytes(command) & BUS_MASTER != 0
    }

    /// PCI Express capability: an endpoint on 16 lanes at 8 GT/s, which is what the link is reported as.
    fn express(&mut self) {
        let link: u32 = 3 | 16 << 4;
        self.put(EXPRESS, &[0x10, MSIX as u8], &[]);
        self.put(EXPRESS + 0x02, &0x0002u16.to_le_bytes(), &[]);
        // Role-based errors, payloads up to 256 bytes.
        self.put(EXPRESS + 0x04, &0x8001u32.to_le_bytes(), &[]);
        self.put(
            EXPRESS + 0x08,
            &0x2810u16.to_le_bytes(),
            &0x7fffu16.to_le_bytes(),
        );
        self.put(EXPRESS + 0x0c, &link.to_le_bytes(), &[]);
        self.put(EXPRESS + 0x10, &[0, 0], &0x01c3u16.to_le_bytes());
        self.put(EXPRESS + 0x12, &low16(link).to_le_bytes(), &[]);
        self.put(EXPRESS + 0x28, &[0, 0], &0x001fu16.to_le_bytes());
        self.put(EXPRESS + 0x2c, &0x0eu32.to_le_bytes(), &[]);
        self.put(EXPRESS + 0x30, &[3, 0], &[0x0f, 0]);
    }

    fn msix(&mut self, layout: &Layout) {
        let msix = layout.msix;
        // CAST: at most 64.
        let control = low16(msix.vectors as u32 - 1);
        self.put(MSIX, &[0x11, 0], &[]);
        self.put(MSIX + 2, &control.to_le_bytes(), &0xc000u16.to_le_bytes());
        // Table and pending bits are in BAR 0.
        self.put(MSIX + 4, &low(msix.table).to_le_bytes(), &[]);
        self.put(MSIX + 8, &low(msix.pending).to_le_bytes(), &[]);
    }

    fn put(&mut self, offset: usize, value: &[u8], writable: &[u8]) {
        for (to, from) in self.values.iter_mut().skip(offset).zip(value) {
            *to = *from;
        }
        for (to, from) in self.writable.iter_mut().skip(offset).zip(writable) {
            *to = *from;
        }
    }
}

fn indices(offset: u64) -> impl Iterator<Item = Option<usize>> {
    (0..).map(move |i: u64| usize::try_from(offset.checked_add(i)?).ok())
}

// CAST: only the low half is wanted.
fn low(value: u64) -> u32 {
    value as u32
}

// CAST: only the low half is wanted.
fn low16(value: u32) -> u16 {
    value as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Msix, WindowBar};

    fn space() -> ConfigSpace {
        let bar = |index, size, kind| WindowBar { index, size, kind };
        let identity = Identity {
            vendor: 0x1022,
            device: 0x145b,
            revision: 0,
            class: 0x06_8000,
        };
        let layout = Layout {
            registers: 0x4000,
            registers_kind: BarType::Memory32,
            windows: vec![
                bar(1, 1 << 20, BarType::Memory32),
                bar(2, 64 << 20, BarType::Prefetchable64),
                bar(4, 8 << 30, BarType::Prefetchable64),
            ],
            msix: Msix {
                vectors: 24,
                table: 0x2000,
                pending: 0x3000,
            },
        };
        ConfigSpace::new(&identity, &layout)
    }

    fn read32(space: &ConfigSpace, offset: u64) -> u32 {
        let mut data = [0; 4];
        space.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn identity() {
        let space = space();
        assert_eq!(read32(&space, 0), 0x145b_1022);
        assert_eq!(read32(&space, 8), 0x0680_0000);
        assert_eq!(read32(&space, 0x2c), 0x145b_1022);
    }

    #[test]
    fn bars_have_their_types_and_sizes() {
        let mut space = space();
        let bars = |space: &ConfigSpace| {
            (0..6)
                .map(|i| read32(space, 0x10 + 4 * i))
                .collect::<Vec<_>>()
        };
        assert_eq!(bars(&space), [0, 0, 0xc, 0, 0xc, 0]);
        space.write(0x10, &[0xff; 24]);
        assert_eq!(
            bars(&space),
            [
                0xffff_c000,
                0xfff0_0000,
                0xfc00_000c,
                0xffff_ffff,
                0x0000_000c,
                0xffff_fffe
            ]
        );
        space.write(0x18, &0xfc_4000_0000u64.to_le_bytes());
        assert_eq!(space.bar64(2), 0xfc_4000_0000);
        space.reset();
        assert_eq!(bars(&space), [0, 0, 0xc, 0, 0xc, 0]);
    }

    #[test]
    fn capabilities_are_a_list_that_ends() {
        let space = space();
        let mut found = Vec::new();
        let mut at = read32(&space, 0x34) & 0xff;
        while at != 0 {
            let head = read32(&space, at.into());
            found.push(head & 0xff);
            at = head >> 8 & 0xff;
        }
        assert_eq!(found, [0x10, 0x11]);
        assert_eq!(read32(&space, 0x80) >> 16, 23);
        assert_eq!(read32(&space, 0x84), 0x2000);
        assert_eq!(read32(&space, 0x50) >> 16, 0x103, "x16 at 8 GT/s");
    }

    #[test]
    fn bus_master_follows_the_command_register() {
        let mut space = space();
        assert!(!space.bus_master());
        space.write(4, &[0xff, 0xff]);
        assert!(space.bus_master());
        assert_eq!(read32(&space, 4), 0x0010_0546);
        space.reset();
        assert!(!space.bus_master());
    }

    #[test]
    fn what_is_outside_is_nothing() {
        let mut space = space();
        let mut data = [1; 8];
        space.read(SIZE as u64 - 4, &mut data);
        assert_eq!(data, [0; 8]);
        space.read(u64::MAX - 2, &mut data);
        space.write(u64::MAX - 2, &[1; 8]);
        space.write(0, &[0; 4]);
        assert_eq!(read32(&space, 0), 0x145b_1022);
    }
}
