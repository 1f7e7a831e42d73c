// SPDX-License-Identifier: GPL-2.0

//! Requests of borrowers.
//!
//! They run from the works of their links, those of several links at once, and with the end of their own link. What belongs
//! together is done with the registry locked; a reset, which takes long, is not. None waits for the borrower.

use crate::{
    events,
    lease::{
        self,
        Active, //
    },
    offer::{
        self,
        Offer, //
    },
    registry::{
        self,
        Registry,
        REGISTRY, //
    },
};
use devlend_config::IntxGate;
use devlend_protocol::{
    Address,
    Audience,
    Clunk,
    ConfigRead,
    ConfigValue,
    ConfigWrite,
    Empty,
    Holder,
    Image,
    ImageReply,
    Kind,
    List,
    Open,
    Reset,
    RevokeReason,
    Revoked,
    Status,
    IMAGE_CHUNK, //
};
use kernel::{
    pci::Device,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        GlobalGuard, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};
use ntb::{
    link::{
        Incoming,
        Link,
        Notice,
        Signal, //
    },
    pci,
    role::{
        self,
        Lender, //
    },
    suspend, //
};

/// How long a configuration access or an open waits for somebody on this host who resets the device; its borrower waits for 2 s.
const LONGEST_RESET: Delta = Delta::from_millis(1500);

/// How often a reset is tried while somebody else has the device locked, a tenth of a second apart.
const RESET_TRIES: usize = 10;

/// The lender, as the links see it.
pub(crate) struct Server;

impl Lender for Server {
    fn request(&self, link: &Arc<Link>, request: &mut Incoming<'_>) -> Result<(), Status> {
        match request.kind()? {
            Kind::List => list(link, request),
            Kind::Open => open(link, request),
            Kind::Image => {
                held(&mut registry::lock(), link, request).and_then(|offer| image(offer, request))
            }
            Kind::ConfigRead => held(&mut at_rest_for(link, request), link, request)
                .and_then(|offer| config_read(offer, request)),
            Kind::ConfigWrite => held(&mut at_rest_for(link, request), link, request)
                .and_then(|offer| config_write(offer, request)),
            Kind::Reset => reset_lent(link, request),
            Kind::Clunk => clunk(link, request),
            Kind::Version
            | Kind::Attach
            | Kind::Prove
            | Kind::OfferChanged
            | Kind::Revoked
            | Kind::TakeBack
            | Kind::DeviceError
            | Kind::Interrupt
            | Kind::Unmask => Err(Status::Unsupported),
        }
    }

    fn unmask(&self, link: &Arc<Link>, epoch: u32) -> bool {
        let registry = registry::lock();
        let offer = registry
            .offers
            .iter()
            .find(|offer| offer.lease.check(epoch, link.id()).is_ok());
        let active = offer.and_then(|offer| offer.active.as_ref());
        let intx = active.and_then(|active| active.intx.as_ref());
        intx.map(|intx| intx.unmask(epoch)).is_some()
    }

    fn link_down(&self, link: &Arc<Link>) {
        end(link, |_| true, events::LINK_LOST);
    }

    fn link_removed(&self, link: &Arc<Link>) {
        let mut last = None;
        // Whoever opens them has them reset now.
        while let Some((address, _, audience)) = next(last, |offer| offer.lease.forget(link.id())) {
            last = Some(address);
            announce(address, &audience);
        }
    }

    fn in_use(&self) -> bool {
        let registry = registry::lock();
        registry.offers.iter().any(|offer| offer.active.is_some())
    }
}

/// Tells the peers an offer is for that it came, went or changed hands.
pub(crate) fn announce(address: Address, audience: &Audience) {
    role::for_each_link(|link| {
        if offer::is_for(audience, link) {
            link.tell_offer_changed(address.into());
        }
    });
}

