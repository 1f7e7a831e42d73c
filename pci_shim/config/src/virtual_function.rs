// SPDX-License-Identifier: GPL-2.0

//! What an SR-IOV virtual function leaves to its physical function.

use crate::regs::{
    CLASS_REVISION,
    COMMAND,
    COMMAND_MEMORY,
    VENDOR_ID, //
};

/// The registers of a virtual function that do not say what a function standing alone would (SR-IOV 1.1, 3.4.1): vendor
/// and device id read as all ones, the memory enable bit as 0 although it always decodes. The class is that of the
/// physical function, so it is taken from where the ids are. Its base address registers read as 0; those are told to
/// [`present`](crate::present) for any device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualFunction {
    /// Vendor id, which is the physical function's.
    pub vendor: u16,
    /// Device id that the physical function has for its virtual functions.
    pub device: u16,
    /// Class code with programming interface, 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

impl VirtualFunction {
    /// The dword at `at`, of which the function reads as `value`, as it would read of a function standing alone.
    ///
    /// A function that does not answer still reads as all ones in Command and Status.
    pub fn complete(&self, at: u16, value: u32) -> u32 {
        match usize::from(at) {
            VENDOR_ID => u32::from(self.device) << 16 | u32::from(self.vendor),
            COMMAND => value | u32::from(COMMAND_MEMORY),
            CLASS_REVISION => self.class << 8 | u32::from(self.revision),
            _ => value,
        }
    }
}
