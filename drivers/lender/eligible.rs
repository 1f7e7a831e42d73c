// SPDX-License-Identifier: GPL-2.0

//! Which devices can be lent at all: what can be known without taking one from its driver.

use kernel::{
    pci::Device,
    prelude::*, //
};
use ntb::{
    errno::eopnotsupp,
    pci,
    shown::Shown, //
};

/// Refuses a device that cannot be lent, and says why, and what to do.
///
/// # Errors
///
/// `EBUSY`: a physical function whose virtual functions are enabled; `EOPNOTSUPP`: no memory BAR.
pub(crate) fn check(device: &Device) -> Result {
    let virtual_functions = pci::virtual_functions(device);
    if virtual_functions != 0 {
        dev_err!(
            device,
            "has {virtual_functions} virtual functions enabled, which would go with it; lend those, or write 0 to /sys/bus/pci/devices/{}/sriov_numvfs first\n",
            Shown(pci::address(device))
        );
        return Err(EBUSY);
    }
    if pci::bars(device).iter().all(|bar| bar.size == 0) {
        dev_err!(
            device,
            "has no memory BAR with an address, and nothing else of it crosses the NTB (neither I/O ports nor an expansion ROM): it cannot be lent\n"
        );
        tell_hidden_bars(device);
        return Err(eopnotsupp());
    }
    Ok(())
}

/// Says which BARs no borrower will see.
pub(crate) fn tell_hidden_bars(device: &Device) {
    for (index, why) in pci::hidden_bars(device) {
        dev_info!(device, "BAR {index} is hidden from borrowers: {why}\n");
    }
}
