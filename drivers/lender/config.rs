// SPDX-License-Identifier: GPL-2.0

//! A device's configuration space, read as that of a function that stands alone; and the two views of it in sysfs.

use crate::{
    intx,
    registry, //
};
use devlend_config::{
    present,
    Bar,
    Policy, //
};
use devlend_protocol::Address;
use kernel::{
    pci::Device,
    prelude::*,
    sync::aref::ARef, //
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

/// What the views need of an offer, so that nothing is locked while they read: a reader waits while the device is being reset.
///
/// The device stays until the reader is done: its files are removed before it is let go of.
struct Subject {
    device: ARef<Device>,
    bars: [Bar; 6],
    /// What its borrower has begun with.
    lent: Option<(Policy, KVec<u8>)>,
}

impl Subject {
    fn of(address: Address) -> Result<Self> {
        let mut registry = registry::lock();
        let offer = registry.find(address).ok_or(ENODEV)?;
        let lent = match &offer.active {
            Some(active) => {
                let mut image = KVec::with_capacity(active.image.len(), GFP_KERNEL)?;
                image.extend_from_slice(&active.image, GFP_KERNEL)?;
                Some((*active.policy, image))
            }
            None => None,
        };
        Ok(Self {
            device: offer.device.clone(),
            bars: offer.bars,
            lent,
        })
    }
}

/// What the device holds.
pub(crate) fn raw(address: Address, offset: usize, bytes: &mut [u8]) -> Result {
    let device = Subject::of(address)?.device;
    fill(offset, bytes, |at| pci::read_config_patiently(&device, at));
    Ok(())
}

/// What the device's borrower sees, or would see.
///
/// # Errors
///
/// `EIO`: the device does not answer, or its space cannot be shown to a borrower.
pub(crate) fn emulated(address: Address, offset: usize, bytes: &mut [u8]) -> Result {
    let Subject { device, bars, lent } = Subject::of(address)?;
    let image = match lent {
        Some((policy, mut image)) => {
            policy.refresh(&mut image, reader(&device, pci::read_config_patiently));
            image
        }
        None => {
            let space = whole(&device, pci::read_config_patiently)?;
            let mut image = KVec::from_elem(0u8, space.len(), GFP_KERNEL)?;
            present(&space, &bars, intx::is_relayable(&device), &mut image).map_err(|_| EIO)?;
            image
        }
    };
    let part = image
        .get(offset..)
        .and_then(|rest| rest.get(..bytes.len()))
        .ok_or(EINVAL)?;
    bytes.copy_from_slice(part);
    Ok(())
}
