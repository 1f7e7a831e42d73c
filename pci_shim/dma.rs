// SPDX-License-Identifier: GPL-2.0

//! Bus addresses for DMA: offset into the window through which the real function reaches our memory.
//!
//! A borrowed function puts the addresses its driver gives it on the *lender's* bus. A raw address of ours would hit the
//! lender's memory, so a function must never be able to map anything without the offset. From the moment it is known to
//! the driver core its bus limit is [`CLOSED`], which every mapping fails against: `dma_capable` and `dma_coherent_ok`
//! compare the last byte's address with it, also for bounce buffers and for MMIO, and an IOVA allocator finds no page
//! below it. The limit is lifted only after `dev->dma_range_map` was set, on every bind, because the driver core frees
//! the map on every unbind; and the bridge refuses to enable a function that has no map.
//!
//! C headers: [`include/linux/device/bus.h`](srctree/include/linux/device/bus.h),
//! [`include/linux/dma-direct.h`](srctree/include/linux/dma-direct.h).

use devlend_bindings as bindings;
use kernel::{
    container_of,
    device,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A bus limit no buffer can be below. Zero would mean "no limit".
const CLOSED: u64 = 1;

/// The lender's window onto this host's memory.
///
/// Bus address = `base` + CPU address, for CPU addresses below `size`. The window must cover all memory, or all low
/// memory including the bounce buffers: a page outside it that cannot be bounced hangs its I/O for ever.
#[derive(Clone, Copy, Debug)]
pub struct DmaWindow {
    /// The lender's bus address of the window, as the function has to put it on the bus.
    pub base: u64,
    /// Bytes of this host's memory, from address zero, that the window shows.
    pub size: u64,
}

impl DmaWindow {
    /// Returns the last bus address of the window.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the window is empty or wraps around.
    pub(crate) fn last(&self) -> Result<u64> {
        let last = self.size.checked_sub(1).ok_or(EINVAL)?;
        self.base.checked_add(last).ok_or(EINVAL)
    }
}

/// Prepares every function on one bridge for DMA, as long as it exists.
pub(crate) struct Notifier(Pin<KBox<Inner>>);

#[pin_data]
struct Inner {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    /// Only compared, never accessed.
    bridge: *mut bindings::pci_host_bridge,
    window: DmaWindow,
    /// [`DmaWindow::last`].
    last: u64,
}

// SAFETY: The notifier chain serialises its own access to the block; all else is constant.
unsafe impl Send for Inner {}

// SAFETY: As for `Send`.
unsafe impl Sync for Inner {}

impl Notifier {
    /// Begins to prepare the functions on `bridge`; must exist before the bus is scanned.
    pub(crate) fn new(bridge: *mut bindings::pci_host_bridge, window: DmaWindow) -> Result<Self> {
        let last = window.last()?;
        let inner = KBox::pin_init(
            pin_init!(Inner {
                block <- Opaque::ffi_init(|slot: *mut bindings::notifier_block| {
                    // SAFETY: `slot` is valid for writes.
                    unsafe {
                        slot.write(bindings::notifier_block {
                            notifier_call: Some(notify),
                            ..pin_init::zeroed()
                        });
                    }
                }),
                bridge,
                window,
                last,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The block is pinned and, by `drop`, in the chain no longer than it lives.
        to_result(unsafe {
            bindings::bus_register_notifier(&raw const bindings::pci_bus_type, inner.block.get())
        })?;
        Ok(Self(inner))
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // Takes the chain's semaphore, so that no call is in progress afterwards. It cannot fail for a block that is
        // registered.
        // SAFETY: The block was registered in `new`.
        unsafe {
            bindings::bus_unregister_notifier(&raw const bindings::pci_bus_type, self.0.block.get())
        };
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
    let dev = data.cast::<bindings::device>();
    // SAFETY: All devices of the PCI bus are embedded in a `struct pci_dev`, whose bus is valid.
    let bridge = unsafe {
        let pdev = container_of!(dev, bindings::pci_dev, dev);
        bindings::pci_find_host_bridge((*pdev).bus)
    };
    if bridge != this.bridge {
        return NOTIFY_DONE;
    }

    match u32::try_from(action) {
        // SAFETY: The device is valid; it has no driver, or the driver core holds its lock.
        Ok(bindings::bus_notifier_event_BUS_NOTIFY_BIND_DRIVER) => unsafe { this.open(dev) },
        Ok(
            bindings::bus_notifier_event_BUS_NOTIFY_ADD_DEVICE
            | bindings::bus_notifier_event_BUS_NOTIFY_DRIVER_NOT_BOUND
            | bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER,
            // SAFETY: As above.
        ) => unsafe { close(dev) },
        _ => {}
    }
    NOTIFY_DONE
}

// CAST: Zero.
const NOTIFY_DONE: c_int = bindings::NOTIFY_DONE as c_int;

impl Inner {
    /// Lets `dev` map memory, at addresses in the window.
    ///
    /// Whatever goes wrong leaves it closed: a notifier cannot refuse a driver.
    ///
    /// # Safety
    ///
    /// `dev` must be valid, and nobody may map memory for it at the same time.
    unsafe fn open(&self, dev: *mut bindings::device) {
        // SAFETY: By the safety requirements.
        unsafe { close(dev) };
        // SAFETY: By the safety requirements.
        let log = unsafe { device::Device::<device::Normal>::from_raw(dev) };

        // SAFETY: By the safety requirements.
        if unsafe { bindings::use_dma_iommu(dev) } {
            // The map would be ignored, and the IOMMU's addresses mean nothing to the lender.
            dev_err!(
                log,
                "DMA refused: this host's IOMMU would choose the addresses; boot it with iommu=pt\n"
            );
            return;
        }

        // The driver core ends the use of the map with `kfree`.
        let map = KBox::new(
            [
                bindings::bus_dma_region {
                    cpu_start: 0,
                    dma_start: self.window.base,
                    size: self.window.size,
                },
                // The end of the list.
                pin_init::zeroed(),
            ],
            GFP_KERNEL,
        );
        let Ok(map) = map else {
            dev_err!(log, "DMA refused: no memory for its address map\n");
            return;
        };

        // SAFETY: By the safety requirements. The map is `kmalloc`ed, and its last entry is empty.
        unsafe {
            if !(*dev).dma_range_map.is_null() {
                dev_err!(log, "DMA refused: somebody else has set an address map\n");
                return;
            }
            (*dev).dma_range_map = KBox::into_raw(map).cast();
            (*dev).bus_dma_limit = self.last;
        }
    }
}

/// Makes every mapping for `dev` fail.
///
/// # Safety
///
/// `dev` must be valid, and nobody may map memory for it at the same time.
unsafe fn close(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { (*dev).bus_dma_limit = CLOSED };
}

/// Refuses to enable a function that cannot do DMA, so that its driver's probe fails early and says so.
///
/// # Safety
///
/// Called by the PCI core as `pci_host_bridge::enable_device`.
pub(crate) unsafe extern "C" fn enable_device(
    _bridge: *mut bindings::pci_host_bridge,
    pdev: *mut bindings::pci_dev,
) -> c_int {
    // SAFETY: The PCI core passes a valid device.
    if unsafe { (*pdev).dev.dma_range_map }.is_null() {
        return EPERM.to_errno();
    }
    0
}
