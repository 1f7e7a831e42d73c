// SPDX-License-Identifier: GPL-2.0

//! The windows of a link: planned once, opened for each session.

use super::Link;
use crate::{
    device::Device,
    memory::Ram,
    shown::Shown, //
};
use devlend_protocol::{
    plan,
    Plan,
    Window,
    CONTROL_SIZE, //
};
use kernel::prelude::*;

impl Link {
    /// The plan, made if there is none yet. The link must be up. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: nothing useful fits, which the log explains; others from the hardware driver.
    pub(super) fn plan_windows(&self, device: &Device) -> Result<&Plan> {
        if let Some(plan) = self.plan() {
            return Ok(plan);
        }
        let mut windows = KVec::new();
        for index in 0..device.window_count() {
            let inbound = device.inbound(index)?;
            let window = Window {
                index,
                size: inbound.size_max,
                align: inbound.address_align,
                natural: device.natural_windows(),
            };
            windows.push(window, GFP_KERNEL)?;
        }
        // CAST: A small constant.
        let control = (self.control, CONTROL_SIZE as u64);
        let plan = plan(&windows, Ram::of_host().end, control).map_err(|error| {
            dev_err!(device.dev(), "no window plan: {}\n", Shown(error));
            ENOSPC
        })?;
        dev_info!(
            device.dev(),
            "memory window {} shows {} of {} bytes of RAM, MMIO window {} has {} bytes, interrupts are in window {}\n",
            plan.memory_window,
            plan.dma_available,
            plan.dma_needed,
            plan.mmio_window,
            plan.mmio_size,
            plan.msi_window
        );
        self.plan.populate(plan);
        self.plan().ok_or(ENOSPC)
    }
}

impl Link {
    /// Takes this host's memory and interrupts away from the peer: what was lent to us over the old session must not
    /// reach them any more. May sleep.
    pub(super) fn close_windows(&self, device: &Device) {
        if let Some(plan) = self.plan() {
            let _ = self.close(device, plan.memory_window, plan.memory_base);
            if plan.msi_window != plan.memory_window {
                let _ = self.close(device, plan.msi_window, plan.msi_base);
            }
        }
    }

    /// Shuts the MMIO window, if it is open: `shown` is the address that it shows. May sleep.
    pub(super) fn hide(&self, device: &Device, shown: &mut Option<u64>) {
        if let (Some(plan), Some(address)) = (self.plan(), *shown) {
            if self.close(device, plan.mmio_window, address).is_ok() {
                *shown = None;
            }
        }
    }

    fn close(&self, device: &Device, index: u8, address: u64) -> Result {
        device
            .clear_translation(index, address)
            .inspect_err(|error| {
                self.complain(|| {
                    dev_err!(
                        self.dev(),
                        "cannot shut window {index} ({error:?}): the peer may reach what it has shown\n"
                    )
                });
            })
    }
}

/// Opens the windows that stay open for a session. The MMIO window opens with a lease. May sleep.
pub(super) fn open(device: &Device, plan: &Plan) -> Result {
    let set = |index, base, size| {
        device
            .set_translation(index, base, size)
            .inspect_err(|error| dev_err!(device.dev(), "cannot open window {index}: {error:?}\n"))
    };

    set(plan.memory_window, plan.memory_base, plan.memory_size)?;
    if plan.msi_window != plan.memory_window {
        set(plan.msi_window, plan.msi_base, plan.msi_size)?;
    }
    Ok(())
}
