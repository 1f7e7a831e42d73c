// SPDX-License-Identifier: GPL-2.0

//! The kernel's `ntb_perf`: it agrees on buffers over scratchpads and doorbells, and streams into the peer's.

use anyhow::{ensure, Context, Result};
use devlend_bed::{Bed, Host};

use super::unload;
use crate::pair::{finally, NTB};

/// What is copied each way, as a power of two.
const ORDER: u32 = 18;

/// All that one host copies goes through its windows, not a byte less.
pub fn copies(bed: &Bed) -> Result<()> {
    let body = || {
        for host in bed.hosts() {
            host.load_ntb_drivers()?;
            // The windows differ in size, and ntb_perf wants a buffer for all of one.
            host.sh_ok(&format!(
                "modprobe ntb_perf max_mw_size=0x100000 chunk_order=16 total_order={ORDER}"
            ))?;
        }
        for host in bed.hosts() {
            copy(bed, host).with_context(|| format!("from the {}", host.name()))?;
        }
        Ok(())
    };
    finally(body(), || unload(bed, "ntb_perf"))
}

fn copy(bed: &Bed, host: &Host) -> Result<()> {
    let before = written(bed, host)?;
    let run = format!("/sys/kernel/debug/ntb_perf/{NTB}/run");
    // Waits until both sides have agreed.
    let report = host.sh_ok(&format!("echo 0 >{run} && cat {run}"))?;
    ensure!(
        report.contains(&format!("0: copied {} bytes", 1 << ORDER)),
        "it reports {report}"
    );
    let bytes = written(bed, host)? - before;
    ensure!(
        bytes == 1 << ORDER,
        "{bytes} bytes went through the windows"
    );
    Ok(())
}

/// Bytes that a host has written through its windows.
fn written(bed: &Bed, host: &Host) -> Result<u64> {
    let part = format!(".{}.windows.", host.name());
    let counters = bed.emulator().counters()?;
    let bytes = counters
        .iter()
        .filter(|(name, _)| name.contains(&part) && name.ends_with(".bytes_written"));
    Ok(bytes.map(|(_, count)| count).sum())
}
