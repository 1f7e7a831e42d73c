// SPDX-License-Identifier: GPL-2.0

//! What happens to a function before and after a driver has it, whoever adds it or binds the driver.
//!
//! Functions come and go without us: by `remove` and `rescan` in sysfs, by `bind` and `unbind`. The driver core tells the
//! bus' notifier chain each time.
//!
//! C header: [`include/linux/device/bus.h`](srctree/include/linux/device/bus.h).

use crate::{
    dma::{
        self,
        DmaWindow, //
    },
    intx, //
};
use devlend_bindings as bindings;
use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    types::Opaque, //
};
use ntb::notifier;

/// Prepares every function on one bridge, as long as it exists.
pub(crate) struct Notifier(Pin<KBox<Inner>>);

#[pin_data]
struct Inner {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    /// Only compared, never accessed.
    bridge: *mut bindings::pci_host_bridge,
    window: DmaWindow,
    /// The function's line, if it has INTx.
    irq: Option<c_uint>,
}

// SAFETY: The notifier chain serialises its own access to the block; all else is constant.
unsafe impl Send for Inner {}

// SAFETY: As for `Send`.
unsafe impl Sync for Inner {}

impl Notifier {
    /// Begins to prepare the functions on `bridge`; must exist before the bus is scanned.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `window` is not a valid range.
    ///
    /// # Safety
    ///
    /// `irq` must be the number of an [`IntxLine`](intx::IntxLine) that outlives the functions on `bridge`.
    pub(crate) unsafe fn new(
        bridge: *mut bindings::pci_host_bridge,
        window: DmaWindow,
        irq: Option<c_uint>,
    ) -> Result<Self> {
        window.last()?;
        let inner = KBox::pin_init(
            pin_init!(Inner {
                block <- notifier::block(notify),
                bridge,
                window,
                irq,
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
    let (pdev, bridge) = unsafe {
        let pdev = container_of!(dev, bindings::pci_dev, dev);
        (pdev, bindings::pci_find_host_bridge((*pdev).bus))
    };
    if bridge != this.bridge {
        return NOTIFY_DONE;
    }

    match u32::try_from(action) {
        // SAFETY: The device is valid, and no driver can bind to it yet.
        Ok(bindings::bus_notifier_event_BUS_NOTIFY_ADD_DEVICE) => unsafe {
            dma::close(dev);
            claim_bars(pdev);
        },
        // SAFETY: The device is valid. The driver core holds its lock, and calls this right before the probe.
        // Its bridge hangs below the NTB.
        Ok(bindings::bus_notifier_event_BUS_NOTIFY_BIND_DRIVER) => unsafe {
            dma::open(dev, (*bridge).dev.parent, &this.window);
            if let Some(irq) = this.irq {
                intx::assign(pdev, irq);
            }
        },
        // SAFETY: The device is valid. The driver core holds its lock, and calls this right after the probe.
        Ok(bindings::bus_notifier_event_BUS_NOTIFY_BOUND_DRIVER) => unsafe {
            dma::check_mask(dev, &this.window)
        },
        // SAFETY: The device is valid. The driver core holds its lock, and calls this right before the driver's removal.
        Ok(bindings::bus_notifier_event_BUS_NOTIFY_UNBIND_DRIVER) => unsafe { intx::release(pdev) },
        // SAFETY: As above; the driver is done with the device.
        Ok(bindings::bus_notifier_event_BUS_NOTIFY_DRIVER_NOT_BOUND) => unsafe {
            dma::check_mask(dev, &this.window);
            dma::close(dev);
        },
        // SAFETY: The device is valid, and its driver is done with it.
        Ok(bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER) => unsafe { dma::close(dev) },
        _ => {}
    }
    NOTIFY_DONE
}

// CAST: Zero.
const NOTIFY_DONE: c_int = bindings::NOTIFY_DONE as c_int;

/// Claims the BARs where they are, because that is where the lender has them.
///
/// A rescan would otherwise place them anew, anywhere in the window.
///
/// # Safety
///
/// `pdev` must be valid and without a driver.
unsafe fn claim_bars(pdev: *mut bindings::pci_dev) {
    // CAST: A small number.
    for index in 0..bindings::PCI_STD_NUM_BARS as c_int {
        // SAFETY: By the safety requirements; a device has a resource for each BAR. A failure is logged by the callee
        // and leaves the resource without a parent.
        unsafe {
            // CAST: Not negative.
            let resource = (&raw const (*pdev).resource)
                .cast::<bindings::resource>()
                .add(index as usize);
            if (*resource).flags != 0 && (*resource).parent.is_null() {
                bindings::pci_claim_resource(pdev, index);
            }
        }
    }
}
