// SPDX-License-Identifier: GPL-2.0

//! Two hosts and the registers of a bridge.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../qemu/ntb-emu/tests/hostile/registers.rs"]
mod registers;

fuzz_target!(|bytes: &[u8]| registers::run(bytes));
