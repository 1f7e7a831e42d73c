// SPDX-License-Identifier: GPL-2.0

//! Our PCI driver: being bound to a device is what makes it ours alone.
//!
//! It binds only to a device that a command is just lending; `driver_override` keeps others from binding to it.

use crate::{
    attributes,
    offer::Offer,
    registry,
    serve, //
};
use devlend_protocol::{
    Address,
    Isolation,
    Lease,
    RevokeReason,
    Revoked, //
};
use kernel::{
    device::Core,
    pci::{
        self,
        DeviceId, //
    },
    prelude::*,
    str::CString,
    sync::global_lock, //
};

/// Name of the driver.
pub(crate) const NAME: &CStr = c"devlend_lender";

/// What the command that is lending a device knows of it.
pub(crate) struct Lending {
    /// Which device.
    pub(crate) address: Address,
    /// Who had it.
    pub(crate) previous: Option<CString>,
    /// What holds it back.
    pub(crate) isolation: Isolation,
}

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    unsafe(uninit) static LENDING: Mutex<Option<Lending>> = None;
}

/// Prepares the driver.
///
/// # Safety
///
/// Called once, when the module is loaded.
#[expect(unsafe_code)]
pub(crate) unsafe fn init() {
    // SAFETY: The caller promises that this is the one call, and the first use.
    unsafe { LENDING.init() };
}

/// Lets the driver bind to a device; `None` ends it.
pub(crate) fn expect(lending: Option<Lending>) {
    *LENDING.lock() = lending;
}

kernel::pci_device_table!(
    TABLE,
    MODULE_TABLE,
    (),
    // No device has this class: we bind by `driver_override` alone.
    [(DeviceId::from_class(0x00ff_ffff, 0xffff_ffff), ())]
);

/// A bound device; what there is to know about it is in the registry.
pub(crate) struct LenderDriver {
    address: Address,
}

impl pci::Driver for LenderDriver {
    type IdInfo = ();
    type Data<'bound> = Self;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        device: &'bound pci::Device<Core<'_>>,
        _info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self, Error> + 'bound {
        take(device).map(|address| Self { address })
    }

    fn unbind<'bound>(device: &'bound pci::Device<Core<'_>>, this: Pin<&Self>) {
        give_back(device, this.address);
    }
}

/// Resets the device and offers it.
fn take(device: &pci::Device<Core<'_>>) -> Result<Address> {
    let lending = LENDING.lock().take();
    let Some(Lending {
        address,
        previous,
        isolation,
    }) = lending.filter(|lending| lending.address == ntb::pci::address(device))
    else {
        dev_err!(
            device,
            "write the address to /sys/kernel/devlend/lender/lend to lend a device\n"
        );
        return Err(EPERM);
    };

    ntb::pci::enable(device)?;
    ntb::pci::stop_dma(device);
    if let Err(error) = ntb::pci::reset_locked(device) {
        dev_warn!(
            device,
            "cannot be reset ({error:?}): it is offered as its previous driver left it\n"
        );
    }

    let offered = (|| {
        let dir = attributes::add_offer(address)?;
        let mut registry = registry::lock();
        let offer = Offer {
            address,
            device: (&**device).into(),
            previous,
            isolation,
            bars: ntb::pci::bars(device),
            lease: Lease::new(registry.last_epoch),
            active: None,
            dir: Some(dir),
        };
        Ok(registry.offers.push(offer, GFP_KERNEL)?)
    })();
    if let Err(error) = offered {
        ntb::pci::disable(device);
        return Err(error);
    }
    dev_info!(device, "offered ({})\n", isolation.as_str());
    Ok(address)
}

/// Ends the lease by force, if there is one, and forgets the offer.
fn give_back(device: &pci::Device<Core<'_>>, address: Address) {
    let dir = {
        let mut registry = registry::lock();
        let Some(mut offer) = registry.take(address) else {
            return;
        };
        let holder = offer.lease.holder();

        // The device lock is held here, so the reset is the one for those who hold it.
        if let (Some(holder), Some(link)) = (holder, crate::lease::end(&mut offer)) {
            dev_warn!(device, "taken back by force from link {}\n", link.name());
            registry.close_window(&link);
            let event = Revoked {
                address: u32::from(address).into(),
                reason: RevokeReason::Forced.into(),
            };
            let _ = link.notify(holder.epoch.get(), &event);
        }
        offer.dir.take()
    };
    // Its files look offers up, so the registry must be free.
    drop(dir);

    ntb::pci::stop_dma(device);
    if let Err(error) = ntb::pci::reset_locked(device) {
        dev_warn!(device, "cannot be reset ({error:?})\n");
    }
    ntb::pci::disable(device);
    serve::announce(address);
}
