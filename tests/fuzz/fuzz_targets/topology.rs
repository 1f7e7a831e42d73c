// SPDX-License-Identifier: GPL-2.0

//! A topology file.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../qemu/ntb-emu/tests/hostile/topology.rs"]
mod topology;

fuzz_target!(|bytes: &[u8]| topology::run(bytes));
