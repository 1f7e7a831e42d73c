// SPDX-License-Identifier: GPL-2.0

//! Window plans that do not fit: refused early, with the numbers.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{Errno, Options};

use crate::pair::{finally, logged, options, refused, Pair, NVME};
use crate::runner::{Body, Case};

pub const CASES: &[Case] = &[Case {
    name: "plans::memory_beyond_the_window",
    body: Body::Own(big_borrower, memory_beyond_the_window),
}];

/// The window holds half of the borrower's memory, all of which is low memory.
fn big_borrower() -> Result<Options> {
    let mut options = options()?;
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
