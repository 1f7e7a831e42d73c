// SPDX-License-Identifier: GPL-2.0

//! The function's legacy interrupt (INTx): a line of our own, on which nobody else is.
//!
//! The line is of the level kind. The lender masks the function before it tells us of an interrupt, so masking here means nothing;
//! it unmasks the function when we ask for one more interrupt, which the interrupt core does when the driver has looked.
//!
//! Nobody on x86 knows the line: ACPI has no table for our bridge. So the function is given its number before a driver has it, and is
//! said to have been set up already (`irq_managed`), which is what `acpi_pci_irq_enable` looks at; and not any more before the driver
//! lets go of it, since `acpi_pci_irq_disable` would look for it.
//!
//! C header: [`include/linux/irq.h`](srctree/include/linux/irq.h).

use core::ptr;
use devlend_bindings as bindings;
use kernel::{
    error::to_result,
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::Arc, //
};

/// Gets the function's interrupts.
pub trait IntxOps: Send + Sync {
    /// The driver takes one more interrupt, or its first. Called with raw spinlocks held and interrupts off: must not sleep.
    fn unmask(&self);
}

/// The line.
///
/// # Invariants
///
/// `irq` is a descriptor of ours, whose chip data is `ops`.
pub(crate) struct IntxLine {
    irq: c_uint,
    /// Freed after the descriptor.
    _ops: KBox<Arc<dyn IntxOps>>,
}

impl IntxLine {
    /// A line that nobody has requested. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or from the interrupt core.
    pub(crate) fn new(ops: Arc<dyn IntxOps>) -> Result<Self> {
        let ops = KBox::new(ops, GFP_KERNEL)?;
        // Without an owner: whoever requests the interrupt keeps this module no more than the function does.
        // SAFETY: No requirements.
        let irq = unsafe {
            bindings::__irq_alloc_descs(
                -1,
                0,
                1,
                bindings::NUMA_NO_NODE,
                ptr::null_mut(),
                ptr::null(),
            )
        };
        to_result(irq.min(0))?;
        // CAST: Not negative.
        let irq = irq as c_uint;

        // SAFETY: The descriptor is ours and nobody knows it yet. Chip and name are static, and `ops` lives until it is freed.
        unsafe {
            bindings::irq_set_chip_data(irq, ptr::from_ref(&*ops).cast_mut().cast());
            bindings::irq_set_chip_and_handler_name(
                irq,
                &raw const CHIP.0,
                Some(bindings::handle_level_irq),
                c"level".as_char_ptr(),
            );
            // CAST: Flags of the lower 32 bits.
            bindings::irq_modify_status(
                irq,
                0,
                (bindings::IRQ_LEVEL | bindings::IRQ_NOPROBE) as c_ulong,
            );
        }
        // INVARIANT: Allocated and set up just now.
        Ok(Self { irq, _ops: ops })
    }

    /// Its number.
    pub(crate) fn number(&self) -> c_uint {
        self.irq
    }

    /// Raises the interrupt. From process context: the driver's handler runs, as a forced thread's would, and the soft interrupts that
    /// it raises.
    pub(crate) fn raise(&self) {
        // SAFETY: By the type invariant the descriptor is there; it is none of those that must be handled in interrupt context only.
        unsafe {
            bindings::local_bh_disable();
            bindings::generic_handle_irq_safe(self.irq);
            bindings::local_bh_enable();
        }
    }
}

impl Drop for IntxLine {
    fn drop(&mut self) {
        // SAFETY: Allocated in `new`. The function is removed, and with it whoever requested the interrupt.
        unsafe { bindings::irq_free_descs(self.irq, 1) };
    }
}

/// Gives a function its line.
///
/// # Safety
///
/// `pdev` must be valid and locked, and its driver not at it yet; `irq` must be the number of an [`IntxLine`] that outlives it.
pub(crate) unsafe fn assign(pdev: *mut bindings::pci_dev, irq: c_uint) {
    // SAFETY: By the safety requirements nobody else uses these fields yet.
    unsafe {
        (*pdev).irq = irq;
        (*pdev).set_irq_managed(1);
    }
}

/// Has nobody look for the line's set-up.
///
/// # Safety
///
/// `pdev` must be valid and locked.
pub(crate) unsafe fn release(pdev: *mut bindings::pci_dev) {
    // SAFETY: By the safety requirements.
    unsafe { (*pdev).set_irq_managed(0) };
}

/// A C structure that holds pointers, as an immutable static.
struct Chip(bindings::irq_chip);

// SAFETY: It is never written, and points to functions and literals only.
unsafe impl Sync for Chip {}

static CHIP: Chip = Chip(bindings::irq_chip {
    name: as_char_ptr_in_const_context(c"devlend-intx"),
    irq_mask: Some(mask),
    irq_unmask: Some(unmask),
    ..pin_init::zeroed()
});

/// # Safety
///
/// Called by the interrupt core as `irq_chip::irq_mask`, which has to be there for `irq_unmask` to be called.
unsafe extern "C" fn mask(_data: *mut bindings::irq_data) {}

/// # Safety
///
/// Called by the interrupt core as `irq_chip::irq_unmask` of an [`IntxLine`].
unsafe extern "C" fn unmask(data: *mut bindings::irq_data) {
    // SAFETY: The chip data was set in `new`, and lives as long as the descriptor.
    let ops = unsafe { &*(*data).chip_data.cast::<Arc<dyn IntxOps>>() };
    ops.unmask();
}
