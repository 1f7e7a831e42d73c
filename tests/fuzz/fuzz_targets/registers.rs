// SPDX-License-Identifier: GPL-2.0

//! Two hosts and the registers of a bridge.

#![no_main]

use devlend_hostile::registers::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| run(bytes));
