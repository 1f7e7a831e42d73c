// SPDX-License-Identifier: GPL-2.0

//! Work that a peer can cause without end, and its rests: [`devlend_protocol::duty`] with the kernel's clock.

use devlend_protocol::duty;
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

/// What one kind of work has taken of late.
pub struct Duty {
    origin: Instant<Monotonic>,
    inner: duty::Duty,
}

impl Duty {
    /// There was no work yet. Does not sleep.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            inner: duty::Duty::new(0),
        }
    }

    /// Some work that has begun at `start` has ended; returns for how long to rest before any more of it, at most `longest`.
    /// Does not sleep.
    pub fn rest(&mut self, start: Instant<Monotonic>, longest: Delta) -> Delta {
        let rest = self.inner.rest(
            micros(self.origin.elapsed()),
            micros(start.elapsed()),
            micros(longest),
        );
        Delta::from_micros(i64::try_from(rest).unwrap_or(0))
    }
}

impl Default for Duty {
    fn default() -> Self {
        Self::new()
    }
}

/// Microseconds, at least as long.
pub(crate) fn micros(delta: Delta) -> u64 {
    u64::try_from(delta.as_micros_ceil()).unwrap_or(0)
}
