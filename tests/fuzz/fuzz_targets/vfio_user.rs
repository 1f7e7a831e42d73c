// SPDX-License-Identifier: GPL-2.0

//! What a client may send.

#![no_main]

use devlend_hostile::vfio_user::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| run(bytes));
