// SPDX-License-Identifier: GPL-2.0

//! devlend_lender.

use kernel::prelude::*;

module! {
    type: Module,
    name: "devlend_lender",
    authors: ["The devlend developers"],
    description: "devlend: lends PCI devices to other hosts over NTB",
    license: "GPL",
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
