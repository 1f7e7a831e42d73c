// SPDX-License-Identifier: GPL-2.0

//! Runs the tests, on shared hosts or on hosts of their own.
//!
//! As many tests run at once as libtest-mimic has threads; each has a [`Lane`] meanwhile, with hosts that tests in other lanes never see.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::times::{spend, Kind};
use devlend_bed::{kernel_log, Bed, Environment, Family, Options};
use libtest_mimic::{Failed, Trial};

use crate::pair::{self, Pair};
use crate::times::Table;
use crate::{leaks, lockdep};

/// What a test needs.
#[derive(Clone, Copy)]
pub enum Body {
    /// The shared hosts; whether devlend is loaded does not matter.
    Bed(fn(&Bed) -> Result<()>),
    /// The same, for what is about AMD's NTB: left out on any other.
    Amd(fn(&Bed) -> Result<()>),
    /// The shared hosts, devlend loaded and the link up, and left so.
    Pair(fn(&Pair<'_>) -> Result<()>),
    /// Hosts of its own, made by these options; devlend loaded and the link up.
    Own(fn() -> Result<Options>, fn(&Pair<'_>) -> Result<()>),
    /// Hosts of its own, made by these options, with nothing loaded.
    Hosts(fn() -> Result<Options>, fn(&Bed) -> Result<()>),
    /// It starts hosts itself, and judges their kernels.
    Alone(fn() -> Result<()>),
}

/// A test.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, by module.
    pub name: &'static str,
    /// What it does.
    pub body: Body,
}

/// Holds the lanes that no test has.
#[derive(Default)]
pub struct Runner {
    lanes: Mutex<Lanes>,
    times: Table,
}

#[derive(Default)]
struct Lanes {
    free: Vec<Lane>,
    made: usize,
}

/// What tests use that come one after the other.
struct Lane {
    number: usize,
    /// The shared hosts.
    shared: Option<Hosts>,
}

thread_local! {
    /// Number of the lane of the test that this thread runs; 0 for programs without lanes.
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Running hosts, and what has been seen of them.
pub struct Hosts {
    /// The hosts.
    pub bed: Bed,
    /// Lines of each host's kernel log that earlier tests have answered for.
    seen: Vec<usize>,
    /// Parts of lines that look like a complaint and are what the test is about.
    provoked: Vec<String>,
}

impl Runner {
    /// Without hosts, until a test needs them.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The tests for libtest-mimic. They hold the runner weakly: the hosts end with the caller's.
    pub fn trials(runner: &Arc<Self>, cases: Vec<Case>, family: Family) -> Vec<Trial> {
        cases
            .into_iter()
            .map(|case| {
                let runner = Arc::downgrade(runner);
                Trial::test(case.name, move || {
                    let runner = runner.upgrade().ok_or("the runner is gone")?;
                    runner.run(&case).map_err(|error| {
                        let error = format!("{error:#}");
                        // All failures are shown at the end, too, which may be an hour away.
                        eprintln!("{error}");
                        Failed::from(error)
                    })
                })
                .with_ignored_flag(matches!(case.body, Body::Amd(_)) && family != Family::Amd)
            })
            .collect()
    }

    fn run(&self, case: &Case) -> Result<()> {
        // A test that panics drops its lane, and with it the hosts.
        let mut lane = self.take_lane();
        LANE.set(lane.number);
        let result = self.times.test(case.name, || lane.run(case));
        self.lanes().free.push(lane);
        result
    }

    /// Where the time of the tests went that have ended.
    #[must_use]
    pub fn times(&self) -> &Table {
        &self.times
    }

    fn take_lane(&self) -> Lane {
        let mut lanes = self.lanes();
        lanes.free.pop().unwrap_or_else(|| {
            lanes.made += 1;
            Lane {
                number: lanes.made,
                shared: None,
            }
        })
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn run(&mut self, case: &Case) -> Result<()> {
        match case.body {
            Body::Own(options, test) => {
                // Two beds a lane would be too much for a small machine.
                self.shared = None;
                let mut own = Hosts::start(options()?, "own")?;
                let result = Pair::of(&own.bed).and_then(|pair| test(&pair));
                own.judge(case.name, result)
            }
            Body::Hosts(options, test) => {
                self.shared = None;
                let mut own = Hosts::start(options()?, "own")?;
                let result = test(&own.bed);
                own.judge(case.name, result)
            }
            Body::Alone(test) => {
                self.shared = None;
                test()
            }
            Body::Bed(test) | Body::Amd(test) => self.on_shared(case, test),
            Body::Pair(test) => self.on_shared(case, |bed| {
                let pair = Pair::of(bed)?;
                test(&pair)?;
                pair.check_tidy()
            }),
        }
    }

    fn on_shared(&mut self, case: &Case, test: impl FnOnce(&Bed) -> Result<()>) -> Result<()> {
        let shared = match &mut self.shared {
            Some(shared) => shared,
            none => none.insert(Hosts::start(pair::options()?, "shared")?),
        };
        let result = test(&shared.bed);
        let result = shared.judge(case.name, result);
        if result.is_err() {
            // Whatever state it left: the next test starts from a known one.
            self.shared = None;
        }
        result
    }
}

/// The run directory of hosts by a name: beside the checkout's own, since `make play` may be running; one for each lane.
///
/// # Errors
///
/// There is no environment.
pub fn run_dir(name: &str) -> Result<PathBuf> {
    let mut run_dir = Environment::find()?.run_dir.into_os_string();
    run_dir.push(format!("-{name}{}", LANE.get()));
    Ok(PathBuf::from(run_dir))
}

impl Hosts {
    /// Starts hosts in a run directory of their own; they end when the value is dropped.
    ///
    /// # Errors
    ///
    /// They do not start.
    pub fn start(mut options: Options, name: &str) -> Result<Self> {
        options.run_dir = Some(run_dir(name)?);
        let seen = vec![0; options.hosts.len()];
        let bed = Bed::start(options)?;
        Ok(Self {
            bed,
            seen,
            provoked: Vec::new(),
        })
    }

    /// From here on lines of a kernel's log with these words are no complaints: a test provokes them, and looks for them itself.
    pub fn provoke(&mut self, words: &str) {
        self.provoked.push(words.into());
    }

    /// The verdict on a test: its own, and that of the kernels. A failure leaves the consoles for a look.
    ///
    /// # Errors
    ///
    /// The test's, or a kernel has complained since the last verdict.
    pub fn judge(&mut self, case: &str, result: Result<()>) -> Result<()> {
        // A host that a failed test has left behind may not answer.
        let hosts = if result.is_ok() {
            self.bed.hosts()
        } else {
            &[]
        };
        let alive = || hosts.iter().filter(|host| host.pid().is_some());
        let kernels = spend(Kind::Judge, || {
            kernels_are_content(&self.bed, &mut self.seen, &self.provoked)?;
            spend(Kind::Leaks, || leaks::check(alive()))?;
            spend(Kind::Lockdep, || lockdep::record(case, alive()))
        });
        let verdict = match (result, kernels) {
            (Ok(()), kernels) => kernels,
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(kernels)) => Err(error.context(format!("{kernels:#}"))),
        };
        // Not a defect of anything under test: QEMU's own limit, which makes a driver read all-ones.
        let verdict = verdict.map_err(|error| match deadlocks(&self.bed) {
            0 => error,
            count => error.context(format!(
                "ntb-emu failed {count} device reads because both hosts were reading each other (see qemu/README.md)"
            )),
        });
        verdict.map_err(|error| match save_consoles(case, &self.bed) {
            Ok(directory) => error.context(format!("consoles: {}", directory.display())),
            Err(unsaved) => error.context(format!("{unsaved:#}")),
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // What is worth keeping has been saved.
        match self.bed.down() {
            Ok(()) => drop(fs::remove_dir_all(self.bed.run_dir())),
            Err(error) => eprintln!("ending the hosts: {error:#}"),
        }
    }
}

/// Reads that ntb-emu had to fail so that two QEMUs would not wait for each other.
fn deadlocks(bed: &Bed) -> u64 {
    let counters = bed.emulator().counters().unwrap_or_default();
    let found = counters
        .iter()
        .filter(|(name, _)| name.ends_with(".deadlocks"));
    found.map(|(_, count)| count).sum()
}

/// The consoles hold the kernels' logs, those of a host that died included.
fn kernels_are_content(bed: &Bed, seen: &mut [usize], provoked: &[String]) -> Result<()> {
    for (host, seen) in bed.hosts().iter().zip(seen) {
        let console = host.console()?;
        let new: Vec<&str> = console.lines().skip(*seen).collect();
        *seen += new.len();
        let new = new.join("\n");
        if kernel_log::lockdep_ends(&new) {
            eprintln!(
                "    lockdep is off in the {} from here on, by a lock that its NTB's driver has not initialized",
                host.name()
            );
        }
        let mut complaints = kernel_log::complaints(&new);
        complaints.retain(|line| !provoked.iter().any(|words| line.contains(words)));
        ensure!(
            complaints.is_empty(),
            "the {}'s kernel complained:\n{}",
            host.name(),
            complaints.join("\n")
        );
    }
    Ok(())
}

fn save_consoles(case: &str, bed: &Bed) -> Result<PathBuf> {
    let directory = bed.top().join("target/test").join(case.replace("::", "-"));
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    for host in bed.hosts() {
        save(
            &directory,
            &format!("{}.console", host.name()),
            &host.console()?,
        )?;
    }
    if let Ok(log) = fs::read_to_string(bed.run_dir().join("ntb-emu.log")) {
        save(&directory, "ntb-emu.log", &log)?;
    }
    Ok(directory)
}

fn save(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    if let Err(error) = fs::write(&path, text) {
        bail!("writing {}: {error}", path.display());
    }
    Ok(())
}
