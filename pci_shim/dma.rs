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
//! Where an IOMMU translates, there is no map: the addresses that its allocator gives out are those that the function uses.
//! It gives out none above the limit, and the window shows all from 0, so none is outside of it. That is so only if the IOMMU
//! takes the function for the NTB, whose accesses the function's are here; otherwise it stays closed.
//!
//! C header: [`include/linux/dma-direct.h`](srctree/include/linux/dma-direct.h).

use devlend_bindings as bindings;
use kernel::{
    device,
    prelude::*, //
};

/// A bus limit no buffer can be below. Zero would mean "no limit".
const CLOSED: u64 = 1;

/// The lender's window onto this host's memory.
///
/// Bus address = `base` + CPU address, for CPU addresses below `size`. The window must cover all memory, or all low
/// memory including the bounce buffers: a page outside it that cannot be bounced hangs its I/O for ever. Or they are addresses
/// of the IOMMU's.
#[derive(Clone, Copy, Debug)]
pub struct DmaWindow {
    /// The lender's bus address of the window, as the function has to put it on the bus.
    pub base: u64,
    /// Bytes of this host's memory, from address zero, that the window shows.
    pub size: u64,
    /// What it shows are the addresses of this host's IOMMU, and the function has to use the same: `base` is zero.
    pub translated: bool,
}

impl DmaWindow {
    /// Returns the last bus address of the window.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the window is empty, wraps around, or is not where the IOMMU's addresses are.
    pub(crate) fn last(&self) -> Result<u64> {
        if self.translated && self.base != 0 {
            return Err(EINVAL);
        }
        let last = self.size.checked_sub(1).ok_or(EINVAL)?;
        self.base.checked_add(last).ok_or(EINVAL)
    }
}

/// Lets `dev`, whose accesses come from `ntb`, map memory, at addresses in `window`.
///
/// Whatever goes wrong leaves it closed: a notifier cannot refuse a driver.
///
/// # Safety
///
/// `dev` and `ntb` must be valid, and nobody may map memory for `dev` at the same time.
pub(crate) unsafe fn open(
    dev: *mut bindings::device,
    ntb: *mut bindings::device,
    window: &DmaWindow,
) {
    // SAFETY: By the safety requirements.
    unsafe { close(dev) };
    // SAFETY: By the safety requirements.
    let log = unsafe { device::Device::<device::Normal>::from_raw(dev) };

    let Ok(last) = window.last() else {
        return;
    };
    // SAFETY: By the safety requirements.
    let (is_translated, is_ntb) = unsafe {
        (
            bindings::use_dma_iommu(dev),
            bindings::devices_share_iommu_domain(dev, ntb),
        )
    };
    match (window.translated, is_translated) {
        (false, false) => {}
        (true, true) if is_ntb => {
            // SAFETY: By the safety requirements.
            unsafe { (*dev).bus_dma_limit = last };
            return;
        }
        // The map would be ignored, and the IOMMU's addresses mean nothing to the lender.
        (false, true) => {
            dev_err!(
                log,
                "DMA refused: this host's IOMMU would choose the addresses; boot it with iommu=pt\n"
            );
            return;
        }
        (true, _) => {
            dev_err!(
                log,
                "DMA refused: the IOMMU does not take the device for the NTB, for which it must be Intel's and the kernel have \
                 CONFIG_VMD; boot with iommu=pt\n"
            );
            return;
        }
    }

    // The driver core ends the use of the map with `kfree`.
    let map = KBox::new(
        [
            bindings::bus_dma_region {
                cpu_start: 0,
                dma_start: window.base,
                size: window.size,
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
        (*dev).bus_dma_limit = last;
    }
}

/// Says so if the driver that has `dev`, or has just failed to, addresses too few bits for `window`.
///
/// Such a driver gets no coherent memory, and most give up for want of it, in their probe or when they are to begin. Nothing is
/// mapped where the device cannot put the address on the bus: the limit in force is the lower of the two.
///
/// # Safety
///
/// `dev` must be valid and locked.
pub(crate) unsafe fn check_mask(dev: *mut bindings::device, window: &DmaWindow) {
    // SAFETY: By the safety requirements. The mask of a PCI function is part of it.
    let (log, mask, is_closed) = unsafe {
        (
            device::Device::<device::Normal>::from_raw(dev),
            (*(*dev).dma_mask).min((*dev).coherent_dma_mask),
            is_closed(dev),
        )
    };
    let Ok(last) = window.last() else {
        return;
    };
    // An IOMMU finds addresses that the driver can use.
    if is_closed || window.translated || last <= mask {
        return;
    }
    dev_warn!(
        log,
        "it can do no DMA: its driver addresses {} bits (DMA mask {mask:#x}), and it finds this host's memory at {:#x} to \
         {last:#x}; the lender needs an IOMMU that maps the window below that, or the window's BAR there\n",
        u64::BITS - mask.leading_zeros(),
        window.base
    );
}

/// Makes every mapping for `dev` fail.
///
/// # Safety
///
/// `dev` must be valid, and nobody may map memory for it at the same time.
pub(crate) unsafe fn close(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { (*dev).bus_dma_limit = CLOSED };
}

/// Whether `dev` can map nothing, or nothing that would be right: its limit is lifted, but its map is gone.
///
/// # Safety
///
/// `dev` must be valid.
unsafe fn is_closed(dev: *mut bindings::device) -> bool {
    // SAFETY: By the safety requirements.
    unsafe {
        (*dev).bus_dma_limit == CLOSED
            || (!bindings::use_dma_iommu(dev) && (*dev).dma_range_map.is_null())
    }
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
    if unsafe { is_closed(&raw mut (*pdev).dev) } {
        return EPERM.to_errno();
    }
    0
}
