// SPDX-License-Identifier: GPL-2.0

//! Configuration spaces as devices have them, for tests.

use crate::{
    Bar,
    BarFlags,
    CONFIG_SIZE,
    EXTENDED_SIZE, //
};

/// A configuration space under construction.
#[derive(Clone)]
pub(crate) struct Space {
    pub(crate) bytes: Vec<u8>,
    pub(crate) bars: [Bar; 6],
    /// Where the offset of the next capability goes.
    link: usize,
    /// The latest extended capability.
    extended: Option<usize>,
}

impl Space {
    /// A device without capabilities.
    pub(crate) fn new(vendor: u16, device: u16, class: u32) -> Self {
        let mut space = Self {
            bytes: vec![0; EXTENDED_SIZE],
            bars: [Bar::default(); 6],
            link: 0x34,
            extended: None,
        };
        space.put16(0x00, vendor);
        space.put16(0x02, device);
        space.put32(0x08, class << 8 | 2);
        space.put16(0x2c, 0x1af4);
        space.put16(0x2e, 0x1100);
        space
    }

    pub(crate) fn put8(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    pub(crate) fn put16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn put32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn get16(&self, at: usize) -> u16 {
        get16(&self.bytes, at)
    }

    /// A memory register at `address`, in the space and in `bars`.
    pub(crate) fn bar(&mut self, index: usize, size: u64, flags: BarFlags, address: u64) {
        self.bars[index] = Bar {
            size,
            flags,
            address,
        };
        let wide = flags.contains(BarFlags::MEM64);
        let bits = if wide { 4 } else { 0 } | u32::from(flags.contains(BarFlags::PREFETCH)) << 3;
        self.put32(0x10 + index * 4, address as u32 | bits);
        if wide {
            self.put32(0x14 + index * 4, (address >> 32) as u32);
        }
    }

    /// Puts a capability at the end of the list; `body` is what follows id and pointer.
    pub(crate) fn capability(&mut self, at: usize, id: u8, body: &[u8]) {
        let status = self.get16(0x06);
        self.put16(0x06, status | 0x10);
        self.put8(self.link, at as u8);
        self.put8(at, id);
        self.put8(at + 1, 0);
        self.bytes[at + 2..at + 2 + body.len()].copy_from_slice(body);
        self.link = at + 1;
    }

    /// Puts an extended capability at the end of the list.
    pub(crate) fn extended(&mut self, at: usize, id: u16, version: u8, body: &[u8]) {
        if let Some(last) = self.extended {
            let header = get32(&self.bytes, last) & 0x000f_ffff;
            self.put32(last, header | (at as u32) << 20);
        }
        self.put32(at, u32::from(id) | u32::from(version) << 16);
        self.bytes[at + 4..at + 4 + body.len()].copy_from_slice(body);
        self.extended = Some(at);
    }

    /// Only the first 256 bytes, as a conventional device has.
    pub(crate) fn conventional(mut self) -> Self {
        self.bytes.truncate(CONFIG_SIZE);
        self
    }
}

pub(crate) fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// 58 bytes of a PCI Express capability of the second version: an endpoint with FLR, as QEMU makes them.
pub(crate) fn express() -> [u8; 0x3a] {
    let mut body = [0; 0x3a];
    let mut put = |at: usize, value: u32| {
        body[at - 2..at + 2].copy_from_slice(&value.to_le_bytes());
    };
    put(0x04, 0x1000_8fd8); // DEVCAP: FLR, role-based errors, phantom functions, extended tags
    put(0x08, 0x0009_2810); // DEVSTA: unsupported request, correctable error; DEVCTL: MRRS 512, no snoop, relaxed
    put(0x0c, 0x0000_0c11); // LNKCAP
    put(0x10, 0x1011_0040); // LNKSTA, LNKCTL: common clock
    put(0x14, 0xdead_beef); // SLTCAP and what else is a port's: not to be seen
    put(0x20, 0xdead_beef);
    put(0x24, 0x000d_393f); // DEVCAP2: ranges, time-out disable, ARI, LTR, TPH, OBFF
    put(0x28, 0x0000_0429); // DEVCTL2: time-out value 9, ARI, LTR
    put(0x2c, 0x0000_000e); // LNKCAP2
    put(0x30, 0x0001_0003); // LNKSTA2, LNKCTL2
    put(0x34, 0xdead_beef); // SLTCAP2
    body[0] = 0x02; // flags: version 2, endpoint
    body
}

/// QEMU's `-device nvme`: one 64-bit register, MSI-X, PCI Express, power management; ARI in the extended space.
pub(crate) fn nvme() -> Space {
    let mut space = Space::new(0x1b36, 0x0010, 0x01_0802);
    space.put16(0x04, 0x0507); // I/O, memory, master, SERR#, no INTx
    space.put16(0x06, 0x0008); // an interrupt is pending
    space.put8(0x0c, 0x10);
    space.put8(0x3c, 0x0b);
    space.put8(0x3d, 0x01);
    space.bar(0, 0x4000, BarFlags::MEM64, 0xfe_0000_0000);
    // 65 vectors, off; table in BAR 0 at 0x2000, pending bits at 0x3000.
    space.capability(
        0x40,
        0x11,
        &[0x40, 0x00, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0],
    );
    space.capability(0x80, 0x10, &express());
    // PME from D3hot and D0, D1; PMCSR: PME status and enable, D0.
    space.capability(0x60, 0x01, &[0x03, 0xca, 0x00, 0x81, 0xff, 0xff]);
    space.extended(0x100, 0x0e, 1, &[0, 0, 0, 0]);
    space
}

/// An 82576 network function: 32-bit registers, one I/O register, MSI with masks, VPD; AER, serial number, ARI, SR-IOV.
pub(crate) fn igb() -> Space {
    let mut space = Space::new(0x8086, 0x10c9, 0x02_0000);
    space.put16(0x04, 0x0406);
    space.put8(0x0e, 0x80); // one of several functions
    space.put8(0x0f, 0x80); // says that it has a self-test
    space.put32(0x28, 0x1234_5678);
    space.put32(0x30, 0xfe00_0001);
    space.put8(0x3d, 0x01);
    space.bar(0, 0x2_0000, BarFlags::empty(), 0xfea0_0000);
    space.bar(1, 0x40_0000, BarFlags::empty(), 0xfe40_0000);
    space.put32(0x18, 0x0000_c001); // I/O
    space.bar(3, 0x4000, BarFlags::PREFETCH, 0xfeb0_0000);
    space.capability(0x40, 0x01, &[0x23, 0xc8, 0x08, 0x20, 0, 0]);
    // One of one message, 64 bits wide, maskable, extended data; left on.
    space.capability(
        0x50,
        0x05,
        &[
            0x81, 0x07, 0x00, 0x80, 0xe0, 0xfe, 0x01, 0, 0, 0, 0x41, 0, 0x99, 0x99, 1, 0, 0, 0, 2,
            0, 0, 0,
        ],
    );
    space.capability(0x70, 0x11, &[0x09, 0x80, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0]);
    space.capability(0xa0, 0x10, &express());
    space.capability(0xe0, 0x03, &[0, 0x80, 1, 2, 3, 4]);
    space.extended(0x100, 0x01, 1, &[0xff; 0x2c]);
    space.extended(0x140, 0x03, 1, &[1, 2, 3, 4, 5, 6, 7, 8]);
    space.extended(0x150, 0x0e, 1, &[0, 1, 0, 0]);
    space.extended(0x160, 0x10, 1, &[0x77; 0x3c]);
    space
}
