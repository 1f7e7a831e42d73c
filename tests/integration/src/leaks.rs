// SPDX-License-Identifier: GPL-2.0

//! Memory that nobody refers to any more, by the kernel's own search (kmemleak), where the kernel has it.

use std::panic::resume_unwind;
use std::thread;

use anyhow::{ensure, Result};
use devlend_bed::Host;

const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// Searches the memory of some hosts, all at once, and forgets what was found. What is younger than five seconds, or has changed
/// since the search before, counts the next time: a leak is this test's, or one's before it.
pub fn check<'a>(hosts: impl Iterator<Item = &'a Host>) -> Result<()> {
    thread::scope(|scope| {
        let searches: Vec<_> = hosts
            .map(|host| (host.name(), scope.spawn(|| search(host))))
            .collect();
        searches.into_iter().try_for_each(|(name, search)| {
            let found = search.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            ensure!(found.is_empty(), "the {name} leaks:\n{found}");
            Ok(())
        })
    })
}

fn search(host: &Host) -> Result<String> {
    host.sh_ok(&format!(
        "[ ! -e {KMEMLEAK} ] || {{ echo scan >{KMEMLEAK}; cat {KMEMLEAK}; echo clear >{KMEMLEAK}; }}"
    ))
}
