// SPDX-License-Identifier: GPL-2.0

//! A topology file.

#![no_main]

use devlend_hostile::topology::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| run(bytes));
