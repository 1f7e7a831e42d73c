// SPDX-License-Identifier: GPL-2.0

//! Waiting for the end of a lease.

use kernel::{
    new_condvar, new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// Wakes who waits for something to change about an offer. Its lock is taken with the registry's held, never the other way
/// round.
#[pin_data]
pub(crate) struct Watch {
    /// How often something has changed.
    #[pin]
    changes: Mutex<u32>,
    #[pin]
    changed: CondVar,
}

/// How a wait has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// What was waited for is so.
    Done,
    /// The time is over.
    TimeOut,
    /// A signal came.
    Signal,
}

impl Watch {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                changes <- new_mutex!(0, "devlend_watch"),
                changed <- new_condvar!("devlend_watch"),
            }),
            GFP_KERNEL,
        )
    }

    /// Something has changed. May sleep, but not for long.
    pub(crate) fn wake(&self) {
        let mut changes = self.changes.lock();
        *changes = changes.wrapping_add(1);
        self.changed.notify_all();
    }

    /// Waits until `is_done`, which may take the registry's lock. Sleeps.
    pub(crate) fn wait(&self, limit: Delta, is_done: impl Fn() -> bool) -> Waited {
        let start = Instant::<Monotonic>::now();
        loop {
            let before = *self.changes.lock();
            if is_done() {
                return Waited::Done;
            }
            let mut changes = self.changes.lock();
            while *changes == before {
                let left = limit
                    .as_millis()
                    .saturating_sub(start.elapsed().as_millis());
                let left = match u32::try_from(left) {
                    Ok(left @ 1..) => msecs_to_jiffies(left),
                    _ => return Waited::TimeOut,
                };
                let woken = self.changed.wait_interruptible_timeout(&mut changes, left);
                if matches!(woken, CondVarTimeoutResult::Signal { .. }) {
                    return Waited::Signal;
                }
            }
        }
    }
}
