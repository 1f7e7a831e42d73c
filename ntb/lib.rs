// SPDX-License-Identifier: GPL-2.0

//! Everything between two kernels: the NTB bus, the link with its channel, and what both roles need of the kernel.
//!
//! From bottom to top: [`device`] and [`client`] bind the kernel's NTB bus; [`control`] is the memory the channel runs
//! in; [`link`] brings the session up and carries messages; [`role`] is where lender and borrower plug in.

const __LOG_PREFIX: &[u8] = b"devlend_ntb\0";

mod calls;
pub mod client;
pub mod control;
pub mod device;
pub mod duty;
pub mod errno;
mod key;
pub mod keys;
pub mod link;
pub mod memory;
pub mod notifier;
pub mod pci;
pub mod queue;
mod rate_limit;
pub mod raw_lock;
pub mod role;
pub mod root;
pub mod shown;
pub mod suspend;
pub mod sysfs;
pub mod ticker;
pub mod uevent;
mod worker;
