// SPDX-License-Identifier: GPL-2.0

//! Calls in a kernel thread, for drivers that a signal for their caller disturbs.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use devlend_bindings as bindings;
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_long,
        c_void, //
    },
    prelude::*, //
};

/// Makes a call in a kernel thread, which has no signals, and waits for it. Sleeps.
///
/// # Errors
///
/// Those of the call.
pub(crate) fn without_signals<F: Fn() -> Result + Sync>(call: F) -> Result {
    // SAFETY: `run` gets `call`, which lives until the thread has returned from it, and may be called by another thread.
    let result =
        unsafe { bindings::call_in_worker(Some(run::<F>), (&raw const call).cast_mut().cast()) };
    // CAST: It was an `int` before.
    to_result(result as c_int)
}

/// Makes the call.
///
/// # Safety
///
/// `call` points to an `F`.
unsafe extern "C" fn run<F: Fn() -> Result>(call: *mut c_void) -> c_long {
    // SAFETY: By the safety requirements.
    let call = unsafe { &*call.cast::<F>() };
    match call() {
        Ok(()) => 0,
        // CAST: Widening.
        Err(error) => error.to_errno() as c_long,
    }
}
