// SPDX-License-Identifier: GPL-2.0

//! Requests of borrowers.
//!
//! All of them run from a link's work, one at a time, with the lender role's lock held. None waits for the borrower.

use crate::{
    lease::{
        self,
        Active, //
    },
    offer::Offer,
    registry::{
        self,
        Registry, //
    },
};
use devlend_protocol::{
    Address,
    Clunk,
    ConfigRead,
    ConfigValue,
    ConfigWrite,
    Empty,
    Image,
    ImageReply,
    Kind,
    List,
    OfferChanged,
    Open,
    Reset,
    Status,
    IMAGE_CHUNK, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};
use ntb::{
    link::{
        Incoming,
        Link, //
    },
    pci,
    role::{
        self,
        Lender, //
    },
};

/// How often a reset is tried while somebody else has the device locked, a tenth of a second apart.
const RESET_TRIES: usize = 10;

/// The lender, as the links see it.
pub(crate) struct Server;

impl Lender for Server {
    fn request(&self, link: &Arc<Link>, request: &mut Incoming<'_>) -> Result<(), Status> {
        let mut registry = registry::lock();
        let registry = &mut *registry;

        match request.kind()? {
            Kind::List => list(registry, request),
            Kind::Open => open(registry, link, request),
            Kind::Image => image(held(registry, link, request)?, request),
            Kind::ConfigRead => config_read(held(registry, link, request)?, request),
            Kind::ConfigWrite => config_write(held(registry, link, request)?, request),
            Kind::Reset => {
                let _: Reset = request.body()?;
                reset_lent(held(registry, link, request)?)?;
                request.reply::<Reset>(&Empty {});
                Ok(())
            }
            Kind::Clunk => clunk(registry, link, request),
            Kind::Version | Kind::OfferChanged | Kind::Revoked => Err(Status::Unsupported),
        }
    }

    fn link_down(&self, link: &Arc<Link>) {
        let mut registry = registry::lock();
        let registry = &mut *registry;

        for offer in &mut registry.offers {
            if offer.lease.lose(link.id()).is_some() {
                dev_warn!(
                    offer.dev(),
                    "link to the borrower lost, device taken back\n"
                );
                quiesce(offer);
            }
        }
        registry.close_window(link);
    }
}

/// Tells all peers that an offer came, went or changed hands.
pub(crate) fn announce(address: Address) {
    let event = OfferChanged {
        address: u32::from(address).into(),
    };
    role::for_each_link(|link| {
        // A peer that is not there, or whose ring is full, lists the offers again when it comes back.
        let _ = link.notify(0, &event);
    });
}

/// Ends a lease on the device's side: DMA off before anything else, then a reset, so that nothing of the borrower stays.
pub(crate) fn quiesce(offer: &mut Offer) -> Option<Arc<Link>> {
    let link = lease::end(offer)?;
    if reset(offer).is_err() {
        dev_warn!(
            offer.dev(),
            "the device could not be reset after its lease; bus mastering is off\n"
        );
    }
    Some(link)
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

fn list(registry: &mut Registry, request: &mut Incoming<'_>) -> Result<(), Status> {
    let List { index } = request.body()?;
    // CAST: A `usize` has at least 32 bits.
    let offer = registry
        .offers
        .get(index.get() as usize)
        .ok_or(Status::NotFound)?;
    request.reply::<List>(&offer.describe());
    Ok(())
}

fn open(
    registry: &mut Registry,
    link: &Arc<Link>,
    request: &mut Incoming<'_>,
) -> Result<(), Status> {
    let Open { address } = request.body()?;
    let address = Address::from(address.get());

    let offer = registry.find(address).ok_or(Status::NotFound)?;
    if offer.lease.holder().is_some() {
        return Err(Status::Taken);
    }
    let active = Active::new(offer, link)?;
    let span = match registry.open_window(link, address) {
        Ok(span) => span,
        Err(Some(no_space)) => {
            pr_err!(
                "{}: its BARs do not fit the MMIO window of link {}: {}\n",
                ntb::shown::Shown(address),
                link.name(),
                ntb::shown::Shown(no_space)
            );
            request.no_space(no_space);
            return Ok(());
        }
        Err(None) => return Err(Status::Io),
    };

    let offer = registry.find(address).ok_or(Status::NotFound)?;
    let epoch = offer.lease.open(link.id())?.get();
    request.reply::<Open>(&active.describe(offer, epoch, span));
    offer.active = Some(active);
    dev_info!(
        offer.dev(),
        "lent over link {}, epoch {epoch}\n",
        link.name()
    );
    registry.last_epoch = registry.last_epoch.max(epoch);
    announce(address);
    Ok(())
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
    let current = present_value(offer, offset.get(), size)?;
    let value = active
        .policy
        .admit_write(offset.get(), size, value.get(), current)
        .ok_or(Status::Denied)?;
    pci::write_config(&offer.device, offset.get(), size, value);
    request.reply::<ConfigWrite>(&Empty {});
    Ok(())
}

/// What a register holds; a device that answers with all ones is asked for its vendor id, to see whether it is there.
fn present_value(offer: &Offer, offset: u16, size: u8) -> Result<u32, Status> {
    const VENDOR_ID: u16 = 0;
    const NOBODY: u32 = 0xffff;

    let value = pci::read_config(&offer.device, offset, size);
    let is_ones = value.trailing_ones() >= u32::from(size).saturating_mul(8);
    if is_ones && pci::read_config(&offer.device, VENDOR_ID, 2) == NOBODY {
        return Err(Status::Gone);
    }
    Ok(value)
}

/// Resets a device for its borrower, who finds it as it was: with interrupts set up, which only the borrower's kernel
/// knows of.
fn reset_lent(offer: &mut Offer) -> Result<(), Status> {
    let active = offer.active.as_ref().ok_or(Status::Stale)?;
    let read = |at| pci::read_config(&offer.device, at, 4);

    let saved = active.policy.save(read);
    reset(offer)?;
    active.policy.restore(&saved, read, |at, value| {
        pci::write_config(&offer.device, at, 4, value)
    });
    Ok(())
}

fn reset(offer: &Offer) -> Result<(), Status> {
    for _ in 0..RESET_TRIES {
        match pci::try_reset(&offer.device) {
            Ok(()) => return Ok(()),
            Err(error) if error == EAGAIN => fsleep(Delta::from_millis(100)),
            Err(error) => {
                dev_err!(offer.dev(), "reset failed: {error:?}\n");
                return Err(Status::Io);
            }
        }
    }
    Err(Status::Io)
}

fn clunk(registry: &mut Registry, link: &Link, request: &mut Incoming<'_>) -> Result<(), Status> {
    let _: Clunk = request.body()?;
    let offer = held(registry, link, request)?;
    let address = offer.address;

    dev_info!(offer.dev(), "returned over link {}\n", link.name());
    quiesce(offer);
    registry.close_window(link);
    request.reply::<Clunk>(&Empty {});
    announce(address);
    Ok(())
}
