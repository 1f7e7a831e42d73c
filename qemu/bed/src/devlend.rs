// SPDX-License-Identifier: GPL-2.0

//! devlend in the hosts: its modules and its files below `/sys/kernel/devlend` (described in `docs/ABI`).

mod lender;
mod link;
mod modules;

pub use lender::Lender;
pub use link::{Link, Offer};
pub use modules::Role;

/// Where everything of devlend's is in sysfs.
const ROOT: &str = "/sys/kernel/devlend";
