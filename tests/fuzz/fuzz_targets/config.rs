// SPDX-License-Identifier: GPL-2.0

//! A device's configuration space, or a lender's image, and accesses to it.

#![no_main]

use devlend_hostile::config::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| run(bytes));
