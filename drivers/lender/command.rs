// SPDX-License-Identifier: GPL-2.0

//! `lend` and `reclaim`.

use crate::{
    driver::{
        self,
        Lending, //
    },
    eligible, events,
    previous::Previous,
    registry, serve,
    watch::{
        Waited,
        Watch, //
    },
};
use devlend_protocol::{
    Address,
    Features,
    LendCommand,
    LendWords,
    ReclaimCommand,
    RevokeReason,
    TakeBack, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};
use ntb::{
    link::{
        Notice,
        Signal, //
    },
    pci,
    role,
    shown::Shown, //
};

/// One command at a time, but for the time in which one waits for a borrower.
pub(crate) type Commands = Mutex<()>;

fn parse(line: &[u8]) -> Result<LendCommand> {
    LendCommand::parse(line).map_err(|error| {
        pr_err!(
            "{}; expected \"DDDD:BB:DD.F [unsafe] [force] [for=LINK,...]\"\n",
            Shown(error)
        );
        EINVAL
    })
}

/// Lends a device. Sleeps for as long as its driver takes to let go.
pub(crate) fn lend(commands: &Commands, line: &[u8]) -> Result {
    let LendCommand {
        address,
        words,
        audience,
    } = parse(line)?;
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
    if let Some(nobody) = audience.named().find(|&link| !is_ntb(link)) {
        dev_err!(
            dev,
            "there is no link {} that it could be for\n",
            Shown(nobody)
        );
        return Err(ENXIO);
    }

    // What can be known without taking the device from its driver.
    eligible::check(&device)?;
    let accept_unsafe = words.contains(LendWords::UNSAFE);
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
        audience,
    };
    if let Err(error) = driver::bind(&device, lending) {
        dev_err!(dev, "could not be taken ({error:?}), giving it back\n");
        // From another driver, if one was faster than ours.
        pci::release_driver(&device);
        previous.restore(&device);
        return Err(error);
    }
    serve::announce(address, &audience);
    Ok(())
}

/// Whether an NTB that a link uses is at that address; not all have the class of a bridge.
fn is_ntb(at: Address) -> bool {
    let mut found = false;
    role::for_each_link(|link| found |= pci::address(link.pci()) == at);
    found
}

/// Takes a device back, and gives it to its previous driver. Sleeps until the borrower has given it back or the deadline is
/// over, and for as long as the driver takes to bind.
pub(crate) fn reclaim(commands: &Commands, line: &[u8]) -> Result {
    let ReclaimCommand { address, deadline } = ReclaimCommand::parse(line).map_err(|error| {
        pr_err!(
            "{}; expected \"DDDD:BB:DD.F [force] [deadline=SECONDS]\"\n",
            Shown(error)
        );
        EINVAL
    })?;
    let Some(seconds) = deadline else {
        let _one = commands.lock();
        return take(address, RevokeReason::Reclaimed).map_err(|_| not_lent(address));
    };

    let watch = want(commands, address)?;
    ask(address, seconds);
    let start = Instant::<Monotonic>::now();
    // Nothing is locked meanwhile: another command may take the device at once.
    let waited = watch.wait(Delta::from_secs(seconds.into()), || {
        CLOSING.load(Relaxed) || !is_lent(address)
    });
    let waited_ms = start.elapsed().as_millis();
    if waited == Waited::Signal {
        unwant(address);
        return Err(EINTR);
    }

    let _one = commands.lock();
    if is_lent(address) {
        pr_warn!(
            "{}: its borrower has not given it back within {waited_ms} ms: taking it\n",
            Shown(address)
        );
    } else if waited_ms != 0 {
        pr_info!(
            "{}: its borrower has given it back after {waited_ms} ms\n",
            Shown(address)
        );
    }
    match take(address, RevokeReason::Forced) {
        // Somebody was faster.
        Err(error) if error == ENODEV => Ok(()),
        taken => taken,
    }
}

/// Keeps everybody from opening an offer.
fn want(commands: &Commands, address: Address) -> Result<Arc<Watch>> {
    let _one = commands.lock();
    let mut registry = registry::lock();
    let offer = registry.find(address).ok_or_else(|| not_lent(address))?;
    if !offer.lease.want() {
        dev_err!(
            offer.dev(),
            "is being taken back already; add \"force\" to do it now\n"
        );
        return Err(EBUSY);
    }
    Ok(offer.watch.clone())
}

/// Lets others open it again.
fn unwant(address: Address) {
    let audience = {
        let mut registry = registry::lock();
        let Some(offer) = registry.find(address) else {
            return;
        };
        offer.lease.unwant();
        dev_info!(offer.dev(), "is not taken back: interrupted\n");
        offer.audience
    };
    serve::announce(address, &audience);
}

/// Asks the borrower, if there is one, to give a device back.
fn ask(address: Address, seconds: u16) {
    let asked = {
        let mut registry = registry::lock();
        let Some(offer) = registry.find(address) else {
            return;
        };
        let link = offer.active.as_ref().map(|active| active.link.clone());
        let Some((holder, link)) = offer.lease.holder().zip(link) else {
            return;
        };
        dev_info!(
            offer.dev(),
            "asking link {} to give it back within {seconds} s, epoch {}\n",
            link.name(),
            holder.epoch.get()
        );
        (offer.device.clone(), holder.epoch.get(), link)
    };
    let (device, epoch, link) = asked;
    events::asked(&device, address, &link, epoch, seconds);
    let understands = link
        .peer()
        .is_ok_and(|peer| peer.features.contains(Features::TAKE_BACK));
    let signal = Signal::TakeBack(TakeBack {
        address: u32::from(address).into(),
        seconds: u32::from(seconds).into(),
    });
    if !understands || Notice::once(&link, signal, epoch).is_err() {
        dev_warn!(
            link.dev(),
            "the borrower cannot be asked: waiting for {} to be returned\n",
            Shown(address)
        );
    }
}

fn is_lent(address: Address) -> bool {
    registry::lock()
        .find(address)
        .is_some_and(|offer| offer.lease.holder().is_some())
}

fn not_lent(address: Address) -> Error {
    pr_err!("{}: is not lent\n", Shown(address));
    ENODEV
}

/// Takes a device back, from its borrower if it has one.
fn take(address: Address, reason: RevokeReason) -> Result {
    let (device, previous) = {
        let mut registry = registry::lock();
        let offer = registry.find(address).ok_or(ENODEV)?;
        offer.taking = Some(reason);
        (offer.device.clone(), offer.previous.clone())
    };

    pci::release_driver(&device);
    previous.restore(&device);
    Ok(())
}

/// The module goes: nobody waits for a borrower any more.
static CLOSING: Atomic<bool> = Atomic::new(false);

/// Its drop ends the wait of commands for borrowers: they take the devices by force.
pub(crate) struct HurryUp;

impl Drop for HurryUp {
    fn drop(&mut self) {
        CLOSING.store(true, Relaxed);
        for offer in &registry::lock().offers {
            offer.watch.wake();
        }
    }
}

/// Its drop takes all devices back, by force where it must be.
pub(crate) struct ReclaimAll;

impl Drop for ReclaimAll {
    fn drop(&mut self) {
        loop {
            let first = registry::lock().offers.first().map(|offer| offer.address);
            let Some(address) = first else { return };
            // An error: it went by itself meanwhile.
            let _ = take(address, RevokeReason::Reclaimed);
        }
    }
}
