// SPDX-License-Identifier: GPL-2.0

//! A limit to how often something is logged that a peer can bring about.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use devlend_bindings as bindings;
use kernel::{
    ffi::c_int,
    prelude::*,
    types::Opaque, //
};

/// So many lines in five seconds, the kernel's interval for such limits.
#[pin_data]
pub(crate) struct RateLimit {
    #[pin]
    state: Opaque<bindings::ratelimit_state>,
}

// SAFETY: The state has a lock of its own.
unsafe impl Send for RateLimit {}
// SAFETY: As above.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// A limit of `burst` lines.
    pub(crate) fn new(burst: c_int) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The place may be written, and the function initialises all of it.
            state <- Opaque::ffi_init(|state| unsafe {
                bindings::ratelimit_init(state, burst)
            }),
        })
    }

    /// Whether another line may be logged. The kernel itself says later, under the name `who`, how many could not be.
    /// Does not sleep.
    pub(crate) fn allows(&self, who: &CStr) -> bool {
        // SAFETY: The state is initialised and pinned, and the name is only printed.
        unsafe { bindings::___ratelimit(self.state.get(), who.as_char_ptr()) != 0 }
    }
}
