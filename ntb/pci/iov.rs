// SPDX-License-Identifier: GPL-2.0

//! Virtual functions (SR-IOV), and the physical function that they belong to.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h); what becomes of virtual functions is in
//! `drivers/pci/iov.c`.

use super::{
    address,
    find,
    ids,
    raw,
    raw_dev, //
};
use crate::notifier;
use devlend_bindings as bindings;
use devlend_config::VirtualFunction;
use kernel::{
    container_of,
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    pci::Device,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

/// The physical function that a virtual one belongs to; null for any other function. It is there while the virtual one is on
/// its bus.
fn physical(device: &Device) -> *mut bindings::pci_dev {
    // SAFETY: `device` is valid; nothing else is looked at.
    let physical = unsafe { bindings::pci_physfn(raw(device)) };
    if physical == raw(device) {
        core::ptr::null_mut()
    } else {
        physical
    }
}

/// The same, with a reference that keeps it. Sleeps while functions are added or removed.
///
/// # Errors
///
/// `ENODEV`: the virtual function has been removed.
fn keep_physical(device: &Device) -> Result<Option<ARef<Device>>> {
    let physical = physical(device);
    if physical.is_null() {
        return Ok(None);
    }
    // SAFETY: Any context that may sleep may take the lock; it is released below.
    unsafe { bindings::pci_lock_rescan_remove() };
    // The virtual function has a reference to the physical one until it is off its bus; and the physical one stays while the
    // lock is held, even if the virtual one goes.
    let is_there = find(address(device)).is_some_and(|found| raw(&found) == raw(device));
    // SAFETY: As said. CAST: As in `raw`.
    let kept = is_there.then(|| ARef::from(unsafe { &*physical.cast::<Device>() }));
    // SAFETY: Taken above.
    unsafe { bindings::pci_unlock_rescan_remove() };
    kept.map(Some).ok_or(ENODEV)
}

/// What a virtual function's configuration space does not say; `None` for any other function.
pub fn virtual_function(device: &Device) -> Option<VirtualFunction> {
    let (vendor, id, class, revision) = ids(device);
    (!physical(device).is_null()).then_some(VirtualFunction {
        vendor,
        device: id,
        class,
        revision,
    })
}

/// How many virtual functions of a physical one are enabled; none of any other.
pub fn virtual_functions(device: &Device) -> usize {
    // SAFETY: `device` is valid. A number that is just changing is one or the other.
    usize::try_from(unsafe { bindings::pci_num_vf(raw(device)) }).unwrap_or(0)
}

/// Calls `bind` while nobody adds or removes a virtual function, nor binds or unbinds the physical function's driver: with
/// the latter's device lock held, which comes before the virtual function's. Sleeps while somebody does.
///
/// Any other function is left to `bind` alone.
///
/// # Errors
///
/// `ENODEV`: the virtual function has been removed; those of `bind`.
pub fn with_physical_locked<R>(device: &Device, bind: impl FnOnce() -> Result<R>) -> Result<R> {
    let Some(physical) = keep_physical(device)? else {
        return bind();
    };
    // SAFETY: We have a reference, and the lock is released below.
    unsafe { bindings::device_lock(raw_dev(&physical)) };
    let result = bind();
    // SAFETY: Locked above.
    unsafe { bindings::device_unlock(raw_dev(&physical)) };
    result
}

/// A virtual function that must not be taken away: as long as this value lives, drivers of the physical function refuse to
/// disable its virtual functions, as they do while a virtual machine has one.
///
/// Not when the driver is unbound from the physical function: it would leave the virtual functions behind, and there would
/// be nobody to disable them ever. It takes them along then, as without this value.
pub struct Assigned(Pin<KBox<Inner>>);

#[pin_data]
struct Inner {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    device: ARef<Device>,
    /// Only compared, never accessed.
    physical: *mut bindings::pci_dev,
}

// SAFETY: The notifier chain serialises its own access to the block; all else is constant.
unsafe impl Send for Inner {}

// SAFETY: As for `Send`.
unsafe impl Sync for Inner {}

impl Assigned {
    /// Marks a virtual function; `None` for any other function. To be called in
    /// [`with_physical_locked`]. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(device: &Device) -> Result<Option<Self>> {
        let physical = physical(device);
        if physical.is_null() {
            return Ok(None);
        }
        let inner = KBox::pin_init(
            pin_init!(Inner {
                block <- notifier::block(notify),
                device: device.into(),
                physical,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The block is pinned and, by `drop`, in the chain no longer than it lives.
        to_result(unsafe {
            bindings::bus_register_notifier(&raw const bindings::pci_bus_type, inner.block.get())
        })?;
        // SAFETY: The device is valid. Its flags are changed by nobody else: a virtual machine's host would have it bound, and
        // the notifier is called with the physical function's lock held, as the caller has it.
        unsafe { bindings::pci_set_dev_assigned(raw(device)) };
        Ok(Some(Self(inner)))
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        // Takes the chain's semaphore, so that no call is in progress afterwards. It cannot fail for a block that is
        // registered.
        // SAFETY: The block was registered in `new`. The device is valid; now its flags are changed by nobody else.
        unsafe {
            bindings::bus_unregister_notifier(
                &raw const bindings::pci_bus_type,
                self.0.block.get(),
            );
            bindings::pci_clear_dev_assigned(raw(&self.0.device));
        }
    }
}

/// # Safety
///
/// Called by the driver core as `notifier_block::notifier_call` of an [`Inner`], with a device of the PCI bus.
unsafe extern "C" fn notify(
    block: *mut bindings::notifier_block,
    action: c_ulong,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `block` is the field of an `Inner`, which is not freed before it is unregistered.
    let this = unsafe { &*container_of!(Opaque::cast_from(block), Inner, block) };
    // SAFETY: All devices of the PCI bus are embedded in a `struct pci_dev`.
    let notified =
        unsafe { container_of!(data.cast::<bindings::device>(), bindings::pci_dev, dev) };
    if notified == this.physical {
        let device = raw(&this.device);
        match u32::try_from(action) {
            // Right before the driver's `remove`.
            // SAFETY: The device is valid. The driver core holds the physical function's lock, so no other call is in
            // progress, nor is `Assigned::new`.
            Ok(bindings::bus_notifier_event_BUS_NOTIFY_UNBIND_DRIVER) => unsafe {
                bindings::pci_clear_dev_assigned(device)
            },
            // Again, if the virtual function has outlived the unbinding.
            // SAFETY: As above.
            Ok(bindings::bus_notifier_event_BUS_NOTIFY_BOUND_DRIVER) => unsafe {
                bindings::pci_set_dev_assigned(device)
            },
            _ => {}
        }
    }
    // CAST: Zero.
    bindings::NOTIFY_DONE as c_int
}
