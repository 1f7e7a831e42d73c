// SPDX-License-Identifier: GPL-2.0

//! Window plans that do not fit: refused early, with the numbers.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{Errno, Family, Options};

use crate::cases;
use crate::pair::{finally, logged, options, options_with, refused, Pair, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Own(big_borrower, memory_beyond_the_window),
    Own(two_processors, two_processors_two_queues),
];

/// AMD's window holds half of the borrower's memory, all of which is low memory.
fn big_borrower() -> Result<Options> {
    let mut options = options_with(Family::Amd)?;
    options.host_mut("borrower")?.memory = 1 << 30;
    Ok(options)
}

fn memory_beyond_the_window(pair: &Pair<'_>) -> Result<()> {
    let available = pair.at_borrower.number("dma_available")?;
    let needed = pair.at_borrower.number("dma_needed")?;
    ensure!(available == 512 << 20, "dma_available is {available}");
    ensure!(needed > available, "dma_needed is {needed}");
    pair.lend()?;
    let body = (|| {
        pair.at_borrower
            .offer(NVME)
            .wait_state("available", Duration::from_secs(10))?;
        let (needed, available) = (needed.to_string(), available.to_string());
        let answer = logged(
            pair.borrower,
            || pair.at_borrower.try_borrow(NVME),
            |line| line.contains(&needed) && line.contains(&available),
            "the bytes needed and available",
        )?;
        refused(answer, &[Errno::ENOSPC], "memory outside the window")?;
        ensure!(pair.lending().value(NVME, "state")? == "offered");
        Ok(())
    })();
    finally(body, || pair.end())
}

fn two_processors() -> Result<Options> {
    let mut options = options()?;
    for name in ["lender", "borrower"] {
        options.host_mut(name)?.smp = 2;
    }
    Ok(options)
}

/// Each processor has a queue and a vector of its own; both carry I/O at the same time.
fn two_processors_two_queues(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let body = (|| {
        let before = pair.borrower.interrupts(&borrowed.address)?;
        // The admin queue's, and one a processor.
        ensure!(before.len() >= 3, "vectors in use: {before:?}");
        let disk = &borrowed.disk;
        pair.borrower.sh_ok(&format!(
            "for cpu in 0 1; do taskset -c $cpu dd if={disk} of=/dev/null bs=16k count=256 skip=$((cpu * 256)) iflag=direct status=none & done; \
             wait %1 && wait %2"
        ))?;
        let after = pair.borrower.interrupts(&borrowed.address)?;
        let busy = after
            .iter()
            .filter(|(vector, count)| **count >= before.get(vector).copied().unwrap_or(0) + 100)
            .count();
        ensure!(busy >= 2, "vectors before {before:?}, after {after:?}");
        borrowed.check_disk().map(drop)
    })();
    finally(body, || borrowed.end())
}
