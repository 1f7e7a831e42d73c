// SPDX-License-Identifier: GPL-2.0

//! Everything between two kernels: the NTB bus, the link with its channel, and what both roles need of the kernel.

const __LOG_PREFIX: &[u8] = b"devlend_ntb\0";

pub mod queue;
pub mod raw_lock;
pub mod sysfs;
