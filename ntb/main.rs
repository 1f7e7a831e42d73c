// SPDX-License-Identifier: GPL-2.0

//! devlend_ntb: joins this host to its peers over NTB.

use kernel::{
    prelude::*,
    InPlaceModule, //
};
use ntb::{
    client::Registration,
    keys::Keys,
    link::Ntb,
    role::{
        self,
        Registries, //
    },
    root::Root,
    suspend::Veto, //
};

module! {
    type: Module,
    name: "devlend_ntb",
    authors: ["The devlend developers"],
    description: "devlend: NTB links, window plan and control channel",
    license: "GPL",
}

/// The fields are dropped in this order: links before the tree they are shown in.
#[pin_data]
struct Module {
    veto: Veto,
    #[pin]
    client: Registration<Ntb>,
    root: Root,
    registries: Registries,
    keys: Keys,
}

impl InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: The module is loaded once, and nothing has used the registries yet.
        unsafe { role::init() };

        try_pin_init!(Self {
            // SAFETY: The module is loaded once, and there is no link yet.
            keys: unsafe { Keys::new() },
            registries: Registries,
            // SAFETY: As above.
            root: unsafe { Root::new() }?,
            client <- Registration::new(c"devlend_ntb", module),
            veto: Veto::new()?,
        })
    }
}
