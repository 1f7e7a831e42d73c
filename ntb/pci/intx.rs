// SPDX-License-Identifier: GPL-2.0

//! Legacy interrupts (INTx) of a function, which share their line with those of others.
//!
//! C headers: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h),
//! [`include/linux/pci.h`](srctree/include/linux/pci.h).

use super::raw;
use devlend_bindings as bindings;
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    pci::Device,
    prelude::*,
    sync::Arc, //
};

/// Not connected to any interrupt controller (`IRQ_NOTCONNECTED`).
const NOT_CONNECTED: c_uint = 1 << 31;

/// Whether the function has an interrupt pin.
pub fn has_intx(device: &Device) -> bool {
    // SAFETY: `device` is a valid `struct pci_dev`, and the field does not change.
    unsafe { (*raw(device)).pin != 0 }
}

/// Whether INTx can be masked in the function. The PCI core has tried when it found the function.
pub fn can_mask_intx(device: &Device) -> bool {
    // SAFETY: As in `has_intx`. As `pci_intx_mask_supported`, which is inline.
    unsafe { (*raw(device)).broken_intx_masking() == 0 }
}

/// Lets the function raise INTx, or keeps it from that. Does not sleep.
///
/// Reads Command and writes it: nobody else may be about to.
pub fn set_intx(device: &Device, on: bool) {
    // SAFETY: `device` is a valid `struct pci_dev`.
    unsafe { bindings::pci_intx(raw(device), c_int::from(on)) };
}

/// Masks INTx if the function raises it, and says whether it does. Does not sleep; for Command as [`set_intx`].
pub fn check_and_mask_intx(device: &Device) -> bool {
    // SAFETY: `device` is a valid `struct pci_dev`.
    unsafe { bindings::pci_check_and_mask_intx(raw(device)) }
}

/// What is done when the line of a function is asserted.
pub trait IntxHandler: Send + Sync {
    /// Called in hard interrupt context, whichever function it was on the line; on several processors at once. Says whether it was
    /// this one.
    fn handle(&self) -> bool;
}

/// A handler on a function's line. When its drop returns the handler does not run any more.
///
/// # Invariants
///
/// `handler` is requested for `irq`.
pub struct IntxLine<T: IntxHandler> {
    irq: c_uint,
    handler: Arc<T>,
}

impl<T: IntxHandler> IntxLine<T> {
    /// Has `handler` called. Sleeps. The function has been enabled, and stays so while this exists.
    ///
    /// # Errors
    ///
    /// `ENXIO`: the function's pin leads nowhere; others if somebody has the line for themselves.
    pub fn new(device: &Device, handler: Arc<T>) -> Result<Self> {
        // SAFETY: `device` is a valid `struct pci_dev`; the number was set when it was enabled.
        let irq = unsafe { (*raw(device)).irq };
        if irq == 0 || irq >= NOT_CONNECTED {
            return Err(ENXIO);
        }
        // SAFETY: What is passed to `handle` is an `Arc<T>`'s, which is dropped after the interrupt was freed. The name is static.
        to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(handle::<T>),
                None,
                // CAST: A small constant.
                bindings::IRQF_SHARED as usize,
                c"devlend".as_char_ptr(),
                Arc::as_ptr(&handler).cast_mut().cast(),
            )
        })?;
        // INVARIANT: Requested just now.
        Ok(Self { irq, handler })
    }
}

impl<T: IntxHandler> Drop for IntxLine<T> {
    fn drop(&mut self) {
        let data = Arc::as_ptr(&self.handler).cast_mut().cast();
        // SAFETY: By the type invariant; the line's descriptor is the platform's.
        unsafe { bindings::free_irq(self.irq, data) };
    }
}

/// # Safety
///
/// Called by the interrupt core, with what an `IntxLine<T>` has requested it with.
unsafe extern "C" fn handle<T: IntxHandler>(
    _irq: c_int,
    data: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: By the safety requirements this is the handler of an `IntxLine`, which exists.
    if unsafe { &*data.cast::<T>() }.handle() {
        bindings::series::IRQ_HANDLED
    } else {
        bindings::series::IRQ_NONE
    }
}
