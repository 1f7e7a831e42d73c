// SPDX-License-Identifier: GPL-2.0

//! A host that dies, with a device borrowed.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::cases;
use crate::pair::{Pair, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![Pair(the_lender_dies), Pair(the_borrower_dies),];

fn the_lender_dies(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    pair.borrower.sh_ok(&format!(
        "dd if={} of=/dev/null bs=64k iflag=direct >/dev/null 2>&1 &",
        borrowed.disk
    ))?;
    pair.lender.kill()?;
    pair.at_borrower
        .wait_state("down", Duration::from_secs(30))?;
    borrowed.wait_gone(Duration::from_secs(90))?;
    ensure!(pair.borrower.sh_ok("echo alive")? == "alive");

    pair.lender.start()?;
    let again = Pair::of(pair.bed)?;
    let borrowed = again.borrow()?;
    borrowed.check_disk()?;
    borrowed.end()
}

fn the_borrower_dies(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    pair.borrower.kill()?;
    pair.at_lender.wait_state("down", Duration::from_secs(30))?;
    // Offered again: nobody has it any more.
    pair.lending()
        .wait_state(NVME, "offered", Duration::from_secs(30))?;

    pair.borrower.start()?;
    let again = Pair::of_lending(pair.bed)?;
    let address = again.at_borrower.offer(NVME).borrow()?;
    again
        .borrower
        .wait_nvme(&address, Duration::from_secs(60))?;
    again.at_borrower.offer(NVME).give_back()?;
    again.end()
}
