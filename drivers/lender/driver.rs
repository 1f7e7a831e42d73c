// SPDX-License-Identifier: GPL-2.0

//! Our PCI driver: being bound to a device is what makes it ours alone.
//!
//! It binds only to a device that a command is just lending; `driver_override` keeps others from binding to it.

use crate::{
    attributes,
    eligible,
    events,
    offer::Offer,
    previous::Previous,
    registry,
    serve,
    watch::Watch, //
};
use devlend_protocol::{
    Address,
    Audience,
    Isolation,
    Lease,
    RevokeReason, //
};
use kernel::{
    device::Core,
    pci::{
        self,
        DeviceId, //
    },
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    },
    try_init, //
};
use ntb::{
    pci::{
        Assigned,
        IdInfo, //
    },
    shown::Shown, //
};

/// Name of the driver.
pub(crate) const NAME: &CStr = c"devlend_lender";

/// What the command that is lending a device knows of it.
#[derive(Clone)]
pub(crate) struct Lending {
    /// Which device.
    pub(crate) address: Address,
    /// Who had it.
    pub(crate) previous: Arc<Previous>,
    /// Lend it even if no IOMMU holds it back.
    pub(crate) accept_unsafe: bool,
    /// Which links it is for.
    pub(crate) audience: Audience,
}

/// A command's wish, and what came of it: the driver core does not hand on why a probe failed.
struct Wish {
    lending: Lending,
    refusal: Option<Error>,
}

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    unsafe(uninit) static WISH: Mutex<Option<Wish>> = None;
}

/// Prepares the driver.
///
/// # Safety
///
/// Called once, when the module is loaded.
#[expect(unsafe_code)]
pub(crate) unsafe fn init() {
    // SAFETY: The caller promises that this is the one call, and the first use.
    unsafe { WISH.init() };
}

/// Binds the driver to a device that no driver is bound to. Sleeps.
///
/// # Errors
///
/// Why the driver did not take it; `EBUSY`: another driver did.
pub(crate) fn bind(device: &pci::Device, lending: Lending) -> Result {
    let address = lending.address;
    *WISH.lock() = Some(Wish {
        lending,
        refusal: None,
    });
    let attached = ntb::pci::with_physical_locked(device, || ntb::pci::attach_driver(device));
    let wish = WISH.lock().take();

    if let Some(refusal) = wish.and_then(|wish| wish.refusal) {
        return Err(refusal);
    }
    attached?;
    registry::lock().find(address).map(drop).ok_or(EBUSY)
}

ntb::pci::device_table!(
    TABLE,
    // No device has this class: we bind by `driver_override` alone.
    [DeviceId::from_class(0x00ff_ffff, 0xffff_ffff)]
);

/// A bound device; what there is to know about it is in the registry.
pub(crate) struct LenderDriver {
    taken: Taken,
}

struct Taken {
    address: Address,
    /// Goes when the device has been given back.
    _assigned: Option<Assigned>,
}

impl pci::Driver for LenderDriver {
    type IdInfo = ();
    type Data<'bound> = Self;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        device: &'bound pci::Device<Core<'_>>,
        _info: IdInfo<'bound, Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        // The offer is made when there is memory for what is initialised: nothing can fail after it.
        try_init!(Self {
            taken: take(device)?,
        }? Error)
    }

    fn unbind<'bound>(device: &'bound pci::Device<Core<'_>>, this: Pin<&Self>) {
        give_back(device, this.taken.address);
    }
}

/// Takes the device if a command wishes so, and tells the command why not.
fn take(device: &pci::Device<Core<'_>>) -> Result<Taken> {
    let address = ntb::pci::address(device);
    let wished = WISH
        .lock()
        .as_ref()
        .filter(|wish| wish.lending.address == address)
        .map(|wish| wish.lending.clone());
    let Some(lending) = wished else {
        dev_err!(
            device,
            "write the address to /sys/kernel/devlend/lender/lend to lend a device\n"
        );
        return Err(EPERM);
    };

    let taken = Assigned::new(device).and_then(|assigned| {
        offer(device, lending)?;
        Ok(Taken {
            address,
            _assigned: assigned,
        })
    });
    if let (Err(error), Some(wish)) = (&taken, WISH.lock().as_mut()) {
        wish.refusal = Some(*error);
    }
    taken
}

