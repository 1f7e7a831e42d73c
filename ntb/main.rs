// SPDX-License-Identifier: GPL-2.0

//! devlend_ntb: joins this host to its peers over NTB.

use kernel::prelude::*;

module! {
    type: Module,
    name: "devlend_ntb",
    authors: ["The devlend developers"],
    description: "devlend: NTB links, window plan and control channel",
    license: "GPL",
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
