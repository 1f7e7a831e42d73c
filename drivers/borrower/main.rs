// SPDX-License-Identifier: GPL-2.0

//! devlend_borrower.

use kernel::prelude::*;

module! {
    type: Module,
    name: "devlend_borrower",
    authors: ["The devlend developers"],
    description: "devlend: borrows PCI devices from other hosts over NTB",
    license: "GPL",
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
