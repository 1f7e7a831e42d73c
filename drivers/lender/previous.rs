// SPDX-License-Identifier: GPL-2.0

//! Who had a device before it was lent, and gets it back.

use kernel::{
    pci::Device,
    prelude::*,
    str::CString, //
};
use ntb::pci;

/// How a device was before it was lent.
pub(crate) struct Previous {
    /// Its driver.
    pub(crate) driver: Option<CString>,
    /// Which driver alone was to bind to it.
    driver_override: Option<CString>,
}

impl Previous {
    /// How the device is now. Sleeps while it is being bound or unbound.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn of(device: &Device) -> Result<Self> {
        Ok(Self {
            driver: pci::driver_name(device)?,
            driver_override: pci::driver_override(device)?,
        })
    }

    /// Gives the device back, which no driver is bound to. Sleeps for as long as the driver takes to bind.
    pub(crate) fn restore(&self, device: &Device) {
        match &self.driver {
            Some(driver) => self.rebind(device, driver),
            None => dev_info!(device, "taken back; it had no driver before\n"),
        }
        if let Err(error) = pci::set_driver_override(device, self.driver_override.as_deref()) {
            dev_err!(
                device,
                "driver_override could not be restored ({error:?})\n"
            );
        }
    }

    /// Binds the driver it had, and no other that matches too.
    fn rebind(&self, device: &Device, driver: &CStr) {
        let bound = pci::set_driver_override(device, Some(driver))
            .and_then(|()| pci::attach_driver(device));
        match bound {
            Ok(()) => dev_info!(device, "given back to {driver}\n"),
            Err(error) => dev_warn!(
                device,
                "{driver} did not take it back ({error:?}); is it still loaded?\n"
            ),
        }
    }
}
