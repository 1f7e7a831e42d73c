// SPDX-License-Identifier: GPL-2.0

//! Lines written into the sysfs files.

#![no_main]

use devlend_hostile::command::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| run(bytes));
