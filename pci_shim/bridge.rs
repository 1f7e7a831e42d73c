// SPDX-License-Identifier: GPL-2.0

//! An allocated `struct pci_host_bridge` and the memory that must live as long as it does.
//!
//! Whoever still holds a reference to a removed `struct pci_dev` (an open block device file does) keeps its bus, its
//! bridge, and their pointers to `sysdata` and to the bridge windows. So everything C points to is in the private part
//! of the bridge's own allocation, and the domain number is given to the bridge, which frees it with itself.

use crate::config::{
    self,
    ConfigOps, //
};
use core::ptr::NonNull;
use devlend_bindings as bindings;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    },
    types::Opaque,
};

/// Most memory windows of a bridge.
// CAST: A small number.
const WINDOWS: usize = bindings::PCI_STD_NUM_BARS as usize;

/// Emulated domains start where no ACPI segment can be.
const FIRST_DOMAIN: u32 = 0x10000;

/// What lives in the private part of the bridge's allocation.
///
/// The memory starts as zeroes, which is a valid value of every field.
#[repr(C)]
pub(crate) struct Private {
    /// What x86 expects behind `pci_bus::sysdata`.
    sysdata: Opaque<bindings::pci_sysdata>,
    /// Bus numbers: the root bus alone.
    buses: Opaque<bindings::resource>,
    /// The bridge's memory windows, at most one a BAR; those that are not used are in no list.
    windows: [Opaque<bindings::resource>; WINDOWS],
    /// The function is lost: reads answer all ones without asking anybody.
    gone: Atomic<bool>,
    /// A `KBox<Arc<dyn ConfigOps>>`, or null. Read under RCU, because accessors run with interrupts off.
    accessor: Atomic<*mut Arc<dyn ConfigOps>>,
}

impl Private {
    /// Returns the private part of the bridge `bus` belongs to.
    ///
    /// # Safety
    ///
    /// `bus` must be a valid bus of a [`HostBridge`], and must stay so for `'a`.
    pub(crate) unsafe fn from_bus<'a>(bus: *mut bindings::pci_bus) -> &'a Self {
        // SAFETY: `sysdata` of our buses is the first field of `Private`, see `HostBridge::new`. It lives as long as
        // the bridge, which the bus holds a reference to.
        unsafe { &*(*bus).sysdata.cast::<Self>() }
    }

    /// Returns who answers for the function, if somebody still does.
    pub(crate) fn accessor<'a>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a dyn ConfigOps> {
        if self.gone.load(Relaxed) {
            return None;
        }
        let accessor = NonNull::new(self.accessor.load(Acquire))?;
        // SAFETY: A pointer found here is freed only after it was replaced and a grace period has passed, which the
        // caller's RCU guard holds up.
        Some(&**unsafe { accessor.as_ref() })
    }
}

/// One reference to a host bridge that was allocated here.
///
/// # Invariants
///
/// The pointer is valid, its private part is a [`Private`], and this value owns one reference.
pub(crate) struct HostBridge(NonNull<bindings::pci_host_bridge>);

// SAFETY: References to a bridge may be held, used and dropped by any task; `Private` is made of C data that is only
// changed before registration and of atomics.
unsafe impl Send for HostBridge {}

// SAFETY: As for `Send`.
unsafe impl Sync for HostBridge {}

impl HostBridge {
    /// Allocates a bridge below `parent`, with a domain number of its own and no window yet.
    ///
    /// # Safety
    ///
    /// `parent` must be a valid `struct pci_dev` for as long as the bridge is registered.
    pub(crate) unsafe fn new(parent: *mut bindings::pci_dev) -> Result<Self> {
        // SAFETY: No requirements.
        let bridge = unsafe { bindings::pci_alloc_host_bridge(size_of::<Private>()) };
        // INVARIANT: Allocated above with room for `Private`, zeroed, with one reference.
        let this = Self(NonNull::new(bridge).ok_or(ENOMEM)?);
        let bridge = this.as_raw();

        // SAFETY: No requirements.
        let domain =
            unsafe { bindings::pci_bus_find_emul_domain_nr(0, FIRST_DOMAIN, c_int::MAX as u32) };
        to_result(domain.min(0))?;

        let private = this.private();
        let sysdata = private.sysdata.get();
        // SAFETY: `bridge`, its private part and `parent` are valid, and nobody else knows of the bridge yet. The
        // bridge is given the domain number, which `pci_release_host_bridge_dev` returns.
        unsafe {
            (*bridge).domain_nr = domain;
            (*bridge).dev.parent = &raw mut (*parent).dev;
            (*bridge).busnr = 0;
            (*bridge).ops = config::OPS.as_raw();
            (*bridge).sysdata = sysdata.cast();
            (*sysdata).domain = domain;
            (*sysdata).node = bindings::pcibus_to_node((*parent).bus);
        }

        // Requests of the real function reach this host with the NTB's requester id. This field is the one way to
        // tell that to an IOMMU driver and to interrupt remapping (`pci_real_dma_dev`).
        #[cfg(CONFIG_VMD)]
        // SAFETY: As above.
        unsafe {
            (*sysdata).vmd_dev = parent;
        }

        // There is no port between the bridge and the function, and AER, hot-plug, PME and the like are the lender's.
        // SAFETY: As above.
        unsafe {
            (*bridge).set_native_aer(0);
            (*bridge).set_native_pcie_hotplug(0);
            (*bridge).set_native_shpc_hotplug(0);
            (*bridge).set_native_pme(0);
            (*bridge).set_native_ltr(0);
            (*bridge).set_native_dpc(0);
            (*bridge).set_native_cxl_error(0);
        }

        let buses = private.buses.get();
        // SAFETY: As above; the resource is in the bridge's own memory.
        unsafe {
            (*buses).name = c"devlend bus".as_char_ptr();
            // CAST: Flags of the lower 32 bits.
            (*buses).flags = (bindings::IORESOURCE_BUS | bindings::IORESOURCE_PCI_FIXED) as c_ulong;
            this.add_resource(buses, 0)?;
        }
        Ok(this)
    }

