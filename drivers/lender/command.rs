// SPDX-License-Identifier: GPL-2.0

//! `lend` and `reclaim`.

use crate::{
    driver::{
        self,
        Lending, //
    },
    registry, //
    serve,
};
use devlend_protocol::{
    Address,
    Isolation,
    LendCommand,
    LendWords, //
};
use kernel::{
    pci::Device,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Mutex, //
    },
};
use ntb::{
    pci,
    shown::Shown, //
};

/// One command at a time.
pub(crate) type Commands = Mutex<()>;

fn parse(line: &[u8]) -> Result<LendCommand> {
    LendCommand::parse(line).map_err(|error| {
        pr_err!(
            "{}; expected \"DDDD:BB:DD.F [unsafe] [force]\"\n",
            Shown(error)
        );
        EINVAL
    })
}

/// Lends a device. Sleeps for as long as its driver takes to let go.
pub(crate) fn lend(commands: &Commands, line: &[u8]) -> Result {
    let LendCommand { address, words } = parse(line)?;
    let _one = commands.lock();

    let Some(device) = pci::find(address) else {
        pr_err!("{}: no such device on this host\n", Shown(address));
        return Err(ENODEV);
    };
    let dev = (*device).as_ref();
    if pci::is_bridge(&device) {
        dev_err!(dev, "a bridge cannot be lent, nor the NTB itself\n");
        return Err(EPERM);
    }
    if registry::lock().find(address).is_some() {
        dev_err!(dev, "is lent already\n");
        return Err(EBUSY);
    }
    let isolation = if pci::is_isolated(&device) {
        Isolation::Iommu
    } else if words.contains(LendWords::UNSAFE) {
        dev_warn!(
            dev,
            "no IOMMU: the borrower's device can reach all of this host's memory\n"
        );
        Isolation::Unsafe
    } else {
        dev_err!(
            dev,
            "no IOMMU keeps the device from this host's memory; turn one on, or write \"{} unsafe\"\n",
            Shown(address)
        );
        return Err(EPERM);
    };
    if !words.contains(LendWords::FORCE) && pci::is_in_use(&device) {
        dev_err!(
            dev,
            "is in use (a disk is open or mounted, or a network interface up); stop its users, or add \"force\"\n"
        );
        return Err(EBUSY);
    }

    let previous = pci::driver_name(&device)?;
    pci::set_driver_override(&device, Some(driver::NAME))?;
    pci::release_driver(&device);
    driver::expect(Some(Lending {
        address,
        previous: copy(&previous)?,
        isolation,
    }));
    let attached = pci::attach_driver(&device);
    driver::expect(None);
    if let Err(error) = attached {
        dev_err!(dev, "could not be taken ({error:?}), giving it back\n");
        restore(&device, &previous);
        return Err(error);
    }
    serve::announce(address);
    Ok(())
}

/// Takes a device back, and gives it to its previous driver. Sleeps for as long as that takes to bind.
pub(crate) fn reclaim(commands: &Commands, line: &[u8]) -> Result {
    let LendCommand { address, words } = parse(line)?;
    let _one = commands.lock();
    reclaim_offer(address, words.contains(LendWords::FORCE))
}

fn reclaim_offer(address: Address, force: bool) -> Result {
    let (device, previous) = {
        let mut registry = registry::lock();
        let Some(offer) = registry.find(address) else {
            pr_err!("{}: is not lent\n", Shown(address));
            return Err(ENODEV);
        };
        if offer.lease.holder().is_some() && !force {
            dev_err!(
                offer.dev(),
                "is borrowed; return it there first, or add \"force\"\n"
            );
            return Err(EBUSY);
        }
        let device: ARef<Device> = offer.device.clone();
        (device, copy(&offer.previous)?)
    };

    pci::release_driver(&device);
    restore(&device, &previous);
    Ok(())
}

/// Lets the previous driver bind again, if there was one.
fn restore(device: &ARef<Device>, previous: &Option<CString>) {
    let dev = (**device).as_ref();
    if let Err(error) = pci::set_driver_override(device, None) {
        dev_err!(dev, "driver_override could not be cleared ({error:?})\n");
    }
    let Some(previous) = previous else {
        dev_info!(dev, "taken back; it had no driver before\n");
        return;
    };
    match pci::attach_driver(device) {
        Ok(()) => dev_info!(dev, "given back to {}\n", &**previous),
        Err(error) => dev_warn!(
            dev,
            "{} did not take it back ({error:?}); is it still loaded?\n",
            &**previous
        ),
    }
}

fn copy(name: &Option<CString>) -> Result<Option<CString>> {
    Ok(name.as_deref().map(CString::try_from).transpose()?)
}

/// Its drop takes all devices back, by force where it must be.
pub(crate) struct ReclaimAll;

impl Drop for ReclaimAll {
    fn drop(&mut self) {
        loop {
            let first = registry::lock().offers.first().map(|offer| offer.address);
            let Some(address) = first else { return };
            if reclaim_offer(address, true).is_err() {
                return;
            }
        }
    }
}
