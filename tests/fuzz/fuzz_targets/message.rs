// SPDX-License-Identifier: GPL-2.0

//! Slots, scratchpads and indices a peer may write.

#![no_main]

use devlend_hostile::message::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| run(bytes));
