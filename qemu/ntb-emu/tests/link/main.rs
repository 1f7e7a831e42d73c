// SPDX-License-Identifier: GPL-2.0

//! Two clients that speak vfio-user as QEMU does, and the bridge between them.

mod access;
mod broken;
mod client;
mod crowd;
mod cycles;
mod deadlock;
mod descriptors;
mod direct;
mod doorbell;
mod faults;
mod info;
mod intel;
mod process;
mod ram;
mod speed;
mod trace;
