// SPDX-License-Identifier: GPL-2.0

//! Calls into something that can be taken away: any number at once, and it goes when none runs any more.

use kernel::{
    new_condvar, new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    },
};

/// Something that can be called, and taken away.
pub(crate) struct Callee<T: ?Sized> {
    it: Arc<T>,
    calls: Arc<Calls>,
}

#[pin_data]
struct Calls {
    #[pin]
    running: Mutex<usize>,
    #[pin]
    ended: CondVar,
}

/// A call that runs. Dropped in this order: when the call counts as ended nothing is left of it.
pub(crate) struct Call<T: ?Sized> {
    it: Arc<T>,
    _running: Running,
}

struct Running(Arc<Calls>);

impl<T: ?Sized> Callee<T> {
    /// Nobody calls it yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(it: Arc<T>) -> Result<Self> {
        let calls = Arc::pin_init(
            pin_init!(Calls {
                running <- new_mutex!(0, "devlend_calls"),
                ended <- new_condvar!("devlend_calls_ended"),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self { it, calls })
    }

    /// Begins a call. May sleep.
    pub(crate) fn call(&self) -> Call<T> {
        let mut running = self.calls.running.lock();
        *running = running.wrapping_add(1);
        Call {
            it: self.it.clone(),
            _running: Running(self.calls.clone()),
        }
    }

    /// Waits until no call runs. Nobody may begin one meanwhile.
    pub(crate) fn wait(self) {
        let mut running = self.calls.running.lock();
        while *running != 0 {
            self.calls.ended.wait(&mut running);
        }
    }
}

impl<T: ?Sized> core::ops::Deref for Call<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.it
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.0.running.lock();
        *running = running.wrapping_sub(1);
        self.0.ended.notify_all();
    }
}
