// SPDX-License-Identifier: GPL-2.0

//! A raw spinlock that disables interrupts.
//!
//! Configuration accessors run under raw spinlocks with interrupts off, and doorbells arrive in hard interrupt
//! context; the kernel crate's `SpinLock` serves neither.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use devlend_bindings as bindings;
use kernel::{
    ffi::{
        c_char,
        c_ulong, //
    },
    sync::lock::{
        Backend,
        Guard,
        Lock, //
    },
};

/// A mutual exclusion lock for data that is touched with interrupts off.
///
/// Never sleeps; the holder must not sleep either.
pub type RawSpinLock<T> = Lock<T, RawSpinLockBackend>;

/// Guard of a [`RawSpinLock`]; interrupts are off while it lives.
pub type RawSpinLockGuard<'a, T> = Guard<'a, T, RawSpinLockBackend>;

/// Creates a [`RawSpinLock`] initialiser with a newly-created lock class.
#[macro_export]
macro_rules! new_raw_spinlock {
    ($inner:expr, $name:literal) => {
        $crate::raw_lock::RawSpinLock::new($inner, $name, ::kernel::static_lock_class!())
    };
}

/// The [`Backend`] over `raw_spinlock_t`.
pub struct RawSpinLockBackend;

// SAFETY: The kernel's `raw_spinlock_t` ensures mutual exclusion, and `relock` is the default one.
unsafe impl Backend for RawSpinLockBackend {
    type State = bindings::raw_spinlock_t;
    type GuardState = c_ulong;

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: The caller promises that `ptr` is valid for writes and that `name` and `key` live forever.
        unsafe { bindings::raw_spin_lock_init_class(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller promises that `init` was called.
        unsafe { bindings::raw_spin_lock_irqsave(ptr) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags: c_ulong = 0;

        // SAFETY: The caller promises that `init` was called; `flags` is valid for writes.
        unsafe { bindings::raw_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
    }

    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: The caller promises that it owns the lock, and the guard state is the one `lock` returned.
        unsafe { bindings::raw_spin_unlock_irqrestore(ptr, *guard_state) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller promises that `init` was called.
        unsafe { bindings::raw_spin_assert_held(ptr) }
    }
}
