// SPDX-License-Identifier: GPL-2.0

//! What a client may send.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../qemu/ntb-emu/tests/hostile/vfio_user.rs"]
mod vfio_user;

fuzz_target!(|bytes: &[u8]| vfio_user::run(bytes));
