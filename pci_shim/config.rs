// SPDX-License-Identifier: GPL-2.0

//! Configuration space accessors (`struct pci_ops`) of the fake host bridge.

use crate::bridge::Private;
use devlend_bindings as bindings;
use kernel::{
    prelude::*,
    sync::rcu, //
};

/// Size of the configuration space of a PCI Express function, in bytes.
const CONFIG_SPACE_SIZE: u16 = 4096;

/// What a failed read answers on a PCI bus.
const ALL_ONES: u32 = u32::MAX;

/// Configuration accessor of the one function behind the bridge.
///
/// Both operations are called with raw spinlocks held and interrupts off: they must not sleep, and must be bounded
/// in time. Accesses are naturally aligned, 1, 2 or 4 bytes wide, and end within the 4096 bytes of the space.
pub trait ConfigOps: Send + Sync {
    /// Reads `size` bytes at `offset`; bits above `size` are ignored. All ones means "nobody there".
    fn read(&self, offset: u16, size: u8) -> u32;

    /// Writes the low `size` bytes of `value` at `offset`.
    fn write(&self, offset: u16, size: u8, value: u32);

    /// The function has been looked at, and is about to be given to others. Nothing has been done with it so far. May be called in
    /// any context.
    fn scanned(&self);
}

/// The operations of every bus of this crate.
pub(crate) static OPS: Ops = Ops(bindings::pci_ops {
    read: Some(read),
    write: Some(write),
    ..pin_init::zeroed()
});

/// `struct pci_ops` as an immutable static.
pub(crate) struct Ops(bindings::pci_ops);

impl Ops {
    /// Returns the operations in the form in which `struct pci_host_bridge` wants them; C only reads them.
    pub(crate) fn as_raw(&'static self) -> *mut bindings::pci_ops {
        (&raw const self.0).cast_mut()
    }
}

/// Checks an access, finds the accessor of the bus and calls `access` with it, the offset and the width.
///
/// Returns [`None`] if there is nothing at this address, or no longer.
///
/// # Safety
///
/// `bus` must be a valid bus of a [`HostBridge`](crate::bridge::HostBridge).
unsafe fn with_accessor<R>(
    bus: *mut bindings::pci_bus,
    devfn: c_uint,
    offset: c_int,
    size: c_int,
    access: impl FnOnce(&dyn ConfigOps, u16, u8) -> R,
) -> Option<R> {
    if devfn != 0 {
        return None;
    }
    let offset = u16::try_from(offset).ok()?;
    let size = u8::try_from(size).ok()?;
    // The callers in drivers/pci check alignment; a bus may also be reached by way of `bus->ops`.
    let misaligned = match size {
        1 => 0,
        2 => offset & 1,
        4 => offset & 3,
        _ => return None,
    };
    if misaligned != 0 || offset >= CONFIG_SPACE_SIZE {
        return None;
    }

    // SAFETY: By the safety requirements, the bus belongs to one of our bridges, whose private part lives at least as
    // long as the bus.
    let private = unsafe { Private::from_bus(bus) };
    let guard = rcu::read_lock();
    private
        .accessor(&guard)
        .map(|ops| access(ops, offset, size))
}

/// # Safety
///
/// Called by the PCI core as `pci_ops::read` of a bus of ours.
unsafe extern "C" fn read(
    bus: *mut bindings::pci_bus,
    devfn: c_uint,
    offset: c_int,
    size: c_int,
    value: *mut u32,
) -> c_int {
    // SAFETY: The PCI core calls this for our own buses only.
    let answer = unsafe {
        with_accessor(bus, devfn, offset, size, |ops, offset, size| {
            let answer = ops.read(offset, size);
            match size {
                1 => answer & 0xff,
                2 => answer & 0xffff,
                _ => answer,
            }
        })
    };

    // SAFETY: `value` is where the PCI core wants the answer.
    unsafe { *value = answer.unwrap_or(ALL_ONES) };
    status(answer.is_some())
}

/// # Safety
///
/// Called by the PCI core as `pci_ops::write` of a bus of ours.
unsafe extern "C" fn write(
    bus: *mut bindings::pci_bus,
    devfn: c_uint,
    offset: c_int,
    size: c_int,
    value: u32,
) -> c_int {
    // SAFETY: The PCI core calls this for our own buses only.
    let done = unsafe {
        with_accessor(bus, devfn, offset, size, |ops, offset, size| {
            ops.write(offset, size, value)
        })
    };
    status(done.is_some())
}

fn status(found: bool) -> c_int {
    // CAST: The PCIBIOS codes are small positive numbers.
    if found {
        bindings::PCIBIOS_SUCCESSFUL as c_int
    } else {
        bindings::PCIBIOS_DEVICE_NOT_FOUND as c_int
    }
}
