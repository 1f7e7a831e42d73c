// SPDX-License-Identifier: GPL-2.0

//! `lend` and `reclaim`.

use crate::{
    driver::{
        self,
        Lending, //
    },
    previous::Previous,
    registry,
    serve, //
};
use devlend_protocol::{
    Address,
    LendCommand,
    LendWords, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use ntb::{
    pci,
    role,
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
    if pci::is_bridge(&device) || is_ntb(address) {
        dev_err!(dev, "a bridge cannot be lent, nor the NTB itself\n");
        return Err(EPERM);
    }
    if registry::lock().find(address).is_some() {
        dev_err!(dev, "is lent already\n");
        return Err(EBUSY);
    }
    let accept_unsafe = words.contains(LendWords::UNSAFE);
    // What can be known without taking the device from its driver.
    if !accept_unsafe && !pci::can_be_confined(&device) {
        driver::refuse_unsafe(&device);
        return Err(EPERM);
    }
    if !words.contains(LendWords::FORCE) && pci::is_in_use(&device) {
        dev_err!(
            dev,
            "is in use (a disk is open or mounted, or a network interface up); stop its users, or add \"force\"\n"
        );
        return Err(EBUSY);
    }

    let previous = Arc::new(Previous::of(&device)?, GFP_KERNEL)?;
    pci::set_driver_override(&device, Some(driver::NAME))?;
    pci::release_driver(&device);
    let lending = Lending {
        address,
        previous: previous.clone(),
        accept_unsafe,
    };
    if let Err(error) = driver::bind(&device, lending) {
        dev_err!(dev, "could not be taken ({error:?}), giving it back\n");
        // From another driver, if one was faster than ours.
        pci::release_driver(&device);
        previous.restore(&device);
        return Err(error);
    }
    serve::announce(address);
    Ok(())
}

/// Whether an NTB that a link uses is at that address; not all have the class of a bridge.
fn is_ntb(at: Address) -> bool {
    let mut found = false;
    role::for_each_link(|link| found |= pci::address(link.pci()) == at);
    found
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
        (offer.device.clone(), offer.previous.clone())
    };

    pci::release_driver(&device);
    previous.restore(&device);
    Ok(())
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
