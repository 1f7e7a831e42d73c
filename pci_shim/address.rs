// SPDX-License-Identifier: GPL-2.0

//! The address of a PCI function.

use kernel::fmt;

/// The address of a PCI function, printed as `DDDD:BB:DD.F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// PCI domain (segment); those of fake host bridges begin at 0x10000.
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.device, self.function
        )
    }
}
