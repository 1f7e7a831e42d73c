// SPDX-License-Identifier: GPL-2.0

//! Suspend and hibernation: refused while anything is lent or borrowed.
//!
//! A sleeping host neither answers for a device nor keeps the windows through which others use it, and the NTB drivers
//! of the kernel do not restore their hardware. So a host says no, before anything has been stopped, and no lease
//! begins from then on until the host is awake again.
//!
//! C header: [`include/linux/suspend.h`](srctree/include/linux/suspend.h).

use crate::{
    notifier,
    role, //
};
use devlend_bindings as bindings;
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

/// Whether the system is about to sleep. Each role looks at it with the lock held under which it answers
/// [`in_use`](role::Lender::in_use), so that a lease is seen there, or not begun.
static ASLEEP: Atomic<bool> = Atomic::new(false);

/// Whether the system is about to sleep: no lease may begin. To be asked with the lock held that `in_use` takes.
pub fn is_near() -> bool {
    ASLEEP.load(Relaxed)
}

/// Asks the roles before the system sleeps, as long as it exists.
pub struct Veto(Pin<KBox<Inner>>);

#[pin_data]
struct Inner {
    #[pin]
    block: Opaque<bindings::notifier_block>,
}

// SAFETY: The notifier chain serialises its own access to the block.
unsafe impl Send for Inner {}

// SAFETY: As for `Send`.
unsafe impl Sync for Inner {}

impl Veto {
    /// Begins to ask. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(Inner {
                block <- notifier::block(notify),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The block is pinned and, by `drop`, in the chain no longer than it lives.
        to_result(unsafe { bindings::register_pm_notifier(inner.block.get()) })?;
        Ok(Self(inner))
    }
}

impl Drop for Veto {
    fn drop(&mut self) {
        // Takes the chain's semaphore, so that no call is in progress afterwards.
        // SAFETY: The block was registered in `new`.
        unsafe { bindings::unregister_pm_notifier(self.0.block.get()) };
    }
}

/// # Safety
///
/// Called by the power management core as a `notifier_block::notifier_call`; may sleep.
unsafe extern "C" fn notify(
    _block: *mut bindings::notifier_block,
    action: c_ulong,
    _data: *mut c_void,
) -> c_int {
    let answer = match u32::try_from(action) {
        Ok(
            bindings::PM_SUSPEND_PREPARE
            | bindings::PM_HIBERNATION_PREPARE
            | bindings::PM_RESTORE_PREPARE,
        ) => prepare(),
        Ok(
            bindings::PM_POST_SUSPEND | bindings::PM_POST_HIBERNATION | bindings::PM_POST_RESTORE,
        ) => {
            ASLEEP.store(false, Relaxed);
            Ok(())
        }
        _ => Ok(()),
    };
    let errno = answer.map_or_else(Error::to_errno, |()| 0);
    // SAFETY: It computes with its argument.
    unsafe { bindings::notifier_from_errno(errno) }
}

fn prepare() -> Result {
    ASLEEP.store(true, Relaxed);
    let lends = role::with_lender(|lender| lender.in_use()).unwrap_or(false);
    let borrows = role::with_borrower(|borrower| borrower.in_use()).unwrap_or(false);
    let (which, how) = match (lends, borrows) {
        (false, false) => return Ok(()),
        (true, _) => ("lent", "reclaim"),
        (false, true) => ("borrowed", "return"),
    };
    // Who refuses is not told that it is over.
    ASLEEP.store(false, Relaxed);
    pr_err!("devices are {which}: the system must not sleep; {how} them first\n");
    Err(EBUSY)
}
