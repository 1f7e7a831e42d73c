// SPDX-License-Identifier: GPL-2.0

//! Runs the tests, in hosts that are handed from a test to the next one that wants the same.
//!
//! As many tests run at once as libtest-mimic has threads; each has a [`Lane`] meanwhile, with hosts that tests in other lanes never see.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::times::{spend, Kind};
use devlend_bed::{kernel_log, processors, Bed, Environment, Family, Options};
use libtest_mimic::{Failed, Trial};

use crate::pair::{self, Pair};
use crate::times::Table;
use crate::{leaks, lockdep};

/// What a test needs.
#[derive(Clone, Copy)]
pub enum Body {
    /// The usual hosts; whether devlend is loaded does not matter.
    Bed(fn(&Bed) -> Result<()>),
    /// The same, for what is about AMD's NTB: left out on any other.
    Amd(fn(&Bed) -> Result<()>),
    /// The usual hosts, devlend loaded and the link up, and left so.
    Pair(fn(&Pair<'_>) -> Result<()>),
    /// Hosts made by these options; devlend loaded and the link up.
    Own(fn() -> Result<Options>, fn(&Pair<'_>) -> Result<()>),
    /// Hosts made by these options, with nothing loaded.
    Hosts(fn() -> Result<Options>, fn(&Bed) -> Result<()>),
    /// It starts hosts itself, and judges their kernels.
    Alone(fn() -> Result<()>),
}

/// A test.
#[derive(Clone, Copy)]
pub struct Case {
    /// The path of its function, the program's name included: [`cases`](crate::cases) makes it.
    pub path: &'static str,
    /// What it does.
    pub body: Body,
}

impl Case {
    /// Its name: the path of its function in the program.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .split_once("::")
            .map_or(self.path, |(_, name)| name)
    }
}

/// Tests of a module, each a kind of [`Body`] with its function, before which there may be the one that makes the options of its
/// hosts. The function's path is the test's name.
#[macro_export]
macro_rules! cases {
    (@path $test:path) => { concat!(module_path!(), "::", stringify!($test)) };
    (@path $options:path, $test:path) => { $crate::cases!(@path $test) };
    ($($kind:ident($($part:path),+)),* $(,)?) => {
        &[$($crate::runner::Case {
            path: $crate::cases!(@path $($part),+),
            body: $crate::runner::Body::$kind($($part),+),
        }),*]
    };
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
    /// The hosts of the last test, if they are as a test must find them, and what they were made by.
    hosts: Option<(Options, Hosts)>,
}

/// The test that a thread runs.
#[derive(Clone, Copy)]
struct Running {
    /// Number of its lane; 0 for programs without lanes.
    lane: usize,
    name: &'static str,
    kernel: Option<&'static str>,
}

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running { lane: 0, name: "", kernel: None }) };
}

/// The name of the test that this thread runs.
#[must_use]
pub fn running() -> &'static str {
    RUNNING.get().name
}

/// Running hosts, and what has been seen of them.
pub struct Hosts {
    /// The hosts.
    pub bed: Bed,
    /// Lines of each host's kernel log that earlier tests have answered for.
    seen: Mutex<Vec<usize>>,
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
    ///
    /// Each test runs on the kernel that `kernel` names for it, or on the environment's. Those that want the same hosts come one
    /// after the other, those with hosts of their own first: the tests that are under way at the end should be short ones.
    pub fn trials(
        runner: &Arc<Self>,
        cases: Vec<Case>,
        family: Family,
        kernel: impl Fn(&Case) -> Option<&'static str>,
    ) -> Vec<Trial> {
        let mut shapes = Vec::new();
        let mut cases: Vec<_> = cases
            .into_iter()
            .map(|case| {
                let kernel = kernel(&case);
                let shape = (kernel, case.body.options().and_then(Result::ok));
                let place = shapes.iter().position(|known| *known == shape);
                let place = place.unwrap_or_else(|| {
                    shapes.push(shape);
                    shapes.len() - 1
                });
                (case.body.is_short(), place, case, kernel)
            })
            .collect();
        cases.sort_by_key(|(short, place, ..)| (*short, *place));
        cases
            .into_iter()
            .map(|(_, _, case, kernel)| {
                let runner = Arc::downgrade(runner);
                Trial::test(case.name(), move || {
                    let runner = runner.upgrade().ok_or("the runner is gone")?;
                    runner.run(&case, kernel).map_err(|error| {
                        let again = format!("repeat it alone: make test TESTS={}", case.name());
                        let error = format!("{error:#}\n{again}");
                        // All failures are shown at the end, too, which may be a while away.
                        eprintln!("{} FAILED: {error}", case.name());
                        Failed::from(error)
                    })
                })
                .with_ignored_flag(matches!(case.body, Body::Amd(_)) && family != Family::Amd)
            })
            .collect()
    }

    fn run(&self, case: &Case, kernel: Option<&'static str>) -> Result<()> {
        let wanted = case.body.options().transpose()?.map(|mut options| {
            options.kernel = kernel.map(Into::into);
            options
        });
        // A test that panics drops its lane, and with it the hosts.
        let mut lane = self.take_lane(wanted.as_ref());
        RUNNING.set(Running {
            lane: lane.number,
            name: case.name(),
            kernel,
        });
        let result = self.times.test(case.name(), || lane.run(case, wanted));
        self.lanes().free.push(lane);
        result
    }

    /// Where the time of the tests went that have ended.
    #[must_use]
    pub fn times(&self) -> &Table {
        &self.times
    }

