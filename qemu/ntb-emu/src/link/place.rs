// SPDX-License-Identifier: GPL-2.0

//! The one place that an end has for a host: who comes second waits until the first has gone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A place for one.
#[derive(Debug, Default)]
pub struct Place {
    taken: Mutex<bool>,
    freed: Condvar,
}

impl Place {
    /// Takes the place as soon as it is free; `None` if that takes longer than `patience`.
    pub fn take(&self, patience: Duration) -> Option<Taken<'_>> {
        let waited = self
            .freed
            .wait_timeout_while(self.lock(), patience, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *taken {
            return None;
        }
        *taken = true;
        Some(Taken(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place is taken until this is dropped.
#[derive(Debug)]
pub struct Taken<'a>(&'a Place);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_place() {
        let place = Place::default();
        let first = place.take(Duration::ZERO).unwrap();
        assert!(place.take(Duration::ZERO).is_none());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| place.take(Duration::from_secs(10)).is_some());
            drop(first);
            assert!(second.join().unwrap());
        });
        assert!(place.take(Duration::ZERO).is_some());
    }
}
