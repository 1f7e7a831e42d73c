// SPDX-License-Identifier: GPL-2.0

//! An emulated non-transparent bridge (NTB) that joins QEMU virtual machines.
//!
//! Each machine has a `vfio-user-pci` device for each of its links, whose other end is a socket of this process. Through
//! it the machine sees an NTB of some hardware family, which the kernel's own driver drives. An access to one of the
//! device's memory windows becomes an access to the other machine's address space.
//!
//! From the bottom up:
//!
//! - [`wire`]: the protocol as bytes. [`model`]: the hardware families, pure models. [`pci_config`], [`layout`]: what a
//!   function looks like on its bus.
//! - [`memory`], [`interrupts`]: what a host lets us reach. [`waits`]: who waits for whom. [`counters`].
//! - [`patience`], [`socket`], [`outbox`], [`connection`]: messages in, messages out, answers waited for.
//! - [`link`]: two hosts joined. [`fault`]: what can be made to go wrong there. [`trace`]: what
//!   crosses, for whoever watches. [`fabric`], [`topology`]: all hosts and
//!   links. [`session`]: one connection's commands.
//!   [`server`], [`control`], [`cli`]: the process.

#![forbid(unsafe_code)]

pub mod cli;
pub mod connection;
pub mod control;
pub mod counters;
pub mod fabric;
pub mod fault;
pub mod interrupts;
pub mod layout;
pub mod link;
pub mod memory;
pub mod model;
pub mod outbox;
pub mod patience;
pub mod pci_config;
pub mod server;
pub mod session;
pub mod side;
pub mod socket;
pub mod topology;
pub mod trace;
pub mod waits;
pub mod wire;