    /// Returns the C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::pci_host_bridge {
        self.0.as_ptr()
    }

    /// Returns the private part.
    pub(crate) fn private(&self) -> &Private {
        // SAFETY: By the type invariant there is a `Private` behind the bridge; it is cache line aligned.
        unsafe { &*(&raw const (*self.as_raw()).private).cast::<Private>() }
    }

    /// Returns the resources that can be the bridge's memory windows.
    pub(crate) fn windows(&self) -> impl Iterator<Item = NonNull<bindings::resource>> + '_ {
        self.private()
            .windows
            .iter()
            // SAFETY: A field of a valid structure is not at address zero.
            .map(|window| unsafe { NonNull::new_unchecked(window.get()) })
    }

    /// Returns the domain number.
    pub(crate) fn domain(&self) -> u32 {
        // SAFETY: By the type invariant the bridge is valid; the number does not change after `new`.
        let domain = unsafe { (*self.as_raw()).domain_nr };
        // CAST: Not negative, see `new`.
        domain as u32
    }

    /// Adds a (filled) resource to the bridge's list, `offset` being CPU address minus bus address.
    ///
    /// # Safety
    ///
    /// The bridge must not be registered yet; `resource` must live as long as the bridge.
    pub(crate) unsafe fn add_resource(
        &self,
        resource: *mut bindings::resource,
        offset: u64,
    ) -> Result {
        // SAFETY: The list head was initialised by `pci_alloc_host_bridge`; nobody else uses it before registration.
        unsafe {
            let windows = &raw mut (*self.as_raw()).windows;
            let last = (*windows).prev;
            bindings::pci_add_resource_offset(windows, resource, offset);
            // The C function reports nothing but a log line when it has no memory.
            if (*windows).prev == last {
                return Err(ENOMEM);
            }
        }
        Ok(())
    }

    /// Lets `ops` answer for the function.
    pub(crate) fn set_accessor(&self, ops: Arc<dyn ConfigOps>) -> Result {
        let new = KBox::into_raw(KBox::new(ops, GFP_KERNEL)?);
        self.replace_accessor(new);
        Ok(())
    }

    /// From here on, nobody answers; returns when the last call of an accessor has ended. May sleep.
    pub(crate) fn clear_accessor(&self) {
        self.replace_accessor(core::ptr::null_mut());
    }

    fn replace_accessor(&self, new: *mut Arc<dyn ConfigOps>) {
        let private = self.private();
        let old = private.accessor.load(Relaxed);
        private.accessor.store(new, Release);
        if !old.is_null() {
            // SAFETY: No requirements; process context.
            unsafe { bindings::synchronize_rcu() };
            // SAFETY: Made by `KBox::into_raw` in `set_accessor`; it was replaced, and all its readers are done.
            drop(unsafe { KBox::from_raw(old) });
        }
    }

    /// Tells the accessor that the function was looked at. Does not sleep.
    pub(crate) fn scanned(&self) {
        let guard = rcu::read_lock();
        if let Some(accessor) = self.private().accessor(&guard) {
            accessor.scanned();
        }
    }

    /// Marks the function as lost: reads answer all ones, at once.
    pub(crate) fn set_gone(&self) {
        self.private().gone.store(true, Relaxed);
    }

    /// Whether [`Self::set_gone`] was called.
    pub(crate) fn is_gone(&self) -> bool {
        self.private().gone.load(Relaxed)
    }
}

impl Drop for HostBridge {
    fn drop(&mut self) {
        // Only a bridge that never was put into use still has its accessor here.
        self.clear_accessor();
        // SAFETY: By the type invariant this value owns a reference.
        unsafe { bindings::pci_free_host_bridge(self.as_raw()) };
    }
}
