// SPDX-License-Identifier: GPL-2.0

//! What the kernels' lock validator (lockdep) has seen, kept so that two runs can be compared (`tests/lockdep`).

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use devlend_bed::Host;

/// Copies `/proc/lockdep` of some hosts into the directory that `DEVLEND_LOCKDEP` names, if it does. A kernel forgets the locks of a
/// module that is unloaded, so this is done after each test.
pub fn record<'a>(case: &str, hosts: impl Iterator<Item = &'a Host>) -> Result<()> {
    let Some(directory) = env::var_os("DEVLEND_LOCKDEP").map(PathBuf::from) else {
        return Ok(());
    };
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    for host in hosts {
        let classes = host.read("/proc/lockdep")?;
        let file = directory.join(format!("{}-{}", case.replace("::", "-"), host.name()));
        fs::write(&file, classes).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