/// Says that a device was taken from its borrower, to everybody who is to know.
pub(crate) fn tell_revoked(
    device: &Device,
    address: Address,
    link: &Arc<Link>,
    holder: Holder,
    reason: RevokeReason,
) {
    let epoch = holder.epoch.get();
    dev_warn!(
        device,
        "taken from the borrower at link {}, epoch {epoch} ({})\n",
        link.name(),
        reason.as_str()
    );
    events::COUNTERS.forced.count();
    events::ended(device, address, link, epoch, reason.as_str());
    let signal = Signal::Revoked(Revoked {
        address: u32::from(address).into(),
        reason: reason.into(),
    });
    if Notice::once(link, signal, epoch).is_err() {
        // Rather none of its devices than one that is no longer its own.
        if let Ok(peer) = link.peer() {
            link.end_session(peer.session);
        }
    }
}

/// Ends leases of a link. When it returns nothing of the borrower is left, and the peers know.
fn end(link: &Link, which: impl Fn(&Offer) -> bool, why: &str) {
    stop(link, which, why);
    clean(link);
}

/// Ends leases of a link, but for the resets: no device does DMA any more before the window closes.
fn stop(link: &Link, which: impl Fn(&Offer) -> bool, why: &str) {
    let mut registry = registry::lock();
    for offer in &mut registry.offers {
        if offer.lease.is_held_by(link.id()) && which(offer) {
            let epoch = offer.epoch();
            link.report(|| {
                dev_info!(
                    offer.dev(),
                    "lease over link {}, epoch {epoch} ended: {why}\n",
                    link.name()
                )
            });
            lease::end(offer);
            events::ended(&offer.device, offer.address, link, epoch, why);
        }
    }
    registry.close_window(link);
}

/// Resets the devices whose leases over this link have ended, and offers them again; those too that could not be reset before.
fn clean(link: &Link) {
    let mut last = None;
    // By the caller: the registry is not locked during a reset.
    while let Some((address, device, audience)) = next(last, |offer| offer.lease.clean(link.id())) {
        last = Some(address);
        let reset = reset(address, &device, |offer| offer.lease.is_cleaning());
        // What cannot be reset at all is lent as it is; but not while others are at it.
        let is_clean = match reset {
            Ok(()) => true,
            Err(error) => error != EBUSY && !pci::can_be_reset(&device),
        };
        if let Err(error) = reset {
            link.complain(|| {
                dev_warn!(
                    device,
                    "the device could not be reset after its lease ({error:?}); bus mastering is off\n"
                )
            });
        }
        let is_offered = {
            let mut registry = registry::lock();
            // Otherwise it is no longer ours, or others are at it. As long as it is in the registry nobody else gets it.
            let offer = registry.find(address);
            offer
                .filter(|offer| offer.lease.is_cleaning())
                .is_some_and(|offer| offer.lease.cleaned(is_clean) && is_clean)
        };
        if is_offered {
            announce(address, &audience);
        }
    }
}

/// The next device, by address, for which `test` says so; for who goes through all without the registry locked meanwhile.
fn next(
    after: Option<Address>,
    mut test: impl FnMut(&mut Offer) -> bool,
) -> Option<(Address, ARef<Device>, Audience)> {
    let mut registry = registry::lock();
    let mut last = after;
    loop {
        let offer = registry
            .offers
            .iter_mut()
            .filter(|offer| last.is_none_or(|last| offer.address > last))
            .min_by_key(|offer| offer.address)?;
        if test(offer) {
            return Some((offer.address, offer.device.clone(), offer.audience));
        }
        last = Some(offer.address);
    }
}

/// The registry, locked when nobody on this host resets the device for which `is_it` says so; or after a while, if that takes long.
fn at_rest(is_it: impl Fn(&Offer) -> bool) -> GlobalGuard<REGISTRY> {
    let start = Instant::<Monotonic>::now();
    while start.elapsed() < LONGEST_RESET {
        let registry = registry::lock();
        let is_reset = |offer: &Offer| offer.is_being_reset && is_it(offer);
        if !registry.offers.iter().any(is_reset) {
            return registry;
        }
        drop(registry);
        fsleep(Delta::from_millis(1));
    }
    registry::lock()
}

/// The same for the device whose lease the request names.
fn at_rest_for(link: &Link, request: &Incoming<'_>) -> GlobalGuard<REGISTRY> {
    at_rest(|offer| offer.lease.check(request.epoch(), link.id()).is_ok())
}

