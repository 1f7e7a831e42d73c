// SPDX-License-Identifier: GPL-2.0

//! How far this host's RAM reaches.
//!
//! C header: [`include/linux/ioport.h`](srctree/include/linux/ioport.h)

use devlend_bindings as bindings;
use kernel::ffi::{
    c_int,
    c_ulong,
    c_void, //
};

/// The physical address behind the last byte of RAM. May sleep.
///
/// RAM that is reserved on the kernel's command line does not count: no driver is ever given it.
pub(crate) fn ram_end() -> u64 {
    let mut end: u64 = 0;

    // SAFETY: The callback gets `end`, which lives as long as the call.
    unsafe {
        bindings::walk_iomem_res_desc(
            bindings::IORES_DESC_NONE as c_ulong,
            (bindings::IORESOURCE_SYSTEM_RAM | bindings::IORESOURCE_BUSY) as c_ulong,
            0,
            u64::MAX,
            (&raw mut end).cast(),
            Some(note_end),
        )
    };
    end
}

extern "C" fn note_end(resource: *mut bindings::resource, end: *mut c_void) -> c_int {
    // SAFETY: The walk hands a valid resource, and `end` is the one of `ram_end`.
    unsafe {
        let end = end.cast::<u64>();
        *end = (*end).max((*resource).end.saturating_add(1));
    }
    0
}
