// SPDX-License-Identifier: GPL-2.0

//! Memory that nobody refers to any more, by the kernel's own search (kmemleak), where the kernel has it.

use std::panic::resume_unwind;
use std::thread;

use anyhow::{ensure, Result};
use devlend_bed::Host;

const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// Searches the memory of some hosts, all at once, and forgets what was found. What is younger than five seconds is found the next
/// time.
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
    // What is new to a search is compared with what it was, which takes a second one. What is found where devlend is not even
    // loaded was left by others: the kernel's own NTB clients do.
    host.sh_ok(&format!(
        "echo scan >{KMEMLEAK}; echo scan >{KMEMLEAK}; [ ! -e /sys/module/devlend_ntb ] || cat {KMEMLEAK}; echo clear >{KMEMLEAK}"
    ))
}
