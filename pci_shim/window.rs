// SPDX-License-Identifier: GPL-2.0

//! The part of an NTB's BAR in which a borrowed function's BARs appear.
//!
//! The NTB's driver holds its BARs as *busy* regions, below which nobody can request anything: the device driver of the
//! borrowed function could not request its own BARs. [`WindowBar`] gives the busy region of one BAR back and requests
//! it again when it is dropped, so that what is in `/proc/iomem` afterwards is what was there before. The proper cure
//! is an NTB core that does not claim memory windows in the first place; [`WindowBar`] then has nothing to do.
//!
//! C header: [`include/linux/ioport.h`](srctree/include/linux/ioport.h)

use core::ptr::{
    self,
    NonNull, //
};
use devlend_bindings as bindings;
use kernel::{
    device,
    error::to_result,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

// CAST: Flags of the lower 32 bits, in the type of `resource::flags`.
const MEM: c_ulong = bindings::IORESOURCE_MEM as c_ulong;
const BUSY: c_ulong = bindings::IORESOURCE_BUSY as c_ulong;
const EXCLUSIVE: c_ulong = bindings::IORESOURCE_EXCLUSIVE as c_ulong;

/// A BAR of the NTB whose busy region was lifted, so that parts of it can become bridge windows.
///
/// The NTB's driver must be bound for as long as this exists: drop it, and every [`RootBus`](crate::RootBus) made with
/// it, in the NTB client's `remove` callback at the latest, which is called before that driver releases its regions.
pub struct WindowBar {
    pdev: ARef<pci::Device>,
    /// Index of the BAR.
    index: u32,
    /// CPU address range.
    start: u64,
    len: u64,
    busy: Option<Busy>,
}

/// The region the NTB's driver had requested.
struct Busy {
    /// The driver's own string. One of ours would stay behind in `/proc/iomem` when this module is gone.
    name: *const c_char,
    /// It was requested with `IORESOURCE_EXCLUSIVE`.
    exclusive: bool,
}

// SAFETY: The name is an immutable string of a driver that outlives this value; the rest is plain data.
unsafe impl Send for WindowBar {}

// SAFETY: As for `Send`.
unsafe impl Sync for WindowBar {}

impl WindowBar {
    /// Finds the BAR of `pdev` in which the CPU address `address` lies, and lifts its busy region.
    ///
    /// # Errors
    ///
    /// `ENXIO` if no memory BAR holds the address, `EBUSY` if the BAR is claimed other than as one region.
    pub fn new(pdev: &pci::Device<device::Bound>, address: u64) -> Result<Arc<Self>> {
        let mut this = Self::find(pdev, address)?;
        this.lift()?;
        // If there is no memory, dropping the value puts the region back.
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    fn find(pdev: &pci::Device<device::Bound>, address: u64) -> Result<Self> {
        for index in 0..bindings::PCI_STD_NUM_BARS {
            let start = pdev.resource_start(index)?;
            let len = pdev.resource_len(index)?;
            if address >= start && address - start < len {
                return Ok(Self {
                    pdev: pdev.into(),
                    index,
                    start,
                    len,
                    busy: None,
                });
            }
        }
        Err(ENXIO)
    }

    /// Gives back the busy region of the NTB's driver, if there is one.
    fn lift(&mut self) -> Result {
        let bar = self.resource();
        // SAFETY: The BAR's resource is valid. What is below it was requested by the bound driver, which keeps it until
        // after its clients are removed, so that it cannot be freed here although the resource lock is out of reach.
        let busy = unsafe {
            if (*bar).flags & MEM == 0 {
                return Err(ENXIO);
            }
            let Some(child) = NonNull::new((*bar).child) else {
                // Nobody claimed it: the window can be placed right below the BAR.
                return Ok(());
            };
            let child = child.as_ref();
            let is_whole_bar = child.start == (*bar).start && child.end == (*bar).end;
            if !is_whole_bar || child.flags & BUSY == 0 {
                dev_err!(
                    *self.pdev,
                    "BAR {}: claimed in parts by others, so it cannot be lent\n",
                    self.index
                );
                return Err(EBUSY);
            }
            Busy {
                name: child.name,
                exclusive: child.flags & EXCLUSIVE != 0,
            }
        };

        // SAFETY: The region exists and covers the BAR, as was just seen. Its owner will find it again: `drop` requests
        // it anew.
        unsafe {
            bindings::__release_region(&raw mut bindings::iomem_resource, self.start, self.len);
        }
        self.busy = Some(busy);
        Ok(())
    }

    /// Returns the NTB's PCI device.
    pub(crate) fn device(&self) -> &pci::Device {
        &self.pdev
    }

    /// Returns the NTB's `struct pci_dev`.
    pub(crate) fn as_raw(&self) -> *mut bindings::pci_dev {
        // CAST: `pci::Device` is a transparent wrapper of `struct pci_dev`, which is shared with C and may be changed.
        ptr::from_ref::<pci::Device>(&self.pdev).cast_mut().cast()
    }

    fn resource(&self) -> *mut bindings::resource {
        // CAST: One of the six BARs.
        let index = self.index as usize;
        // SAFETY: The device is valid while `self.pdev` holds a reference, and has a resource for each BAR.
        unsafe {
            (&raw mut (*self.as_raw()).resource)
                .cast::<bindings::resource>()
                .add(index)
        }
    }

    /// Claims `len` bytes at the CPU address `start` as a bridge window, with `resource` as the node in the tree.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the range is not made of whole pages of this BAR, `EBUSY` if it overlaps another window.
    ///
    /// # Safety
    ///
    /// `resource` must be unused, zeroed, and valid until the returned guard is dropped.
    pub(crate) unsafe fn request(
        self: &Arc<Self>,
        start: u64,
        len: u64,
        resource: NonNull<bindings::resource>,
    ) -> Result<Window> {
        let page = PAGE_SIZE as u64;
        let offset = start.checked_sub(self.start).ok_or(EINVAL)?;
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if len == 0 || start % page != 0 || len % page != 0 || end > self.len {
            return Err(EINVAL);
        }

        // SAFETY: By the safety requirements the resource is ours to fill and to insert.
        unsafe {
            let raw = resource.as_ptr();
            (*raw).name = c"devlend window".as_char_ptr();
            (*raw).start = start;
            (*raw).end = start + len - 1;
            // Plain memory, although the NTB's BAR is prefetchable: a prefetchable window takes no ordinary BAR.
            (*raw).flags = MEM;
            to_result(bindings::request_resource(self.resource(), raw))?;
        }
        // INVARIANT: Inserted above.
        Ok(Window {
            resource,
            _bar: self.clone(),
        })
    }
}

impl Drop for WindowBar {
    fn drop(&mut self) {
        let Some(busy) = &self.busy else {
            return;
        };
        let flags = if busy.exclusive { EXCLUSIVE } else { 0 };
        // SAFETY: The name is the one the region had before; its owner is still bound. CAST: A single bit below 31.
        let region = unsafe {
            bindings::__request_region(
                &raw mut bindings::iomem_resource,
                self.start,
                self.len,
                busy.name,
                flags as c_int,
            )
        };
        if region.is_null() {
            // Its driver will say "Trying to free nonexistent resource" when it is unbound; nothing worse follows.
            dev_err!(
                *self.pdev,
                "BAR {}: cannot give the region back to its driver\n",
                self.index
            );
        }
    }
}

/// A part of a BAR that is claimed as a bridge window.
///
/// # Invariants
///
/// `resource` is valid and in the resource tree, below the BAR.
pub(crate) struct Window {
    resource: NonNull<bindings::resource>,
    /// Must be given back after the resource was released.
    _bar: Arc<WindowBar>,
}

// SAFETY: The resource tree has a lock of its own; the node is not accessed otherwise.
unsafe impl Send for Window {}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the resource is in the tree. What was below it belonged to functions of a bus
        // that was removed before.
        unsafe { bindings::release_resource(self.resource.as_ptr()) };
    }
}
