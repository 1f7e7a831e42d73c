// SPDX-License-Identifier: GPL-2.0

//! A workqueue of our own.
//!
//! Work items hold no reference to the module they come from; dropping the queue waits for them, so that a module can
//! go. (The kernel crate has only the system's queues, which cannot be waited for.)
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use devlend_bindings as bindings;
use kernel::{
    prelude::*,
    workqueue::Queue, //
};

use core::{
    ops::Deref,
    ptr::NonNull, //
};

/// An unbound, high-priority queue; its drop runs what is queued to the end.
///
/// # Invariants
///
/// The pointer is a workqueue this value owns.
pub struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Workqueues may be used and destroyed from any thread.
unsafe impl Send for OwnedQueue {}
// SAFETY: As above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Makes a queue; `name` shows in the workers' names. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: `name` is copied.
        let queue = unsafe { bindings::alloc_unbound_workqueue(name.as_char_ptr()) };

        // INVARIANT: The queue was made for us.
        Ok(Self(NonNull::new(queue).ok_or(ENOMEM)?))
    }

    /// Waits until there is no work left, that which work itself queues included. Nobody else may queue any meanwhile.
    /// Sleeps.
    pub fn drain(&self) {
        // SAFETY: The queue is valid by the type invariant.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: The queue is valid for as long as `self` lives, by the type invariant.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: The queue is ours by the type invariant. The call drains it.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
