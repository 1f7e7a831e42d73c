// SPDX-License-Identifier: GPL-2.0

//! virtio functions that would leave out the DMA API are refused by the kernel's own virtio core.
//!
//! A virtio function that does not offer `VIRTIO_F_ACCESS_PLATFORM` is given the addresses of this host's RAM as they are: its
//! driver makes no mappings, so no limit of [`dma`](crate::dma) holds it. A borrowed one puts them on the *lender's* bus, and
//! writes there. The virtio core asks the platform before it lets a driver have a function: where access to memory is
//! restricted, only functions that offer the feature (and `VIRTIO_F_VERSION_1`) may be used. Behind a fake host bridge it is.
//!
//! The core asks about the function's own offer of features, so this is no matter of vendor or device ids; and it asks before the
//! driver has told the function of any memory.
//!
//! C header: [`include/linux/virtio_anchor.h`](srctree/include/linux/virtio_anchor.h).

use crate::config;
use core::{
    mem,
    ptr, //
};
use devlend_bindings as bindings;
use kernel::{
    container_of,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};

type Check = unsafe extern "C" fn(*mut bindings::virtio_device) -> bool;

/// Who was asked before us: a [`Check`], or null.
static PREVIOUS: Atomic<*mut c_void> = Atomic::new(ptr::null_mut());

/// Answers for virtio functions behind our bridges as long as it exists.
///
/// There must be at most one, and no bridge without it.
pub struct MemoryRestriction(());

impl MemoryRestriction {
    /// Begins to answer.
    ///
    /// Whoever else answers was set by the architecture when it booted; it goes on answering for all other functions.
    #[expect(clippy::new_without_default)]
    pub fn new() -> Self {
        // SAFETY: No requirements. The function lives until `drop`, which waits for those who are in it.
        unsafe {
            let previous = bindings::virtio_get_mem_acc_cb();
            let previous = previous.map_or(ptr::null_mut(), |check| check as *mut c_void);
            PREVIOUS.store(previous, Release);
            bindings::virtio_set_mem_acc_cb(Some(must_use_dma_api));
        }
        Self(())
    }
}

impl Drop for MemoryRestriction {
    fn drop(&mut self) {
        // SAFETY: It was stored in `new`, from a function of this type. May sleep: the module is being unloaded.
        unsafe {
            bindings::virtio_set_mem_acc_cb(previous());
            // Whoever has read the pointer before may have been preempted on its way into, or out of, our function.
            bindings::wait_for_preempted_tasks();
        }
    }
}

/// Who was asked before us.
fn previous() -> Option<Check> {
    let previous = PREVIOUS.load(Acquire);
    // SAFETY: Null, or made from a function of this type in `MemoryRestriction::new`.
    unsafe { mem::transmute::<*mut c_void, Option<Check>>(previous) }
}

/// # Safety
///
/// Called by the virtio core as `virtio_check_mem_acc_cb`, with a device that is being probed.
unsafe extern "C" fn must_use_dma_api(vdev: *mut bindings::virtio_device) -> bool {
    // SAFETY: By the safety requirements; the parent, if there is one, outlives its child.
    let is_ours = unsafe {
        let parent = bindings::virtio_device_parent(vdev);
        !parent.is_null()
            && ptr::eq((*parent).bus, &raw const bindings::pci_bus_type)
            && is_behind_bridge(container_of!(parent, bindings::pci_dev, dev))
    };
    // SAFETY: The argument is the one we got.
    is_ours || previous().is_some_and(|check| unsafe { check(vdev) })
}

/// Whether a function lies behind one of our bridges.
///
/// # Safety
///
/// `pdev` must be valid.
unsafe fn is_behind_bridge(pdev: *const bindings::pci_dev) -> bool {
    // SAFETY: By the safety requirements; a device's bus is valid.
    unsafe { ptr::eq((*(*pdev).bus).ops, config::OPS.as_raw()) }
}