    /// A lane that no test has, if there is one with hosts as they are wanted, or without any.
    fn take_lane(&self, wanted: Option<&Options>) -> Lane {
        let mut lanes = self.lanes();
        let has = |lane: &Lane| lane.hosts.as_ref().map(|(options, _)| options.clone());
        let fits = |lane: &Lane| wanted.is_some() && has(lane).as_ref() == wanted;
        let free = &mut lanes.free;
        let place = free
            .iter()
            .position(fits)
            .or_else(|| free.iter().position(|lane| lane.hosts.is_none()))
            .or_else(|| free.len().checked_sub(1));
        place.map(|place| free.remove(place)).unwrap_or_else(|| {
            lanes.made += 1;
            Lane {
                number: lanes.made,
                hosts: None,
            }
        })
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn run(&mut self, case: &Case, wanted: Option<Options>) -> Result<()> {
        let Some(wanted) = wanted else {
            // Two beds a lane would be too much for a small machine.
            self.hosts = None;
            return match case.body {
                Body::Alone(test) => test(),
                _ => bail!("this test has no options for its hosts"),
            };
        };
        let (options, hosts) = match self.hosts.take() {
            Some((options, hosts)) if options == wanted => (options, hosts),
            other => {
                // Whatever state a failed test has left: the next one starts from a known one.
                drop(other);
                (wanted.clone(), Hosts::start(wanted, "lane")?)
            }
        };
        let result = case.body.run(&hosts.bed);
        let left = hosts.judge(case.name(), result)?;
        if left == Left::AsFound {
            self.hosts = Some((options, hosts));
        }
        Ok(())
    }
}

/// How a test has left its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The next test can have them.
    AsFound,
    /// It cannot.
    Otherwise,
}

impl Body {
    /// Whether it runs in the usual hosts, as most short tests do.
    fn is_short(&self) -> bool {
        matches!(self, Self::Bed(_) | Self::Amd(_) | Self::Pair(_))
    }

    /// How the hosts are made that it runs in, unless it makes them itself.
    fn options(&self) -> Option<Result<Options>> {
        match self {
            Self::Bed(_) | Self::Amd(_) | Self::Pair(_) => Some(pair::options()),
            Self::Own(options, _) | Self::Hosts(options, _) => Some(options()),
            Self::Alone(_) => None,
        }
    }

    /// Runs it in hosts that are as it wants them.
    fn run(&self, bed: &Bed) -> Result<Left> {
        match self {
            Self::Bed(test) | Self::Amd(test) => test(bed).map(|()| Left::AsFound),
            Self::Pair(test) => {
                let pair = Pair::of(bed)?;
                test(&pair)?;
                pair.check_tidy().map(|()| Left::AsFound)
            }
            Self::Own(_, test) => {
                let pair = Pair::of(bed)?;
                test(&pair)?;
                Ok(match pair.check_tidy() {
                    Ok(()) => Left::AsFound,
                    Err(_) => Left::Otherwise,
                })
            }
            Self::Hosts(_, test) => {
                test(bed)?;
                if bed.hosts().iter().any(|host| host.pid().is_none()) {
                    return Ok(Left::Otherwise);
                }
                for host in bed.hosts() {
                    host.unload().context("after the test")?;
                }
                Ok(Left::AsFound)
            }
            Self::Alone(test) => test().map(|()| Left::Otherwise),
        }
    }
}

/// The run directory of hosts by a name: beside the checkout's own, since `make play` may be running; one for each lane.
///
/// # Errors
///
/// There is no environment.
pub fn run_dir(name: &str) -> Result<PathBuf> {
    let mut run_dir = Environment::find()?.run_dir.into_os_string();
    run_dir.push(format!("-{name}{}", RUNNING.get().lane));
    Ok(PathBuf::from(run_dir))
}

/// The processor of this machine for the hosts of a lane: each has one, in turn. Outside lanes there is one bed at a time.
fn processor() -> Option<usize> {
    let lane = RUNNING.get().lane.checked_sub(1)?;
    let processors = processors().ok()?;
    let place = lane.checked_rem(processors.len())?;
    processors.get(place).copied()
}

impl Hosts {
    /// Starts hosts in a run directory of their own; they end when the value is dropped.
    ///
    /// # Errors
    ///
    /// They do not start.
    pub fn start(mut options: Options, name: &str) -> Result<Self> {
        options.run_dir = Some(run_dir(name)?);
        let kernel = RUNNING.get().kernel.map(Into::into);
        options.kernel = options.kernel.or(kernel);
        options.processor = processor();
        let seen = Mutex::new(vec![0; options.hosts.len()]);
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
    pub fn judge<T>(&self, case: &str, result: Result<T>) -> Result<T> {
        // A host that a failed test has left behind may not answer.
        let hosts = if result.is_ok() {
            self.bed.hosts()
        } else {
            &[]
        };
        let alive = || hosts.iter().filter(|host| host.pid().is_some());
        let kernels = spend(Kind::Judge, || {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            kernels_are_content(&self.bed, &mut seen, &self.provoked)?;
            let kernel = self.bed.environment();
            if kernel.kernel_has("CONFIG_DEBUG_KMEMLEAK") {
                spend(Kind::Leaks, || leaks::check(alive()))?;
            }
            if kernel.kernel_has("CONFIG_PROVE_LOCKING") {
                spend(Kind::Lockdep, || lockdep::record(case, alive()))?;
            }
            Ok(())
        });
        let verdict = match (result, kernels) {
            (Ok(value), kernels) => kernels.map(|()| value),
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
    let directory = bed
        .environment()
        .top
        .join("target/test")
        .join(case.replace("::", "-"));
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