/// Resets the device and offers it.
fn offer(device: &pci::Device<Core<'_>>, lending: Lending) -> Result {
    let Lending {
        address,
        previous,
        accept_unsafe,
        audience,
    } = lending;
    // Again, now that nobody else can change it.
    eligible::check(device)?;
    let isolation = isolation(device, accept_unsafe)?;

    ntb::pci::handle_errors::<LenderDriver>(device);
    ntb::pci::enable(device)?;
    ntb::pci::stop(device);
    if let Err(error) = ntb::pci::reset_locked(device) {
        dev_warn!(
            device,
            "cannot be reset ({error:?}): it is offered as its previous driver left it\n"
        );
    }

    let offered = (|| {
        // An offer that is dropped takes its directory along, whose files look offers up: so no failure under the lock.
        registry::lock().offers.reserve(1, GFP_KERNEL)?;
        let offer = Offer {
            address,
            device: (&**device).into(),
            previous,
            isolation,
            audience,
            bars: ntb::pci::bars(device),
            lease: Lease::default(),
            active: None,
            is_being_reset: false,
            watch: Watch::new()?,
            taking: None,
            dir: Some(attributes::add_offer(
                address,
                ntb::pci::config_size(device),
            )?),
        };
        let pushed = registry::lock().offers.push_within_capacity(offer);
        pushed.map_err(|_| ENOMEM)
    })();
    if let Err(error) = offered {
        ntb::pci::disable(device);
        return Err(error);
    }
    dev_info!(
        device,
        "offered ({}) to {}\n",
        isolation.as_str(),
        Shown(audience)
    );
    eligible::tell_hidden_bars(device);
    events::offer(device, address, "offer-added");
    Ok(())
}

/// What holds the device back, now that it is ours: with another driver an IOMMU may treat it otherwise.
fn isolation(device: &pci::Device<Core<'_>>, accept_unsafe: bool) -> Result<Isolation> {
    if ntb::pci::is_confined(device) {
        return Ok(Isolation::Iommu);
    }
    if !accept_unsafe {
        refuse_unsafe(device);
        return Err(EPERM);
    }
    dev_warn!(
        device,
        "no IOMMU: the borrower's device can reach all of this host's memory\n"
    );
    Ok(Isolation::Unsafe)
}

/// Says why a device is not lent.
pub(crate) fn refuse_unsafe(device: &pci::Device) {
    dev_err!(
        device,
        "no IOMMU keeps the device from this host's memory; turn one on, or write \"{} unsafe\"\n",
        Shown(ntb::pci::address(device))
    );
}

/// Ends the lease by force, if there is one, and forgets the offer.
fn give_back(device: &pci::Device<Core<'_>>, address: Address) {
    let (dir, audience, reason, holder) = {
        let mut registry = registry::lock();
        let Some(mut offer) = registry.take(address) else {
            return;
        };
        let holder = offer.lease.holder();
        let link = crate::lease::end(&mut offer);
        if let Some(link) = &link {
            registry.close_window(link);
        }
        // Who waits finds the offer gone.
        offer.watch.wake();
        (
            offer.dir.take(),
            offer.audience,
            offer.taking,
            holder.zip(link),
        )
    };
    // Its files look offers up, so the registry must be free.
    drop(dir);

    if let Some((holder, link)) = holder {
        // Not by a command: somebody has unbound our driver, or the device was pulled out.
        let reason = reason.unwrap_or(if ntb::pci::is_present(device) {
            RevokeReason::Reclaimed
        } else {
            RevokeReason::Gone
        });
        serve::tell_revoked(device, address, &link, holder, reason);
    }

    ntb::pci::stop(device);
    // The device lock is held here, so the reset is the one for those who hold it.
    if let Err(error) = ntb::pci::reset_locked(device) {
        dev_warn!(device, "cannot be reset ({error:?})\n");
    }
    ntb::pci::disable(device);
    events::offer(device, address, "offer-gone");
    serve::announce(address, &audience);
}
