// SPDX-License-Identifier: GPL-2.0

//! Memory that nobody refers to any more, by the kernel's own search (kmemleak), where the kernel has it.

use anyhow::{ensure, Result};
use devlend_bed::Host;

const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// Searches a host's memory, and forgets what was found. Objects younger than five seconds are found the next time.
pub fn check(host: &Host) -> Result<()> {
    // The second search confirms the first: a reference that was on its way between two places is not a leak.
    let found = host.sh_ok(&format!(
        "[ ! -e {KMEMLEAK} ] || {{ echo scan >{KMEMLEAK}; echo scan >{KMEMLEAK}; cat {KMEMLEAK}; echo clear >{KMEMLEAK}; }}"
    ))?;
    ensure!(found.is_empty(), "the {} leaks:\n{found}", host.name());
    Ok(())
}
