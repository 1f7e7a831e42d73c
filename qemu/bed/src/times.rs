// SPDX-License-Identifier: GPL-2.0

//! Where the time of a thread goes, by kind of work.
//!
//! A thread always does work of one kind; the bed says when the kind changes ([`spend`]). Work inside other work counts for the
//! inner kind alone, so that the kinds add up to the whole.

use std::cell::RefCell;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything that is none of the others.
    Test,
    /// Starting hosts, until they take commands.
    Boot,
    /// Loading modules, until the link is up.
    Modules,
    /// Looking for leaks.
    Leaks,
    /// Reading kernel logs, and what else decides about a test after its end.
    Judge,
    /// Copying what the kernels' lock validator knows, where that is asked for.
    Lockdep,
    /// Ending hosts.
    Shutdown,
}

impl Kind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Boot,
        Self::Modules,
        Self::Test,
        Self::Leaks,
        Self::Judge,
        Self::Lockdep,
        Self::Shutdown,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Boot => "boot",
            Self::Modules => "modules",
            Self::Leaks => "leaks",
            Self::Judge => "judge",
            Self::Lockdep => "lockdep",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Time spent, by kind, and what it was spent with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    spent: [Duration; Kind::ALL.len()],
    /// Commands that were run in hosts.
    pub commands: u32,
    /// The part of the whole in which commands were waited for.
    pub in_commands: Duration,
    /// The part of the whole that passed in sleeps between two looks at something else than a command.
    pub asleep: Duration,
}

impl Times {
    /// The time spent with one kind of work.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Duration {
        self.spent[kind as usize]
    }

    /// The whole.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.spent.iter().sum()
    }
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        for (sum, spent) in self.spent.iter_mut().zip(other.spent) {
            *sum += spent;
        }
        self.commands += other.commands;
        self.in_commands += other.in_commands;
        self.asleep += other.asleep;
    }
}

struct Clock {
    kind: Kind,
    since: Instant,
    times: Times,
}

impl Clock {
    /// Books the time since the last change of kind, and goes on with another kind. Returns the last one.
    fn change(&mut self, kind: Kind) -> Kind {
        let now = Instant::now();
        self.times.spent[self.kind as usize] += now - self.since;
        self.since = now;
        std::mem::replace(&mut self.kind, kind)
    }
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::new(Clock {
        kind: Kind::Test,
        since: Instant::now(),
        times: Times::default(),
    });
}

/// Does work of a kind, after which this thread goes on with the kind that it had before.
pub fn spend<T>(kind: Kind, work: impl FnOnce() -> T) -> T {
    struct Restore(Kind);
    impl Drop for Restore {
        fn drop(&mut self) {
            CLOCK.with_borrow_mut(|clock| clock.change(self.0));
        }
    }
    let _restore = Restore(CLOCK.with_borrow_mut(|clock| clock.change(kind)));
    work()
}

/// Returns what this thread has spent since it was last asked, and begins anew.
#[must_use]
pub fn take() -> Times {
    CLOCK.with_borrow_mut(|clock| {
        clock.change(clock.kind);
        std::mem::take(&mut clock.times)
    })
}

/// Runs a command in a host, and counts it.
pub(crate) fn command<T>(run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    CLOCK.with_borrow_mut(|clock| {
        clock.times.commands += 1;
        clock.times.in_commands += start.elapsed();
    });
    result
}

/// Sleeps, and counts it.
pub(crate) fn sleep(pause: Duration) {
    std::thread::sleep(pause);
    CLOCK.with_borrow_mut(|clock| clock.times.asleep += pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_kind_counts() {
        let pause = Duration::from_millis(20);
        let _ = take();
        spend(Kind::Boot, || {
            std::thread::sleep(pause);
            spend(Kind::Modules, || std::thread::sleep(pause));
        });
        command(|| ());
        let times = take();
        assert!(times.of(Kind::Boot) >= pause && times.of(Kind::Modules) >= pause);
        assert_eq!(times.of(Kind::Judge), Duration::ZERO);
        let sum: Duration = Kind::ALL.iter().map(|kind| times.of(*kind)).sum();
        assert_eq!(sum, times.total());
        assert_eq!(times.commands, 1);
        assert_eq!(take().commands, 0);
    }

    #[test]
    fn a_panic_gives_the_kind_back() {
        let _ = take();
        let caught = std::panic::catch_unwind(|| spend(Kind::Judge, || panic!("as wanted")));
        assert!(caught.is_err());
        let _ = take();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(take().of(Kind::Judge), Duration::ZERO);
    }
}
