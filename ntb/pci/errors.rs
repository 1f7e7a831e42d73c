// SPDX-License-Identifier: GPL-2.0

//! What a driver does when the PCI core recovers a device from an error (AER, DPC), or resets it; the kernel crate does not offer it
//! yet.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h), `struct pci_error_handlers`; the order of the calls is in
//! `Documentation/PCI/pci-error-recovery.rst`.

use super::raw;
use devlend_bindings as bindings;
use kernel::{
    device::Core,
    pci::Device, //
};

/// A driver's part in that. All calls come with the device lock held, and may sleep.
pub trait ErrorHandlers {
    /// A transaction has failed, the device works on.
    fn nonfatal(device: &Device<Core<'_>>);

    /// The device is cut off: it neither answers nor reaches anything until it has been reset, which the PCI core does
    /// next. Also called when it is lost for good.
    fn cut_off(device: &Device<Core<'_>>);

    /// It has been reset after an error, its configuration space is as it was when the driver was bound.
    fn recovered(device: &Device<Core<'_>>);

    /// It is about to be reset, by whoever: afterwards the PCI core puts back its configuration space as this leaves it.
    fn reset_begins(device: &Device<Core<'_>>);

    /// It has been reset so, or that has failed; its configuration space was put back.
    fn reset_ended(device: &Device<Core<'_>>);
}

struct Table<T: ErrorHandlers>(core::marker::PhantomData<T>);

impl<T: ErrorHandlers> Table<T> {
    const HANDLERS: bindings::pci_error_handlers = bindings::pci_error_handlers {
        error_detected: Some(Self::error_detected),
        mmio_enabled: None,
        slot_reset: Some(Self::slot_reset),
        reset_prepare: Some(Self::reset_prepare),
        reset_done: Some(Self::reset_done),
        resume: None,
        cor_error_detected: None,
    };

    /// # Safety
    ///
    /// Called by the PCI core, with the device bound and locked.
    unsafe extern "C" fn error_detected(
        device: *mut bindings::pci_dev,
        state: bindings::pci_channel_state_t,
    ) -> bindings::pci_ers_result_t {
        // SAFETY: The device is valid, bound and locked. CAST: Devices of all contexts are transparent over
        // `struct pci_dev`.
        let device = unsafe { &*device.cast::<Device<Core<'_>>>() };
        match state {
            bindings::pci_channel_io_normal => {
                T::nonfatal(device);
                bindings::pci_ers_result_PCI_ERS_RESULT_CAN_RECOVER
            }
            bindings::pci_channel_io_frozen => {
                T::cut_off(device);
                bindings::pci_ers_result_PCI_ERS_RESULT_NEED_RESET
            }
            _ => {
                T::cut_off(device);
                bindings::pci_ers_result_PCI_ERS_RESULT_DISCONNECT
            }
        }
    }

    /// # Safety
    ///
    /// As [`error_detected`](Self::error_detected).
    unsafe extern "C" fn slot_reset(device: *mut bindings::pci_dev) -> bindings::pci_ers_result_t {
        // SAFETY: The device is valid, bound and locked; the PCI core has saved its state when it was added.
        unsafe { bindings::pci_restore_state(device) };
        // SAFETY: As in `error_detected`.
        T::recovered(unsafe { &*device.cast::<Device<Core<'_>>>() });
        bindings::pci_ers_result_PCI_ERS_RESULT_RECOVERED
    }

    /// # Safety
    ///
    /// As [`error_detected`](Self::error_detected).
    unsafe extern "C" fn reset_prepare(device: *mut bindings::pci_dev) {
        // SAFETY: As in `error_detected`.
        T::reset_begins(unsafe { &*device.cast::<Device<Core<'_>>>() });
    }

    /// # Safety
    ///
    /// As [`error_detected`](Self::error_detected).
    unsafe extern "C" fn reset_done(device: *mut bindings::pci_dev) {
        // SAFETY: As in `error_detected`.
        T::reset_ended(unsafe { &*device.cast::<Device<Core<'_>>>() });
    }
}

/// Makes `T` the part in recoveries of the driver that is bound to the device: of all its devices. To be called by its
/// probe.
///
/// `T` must be of the driver's own module.
pub fn handle_errors<T: ErrorHandlers + 'static>(device: &Device<Core<'_>>) {
    // SAFETY: In its probe a driver is bound to the device, and its `struct pci_driver` can be written. The PCI core reads
    // the pointer with the device locked, as it is here; each probe writes the same. The handlers live as long as the
    // module's code.
    unsafe { (*(*raw(device)).driver).err_handler = &raw const *const { &Table::<T>::HANDLERS } };
}
