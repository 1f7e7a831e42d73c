// SPDX-License-Identifier: GPL-2.0

//! Where the time of the tests in the hosts goes.

use std::fmt;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use devlend_bed::times::{take, Kind, Times};

/// Tests that are shown one by one: the slowest.
const SHOWN: usize = 20;

/// Whether the table is to be printed: `make test TIMES=1`.
#[must_use]
pub fn are_wanted() -> bool {
    std::env::var_os("TIMES").is_some_and(|value| !value.is_empty() && value != "0")
}

/// What the tests have spent that have ended.
pub struct Table {
    tests: Mutex<Vec<(&'static str, Times)>>,
    start: Instant,
    processors: Processors,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            tests: Mutex::default(),
            start: Instant::now(),
            processors: Processors::now(),
        }
    }
}

impl Table {
    /// Runs a test in this thread and notes what it spends.
    pub fn test<T>(&self, name: &'static str, run: impl FnOnce() -> T) -> T {
        let _ = take();
        let result = run();
        let times = take();
        if are_wanted() {
            println!("{}", Line(name, &times));
        }
        self.tests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, times));
        result
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tests = self
            .tests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        tests.sort_by_key(|(_, times)| std::cmp::Reverse(times.total()));
        let mut sum = Times::default();
        tests.iter().for_each(|(_, times)| sum += *times);
        writeln!(f, "\nseconds of the {SHOWN} slowest of {} tests; 'commands' and 'asleep' are parts of the others", tests.len())?;
        write!(f, "{:>8}", "whole")?;
        for kind in Kind::ALL {
            write!(f, "{:>9}", kind.name())?;
        }
        writeln!(f, "{:>17}{:>9}", "commands", "asleep")?;
        for (name, times) in tests.iter().take(SHOWN) {
            writeln!(f, "{}", Line(name, times))?;
        }
        writeln!(f, "{}", Line("all of them", &sum))?;
        write!(
            f,
            "{:.0} s in all, in which this machine's processors were busy for {} of 100",
            self.start.elapsed().as_secs_f64(),
            self.processors.busy_since()
        )
    }
}

/// A line of the table.
struct Line<'a>(&'a str, &'a Times);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, times) = self;
        let seconds = |time: Duration| time.as_secs_f64();
        write!(f, "{:>8.1}", seconds(times.total()))?;
        for kind in Kind::ALL {
            write!(f, "{:>9.1}", seconds(times.of(kind)))?;
        }
        let commands = format!("{} in {:.1}", times.commands, seconds(times.in_commands));
        write!(f, "{commands:>17}{:>9.1}  {name}", seconds(times.asleep))
    }
}

/// What all processors together have done since the machine booted, in ticks (`/proc/stat`, see proc(5)).
struct Processors {
    all: u64,
    idle: u64,
}

impl Processors {
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; the time of guests is in the first two.
        let ticks: Vec<u64> = first
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|word| word.parse().ok())
            .collect();
        Self {
            all: ticks.iter().sum(),
            idle: ticks.iter().skip(3).take(2).sum(),
        }
    }

    /// How much of the time since then they were busy, of 100.
    fn busy_since(&self) -> u64 {
        let now = Self::now();
        let (all, idle) = (
            now.all.saturating_sub(self.all),
            now.idle.saturating_sub(self.idle),
        );
        (100 * all.saturating_sub(idle))
            .checked_div(all)
            .unwrap_or(0)
    }
}
