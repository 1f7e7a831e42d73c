// SPDX-License-Identifier: GPL-2.0

//! An emulated non-transparent bridge (NTB) that joins two QEMU virtual machines.
//!
//! Each machine has a `vfio-user-pci` device whose other end is a socket of this process. Through it the machine sees an
//! AMD NTB, which the kernel's own `ntb_hw_amd` drives. An access to one of the device's memory windows becomes an
//! access to the other machine's address space.
//!
//! From the bottom up:
//!
//! - [`wire`]: the protocol as bytes. [`amd`]: the registers, a pure model. [`pci_config`], [`layout`]: what the function
//!   looks like on its bus.
//! - [`memory`], [`interrupts`]: what a host lets us reach. [`waits`]: who waits for whom. [`counters`].
//! - [`socket`], [`outbox`], [`connection`]: messages in, messages out, answers waited for.
//! - [`ntb`]: the two hosts joined. [`session`]: one connection's commands. [`server`], [`control`], [`cli`]: the process.

#![forbid(unsafe_code)]

pub mod amd;
pub mod cli;
pub mod connection;
pub mod control;
pub mod counters;
pub mod interrupts;
pub mod layout;
pub mod memory;
pub mod ntb;
pub mod outbox;
pub mod pci_config;
pub mod server;
pub mod session;
pub mod socket;
pub mod waits;
pub mod wire;