/// The offer whose lease the request names.
fn held<'a>(
    registry: &'a mut Registry,
    link: &Link,
    request: &Incoming<'_>,
) -> Result<&'a mut Offer, Status> {
    registry
        .offers
        .iter_mut()
        .find(|offer| offer.lease.check(request.epoch(), link.id()).is_ok())
        .ok_or(Status::Stale)
}

fn list(link: &Link, request: &mut Incoming<'_>) -> Result<(), Status> {
    let List { index } = request.body()?;
    let registry = registry::lock();
    // CAST: A `usize` has at least 32 bits.
    let offer = registry
        .offers
        .iter()
        .filter(|offer| offer.is_for(link))
        .nth(index.get() as usize)
        .ok_or(Status::NotFound)?;
    request.reply::<List>(&offer.describe(link));
    Ok(())
}

fn open(link: &Arc<Link>, request: &mut Incoming<'_>) -> Result<(), Status> {
    let Open { address } = request.body()?;
    let address = Address::from(address.get());

    if let Some(offer) = registry::lock().find(address) {
        if offer.is_for(link) {
            offer.lease.adopt(link.id());
        }
    }
    // No borrower opens what it has: this one did not hear that it has it.
    end(link, |offer| offer.address == address, "it is opened anew");
    let mut registry = at_rest(|offer| offer.address == address);
    let audience = open_free(&mut registry, link, address, request)?;
    drop(registry);
    if let Some(audience) = audience {
        announce(address, &audience);
    }
    Ok(())
}

/// Opens an offer that is free; `None` if that is refused with an answer of its own.
fn open_free(
    registry: &mut Registry,
    link: &Arc<Link>,
    address: Address,
    request: &mut Incoming<'_>,
) -> Result<Option<Audience>, Status> {
    let offer = registry
        .find(address)
        // What is for others is answered as if it were not there.
        .filter(|offer| offer.is_for(link))
        .ok_or(Status::NotFound)?;
    if !offer.lease.is_free() || offer.is_being_reset || suspend::is_near() {
        return Err(Status::Taken);
    }
    // From here on the end of the session finds the lease.
    if !request.is_current(link) {
        return Err(Status::Gone);
    }
    let active = Active::new(offer, link)?;
    let span = match registry.open_window(link, address) {
        Ok(span) => span,
        Err(Some(no_space)) => {
            link.complain(|| {
                pr_err!(
                    "{}: its BARs do not fit the MMIO window of link {}: {}\n",
                    ntb::shown::Shown(address),
                    link.name(),
                    ntb::shown::Shown(no_space)
                )
            });
            request.no_space(no_space);
            return Ok(None);
        }
        Err(None) => return Err(Status::Io),
    };

    let after = registry.last_epoch;
    let offer = registry.find(address).ok_or(Status::NotFound)?;
    let epoch = match offer.lease.open(link.id(), after) {
        Ok(epoch) => epoch.get(),
        Err(status) => {
            registry.close_window(link);
            return Err(status);
        }
    };
    request.reply::<Open>(&active.describe(offer, epoch, span));
    offer.active = Some(active);
    link.report(|| {
        dev_info!(
            offer.dev(),
            "lent over link {}, epoch {epoch}\n",
            link.name()
        )
    });
    events::begun(&offer.device, address, link, epoch);
    let audience = offer.audience;
    registry.last_epoch = epoch;
    Ok(Some(audience))
}

fn image(offer: &mut Offer, request: &mut Incoming<'_>) -> Result<(), Status> {
    let Image { offset } = request.body()?;
    let active = offer.active.as_ref().ok_or(Status::Stale)?;
    let start = usize::from(offset.get());

    let bytes = active
        .image
        .get(start..)
        .and_then(|rest| rest.first_chunk::<IMAGE_CHUNK>())
        .ok_or(Status::Malformed)?;
    request.reply::<Image>(&ImageReply { bytes: *bytes });
    Ok(())
}

