// SPDX-License-Identifier: GPL-2.0

//! Blocks of the kernel's notifier chains, which the kernel crate does not offer.
//!
//! C header: [`include/linux/notifier.h`](srctree/include/linux/notifier.h).

use devlend_bindings as bindings;
use kernel::{
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    types::Opaque, //
};

/// What a chain calls: with its block, what happened, and what that is about.
pub type Call = unsafe extern "C" fn(
    block: *mut bindings::notifier_block,
    action: c_ulong,
    data: *mut c_void,
) -> c_int;

/// A block in no chain yet. Who puts it into one takes it out before it is dropped.
pub fn block(call: Call) -> impl PinInit<Opaque<bindings::notifier_block>> {
    Opaque::ffi_init(move |slot: *mut bindings::notifier_block| {
        // SAFETY: `slot` is valid for writes.
        unsafe {
            slot.write(bindings::notifier_block {
                notifier_call: Some(call),
                ..pin_init::zeroed()
            });
        }
    })
}
