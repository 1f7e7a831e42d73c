// SPDX-License-Identifier: GPL-2.0

//! devlend_lender: lends this host's PCI devices to the hosts at the other ends of its NTB links.
//!
//! A lend, top to bottom: a write to `lend` ([`command`]) binds the device to our PCI driver ([`driver`]), which resets
//! it and puts it into the [`registry`] as an [`offer`]; requests of a borrower are [`serve`]d from there; a write to
//! `reclaim` gives the device back to its previous driver.

#[deny(unsafe_code)]
mod attributes;
#[deny(unsafe_code)]
mod command;
#[deny(unsafe_code)]
mod config;
#[deny(unsafe_code)]
mod driver;
#[deny(unsafe_code)]
mod eligible;
#[deny(unsafe_code)]
mod errors;
#[deny(unsafe_code)]
mod events;
#[deny(unsafe_code)]
mod intx;
#[deny(unsafe_code)]
mod lease;
#[deny(unsafe_code)]
mod offer;
#[deny(unsafe_code)]
mod previous;
#[deny(unsafe_code)]
mod registry;
#[deny(unsafe_code)]
mod resets;
#[deny(unsafe_code)]
mod serve;
#[deny(unsafe_code)]
mod watch;
#[deny(unsafe_code)]
mod window;

use crate::{
    attributes::{
        OffersDir,
        Tree, //
    },
    command::{
        HurryUp,
        ReclaimAll, //
    },
    driver::LenderDriver,
    registry::Storage,
    serve::Server, //
};
use kernel::{
    driver::Registration,
    pci,
    prelude::*,
    sync::Arc,
    InPlaceModule, //
};
use ntb::role::LenderRegistration;

module! {
    type: Module,
    name: "devlend_lender",
    authors: ["The devlend developers"],
    description: "devlend: lends PCI devices to other hosts over NTB",
    license: "GPL",
}

/// Dropped in this order: nobody waits for a borrower, no commands, all devices back, no requests, no driver, no memory held. Until the devices are
/// back the links can tell us that they end.
#[pin_data]
struct Module {
    hurry: HurryUp,
    commands: Tree,
    reclaim: ReclaimAll,
    role: LenderRegistration,
    #[pin]
    driver: Registration<pci::Adapter<LenderDriver>>,
    offers: OffersDir,
    storage: Storage,
}

impl InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: The module is loaded once, and nothing has used these yet.
        unsafe {
            registry::init();
            driver::init();
            attributes::init();
        }

        try_pin_init!(Self {
            storage: Storage,
            offers: OffersDir,
            driver <- Registration::new(driver::NAME, module),
            reclaim: ReclaimAll,
            role: LenderRegistration::new(Arc::new(Server, GFP_KERNEL)?)?,
            commands: Tree::new()?,
            hurry: HurryUp,
        })
    }
}
