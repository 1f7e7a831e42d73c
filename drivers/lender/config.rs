// SPDX-License-Identifier: GPL-2.0

//! A device's configuration space, read as that of a function that stands alone.

use kernel::{
    pci::Device,
    prelude::*, //
};
use ntb::pci;

/// How a dword of a device is read.
pub(crate) type Read = fn(&Device, u16) -> u32;

/// Reads dwords of a device. What a virtual function leaves to its physical function is filled in.
pub(crate) fn reader(device: &Device, read: Read) -> impl Fn(u16) -> u32 + '_ {
    let virtual_function = pci::virtual_function(device);
    move |at| {
        let value = read(device, at);
        match &virtual_function {
            Some(function) => function.complete(at, value),
            None => value,
        }
    }
}

/// Reads the whole space.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn whole(device: &Device, read: Read) -> Result<KVec<u8>> {
    let mut space = KVec::from_elem(0u8, pci::config_size(device), GFP_KERNEL)?;
    fill(0, &mut space, reader(device, read));
    Ok(space)
}

/// Fills `bytes` with the space from `offset` on, a dword at a time.
fn fill(offset: usize, bytes: &mut [u8], read: impl Fn(u16) -> u32) {
    let mut held = None;
    for (at, byte) in (offset..).zip(bytes) {
        // CAST: Offsets are below 4096.
        let dword = (at & !3) as u16;
        let value = match held {
            Some((place, value)) if place == dword => value,
            _ => read(dword),
        };
        held = Some((dword, value));
        // CAST: The one byte is meant.
        *byte = (value >> (at % 4 * 8)) as u8;
    }
}
