// SPDX-License-Identifier: GPL-2.0

//! Which processors of this machine the hosts run on.
//!
//! An access through the bridge goes from a virtual processor to a thread of `ntb-emu` and back. If the two threads are on
//! different processors, each way wakes an idle processor, which costs far more than the access itself; on the same one it
//! is a switch between threads.

use std::fs;
use std::str::FromStr;

use anyhow::{bail, Context, Result};
use nix::errno::Errno;
use nix::sched::{sched_setaffinity, CpuSet};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Bed;

/// Where threads may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Anywhere.
    #[default]
    Free,
    /// Each host, with the threads of `ntb-emu` that serve it, on a processor of its own (in turn, if there are more
    /// hosts than processors).
    Apart,
    /// Everything on one processor.
    Together,
}

impl Placement {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Free, Self::Apart, Self::Together];

    /// The name a person gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Apart => "apart",
            Self::Together => "together",
        }
    }
}

impl FromStr for Placement {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|one| one.name() == text) {
            Some(placement) => Ok(placement),
            None => bail!("'{text}' is none of free, apart, together"),
        }
    }
}

impl Bed {
    /// Puts the hosts that are on, and the threads that serve them, where they belong.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn place(&self, placement: Placement) -> Result<()> {
        let processors = processors()?;
        for (number, host) in self.hosts().iter().enumerate() {
            let chosen = match placement {
                Placement::Free => &processors[..],
                Placement::Apart => {
                    let turn = number % processors.len();
                    &processors[turn..=turn]
                }
                Placement::Together => &processors[..1],
            };
            let set = set(chosen)?;
            if let Some(pid) = host.pid() {
                for (thread, _) in threads(pid)? {
                    confine(thread, &set)?;
                }
            }
            if let Some(pid) = self.emulator_pid() {
                let served = format!("{} ", host.name());
                let own = threads(pid)?
                    .into_iter()
                    .filter(|(_, name)| name.starts_with(&served));
                for (thread, _) in own {
                    confine(thread, &set)?;
                }
            }
        }
        Ok(())
    }
}

/// The processors that this program may use.
///
/// # Errors
///
/// The kernel does not tell.
pub fn processors() -> Result<Vec<usize>> {
    let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    let processors = (0..CpuSet::count()).filter(|i| allowed.is_set(*i).unwrap_or(false));
    Ok(processors.collect())
}

pub(crate) fn set(processors: &[usize]) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(*processor)?;
    }
    Ok(set)
}

/// Numbers and names of a process's threads. Names have at most 15 bytes.
fn threads(pid: u32) -> Result<Vec<(Pid, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).context("listing threads")? {
        let entry = entry?;
        // One that has ended meanwhile has no name any more.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        if let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|text| text.parse().ok())
        {
            found.push((Pid::from_raw(number), name.trim_end().to_owned()));
        }
    }
    Ok(found)
}

fn confine(thread: Pid, set: &CpuSet) -> Result<()> {
    match sched_setaffinity(thread, set) {
        // It has ended.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("placing a thread"),
    }
}