fn config_read(offer: &mut Offer, request: &mut Incoming<'_>) -> Result<(), Status> {
    let ConfigRead { offset, size } = request.body()?;
    let active = offer.active.as_ref().ok_or(Status::Stale)?;

    if !active.policy.admit_read(offset.get(), size) {
        return Err(Status::Denied);
    }
    let value = present_value(offer, offset.get(), size)?;
    let value = active.policy.filter_read(offset.get(), size, value).into();
    request.reply::<ConfigRead>(&ConfigValue { value });
    Ok(())
}

fn config_write(offer: &mut Offer, request: &mut Incoming<'_>) -> Result<(), Status> {
    let ConfigWrite {
        offset,
        size,
        value,
    } = request.body()?;
    let active = offer.active.as_ref().ok_or(Status::Stale)?;

    // Nothing is read from the device for a register the borrower has no business with.
    if active
        .policy
        .admit_write(offset.get(), size, value.get(), 0)
        .is_none()
    {
        return Err(Status::Denied);
    }
    let write = |gate: Option<&mut IntxGate>| {
        let (at, value) = (offset.get(), value.get());
        let current = present_value(offer, at, size)?;
        let value = active
            .policy
            .admit_write(at, size, value, current)
            .ok_or(Status::Denied)?;
        let value = gate.map_or(value, |gate| gate.write(at, size, value));
        pci::write_config(&offer.device, at, size, value);
        Ok(())
    };
    match &active.intx {
        Some(intx) => intx.with_gate(|gate| write(Some(gate)))?,
        None => write(None)?,
    }
    request.reply::<ConfigWrite>(&Empty {});
    Ok(())
}

/// What a register holds; a device that answers with all ones is asked for more, to see whether it is there.
fn present_value(offer: &Offer, offset: u16, size: u8) -> Result<u32, Status> {
    let value = pci::read_config(&offer.device, offset, size);
    let is_ones = value.trailing_ones() >= u32::from(size).saturating_mul(8);
    if is_ones && !pci::answers(&offer.device) {
        return Err(Status::Gone);
    }
    Ok(value)
}

/// Resets a device for its borrower, who [finds it](crate::resets) as it was.
fn reset_lent(link: &Link, request: &mut Incoming<'_>) -> Result<(), Status> {
    let _: Reset = request.body()?;
    let (address, device) = {
        let mut registry = registry::lock();
        let offer = held(&mut registry, link, request)?;
        (offer.address, offer.device.clone())
    };

    let epoch = request.epoch();
    let is_due = |offer: &Offer| offer.lease.check(epoch, link.id()).is_ok();
    let reset = reset(address, &device, is_due);
    if held(&mut registry::lock(), link, request).is_err() {
        // Whoever has ended the lease may have found the device locked by this reset.
        clean(link);
        return Err(Status::Stale);
    }
    reset.map_err(|error| {
        link.complain(|| dev_err!(device, "reset failed: {error:?}\n"));
        Status::Io
    })?;
    request.reply::<Reset>(&Empty {});
    Ok(())
}

/// Resets a device that is bound to our driver, if it `is_due` when it can be locked; without the registry's lock: a device may
/// take a minute to come back.
///
/// # Errors
///
/// `ENODEV`: it is no longer ours, or not due; `EBUSY`: somebody else has it locked; the reset's.
fn reset(address: Address, device: &Device, is_due: impl Fn(&Offer) -> bool) -> Result {
    for _ in 0..RESET_TRIES {
        let done = pci::try_with_lock(device, |device| {
            // Unbinding needs the device's lock, too: as long as there is an offer, the device is ours.
            let is_due = registry::lock()
                .find(address)
                .is_some_and(|offer| is_due(offer));
            if is_due {
                pci::reset_locked(device)
            } else {
                Err(ENODEV)
            }
        });
        match done {
            Some(done) => return done,
            None => fsleep(Delta::from_millis(100)),
        }
    }
    Err(EBUSY)
}

fn clunk(link: &Link, request: &mut Incoming<'_>) -> Result<(), Status> {
    let _: Clunk = request.body()?;
    let address = held(&mut registry::lock(), link, request)?.address;

    stop(link, |offer| offer.address == address, "returned");
    // Before the reset, which takes its time: the device does no harm any more.
    request.reply::<Clunk>(&Empty {});
    request.send_now(link);
    clean(link);
    Ok(())
}
