// SPDX-License-Identifier: GPL-2.0

//! What happened on a link. Counters only rise; they start at zero with the module.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// One counter.
pub struct Counter(Atomic<u64>);

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts one. Does not sleep.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts several. Does not sleep.
    pub fn add(&self, number: u64) {
        self.0.add(number, Relaxed);
    }

    /// The present count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The longest time something has taken.
#[derive(Default)]
pub struct Longest(Counter);

impl Longest {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Counter::new())
    }

    /// Notes a time, in whatever unit. Does not sleep.
    pub fn note(&self, time: u64) {
        let mut longest = self.get();
        while time > longest {
            match self.0 .0.cmpxchg(longest, time, Relaxed) {
                Ok(_) => return,
                Err(other) => longest = other,
            }
        }
    }

    /// The longest so far.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Counters of a link.
pub struct Counters {
    /// Requests and events sent to the peer.
    pub sent: Counter,
    /// Requests and events taken off our ring.
    pub received: Counter,
    /// Requests without an answer in time.
    pub timeouts: Counter,
    /// Messages of the peer that were malformed or refused.
    pub refused: Counter,
    /// Sessions that did not come about because of a key.
    pub attaches_refused: Counter,
    /// Beats written for the peer.
    pub keepalives_sent: Counter,
    /// Beats of the peer that did not come when they were due.
    pub keepalives_missed: Counter,
    /// Longest time, microseconds, that a caller which must not sleep has waited for the peer.
    pub longest_atomic: Longest,
}

impl Counters {
    pub(super) const fn new() -> Self {
        Self {
            sent: Counter::new(),
            received: Counter::new(),
            timeouts: Counter::new(),
            refused: Counter::new(),
            attaches_refused: Counter::new(),
            keepalives_sent: Counter::new(),
            keepalives_missed: Counter::new(),
            longest_atomic: Longest::new(),
        }
    }
}
