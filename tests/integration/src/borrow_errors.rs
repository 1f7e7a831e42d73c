// SPDX-License-Identifier: GPL-2.0

//! Borrowing what cannot be borrowed: a clear error, and nothing has changed.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::devlend::Role;
use devlend_bed::{Errno, Family};

use crate::cases;
use crate::pair::{family, finally, logged, refused, Pair, BIG, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(unknown),
    Pair(malformed),
    Pair(taken),
    Pair(return_what_is_not_borrowed),
    Pair(registers_do_not_fit),
    Pair(link_down),
];

fn unknown(pair: &Pair<'_>) -> Result<()> {
    // One that does not exist, and one that exists and is not offered.
    for address in ["0000:00:0a.0", NVME] {
        let answer = pair.at_borrower.try_borrow(address)?;
        refused(answer, &[Errno::ENOENT], address)?;
    }
    Ok(())
}

fn malformed(pair: &Pair<'_>) -> Result<()> {
    for request in [
        "",
        "nvme",
        "0000:00:03",
        "0000:00:03.9",
        "0000:00:03.0 unsafe",
    ] {
        let answer = pair.at_borrower.try_borrow(request)?;
        refused(answer, &[Errno::EINVAL], &format!("{request:?}"))?;
    }
    Ok(())
}

fn taken(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let answer = pair.at_borrower.try_borrow(NVME)?;
    refused(answer, &[Errno::EBUSY], "an offer that is taken")?;
    borrowed.check_disk()?;
    // The lender does not give away twice either, nor take it back under the borrower's feet without being told so.
    let answer = pair.lending().try_lend(&format!("{NVME} unsafe"))?;
    refused(answer, &[Errno::EBUSY], "a lend of what is borrowed")?;
    borrowed.end()
}

fn return_what_is_not_borrowed(pair: &Pair<'_>) -> Result<()> {
    let answer = pair.at_borrower.try_return(NVME)?;
    refused(answer, &[Errno::ENOENT], "a return of an unknown offer")?;
    pair.lend()?;
    let body = (|| {
        pair.at_borrower
            .offer(NVME)
            .wait_state("available", Duration::from_secs(10))?;
        let answer = pair.at_borrower.try_return(NVME)?;
        refused(
            answer,
            &[Errno::ENOENT, Errno::EINVAL, Errno::ENODEV],
            "a return of what is not borrowed",
        )
    })();
    finally(body, || pair.end())
}

/// 128 MiB of BAR do not fit into a window of 64 MiB.
fn registers_do_not_fit(pair: &Pair<'_>) -> Result<()> {
    pair.lending().lend(&format!("{BIG} unsafe"))?;
    let body = (|| {
        pair.at_borrower
            .offer(BIG)
            .wait_state("available", Duration::from_secs(10))?;
        let available: u64 = match family()? {
            Family::Amd | Family::Intel => 64 << 20,
            // Half of the BAR is for the look-up table's windows.
            Family::Switchtec => 32 << 20,
        };
        let available = format!(" {available} available");
        let answer = logged(
            pair.borrower,
            || pair.at_borrower.try_borrow(BIG),
            |line| line.contains("needed") && line.contains(&available),
            "how many bytes are needed and available",
        )?;
        refused(answer, &[Errno::ENOSPC], "a BAR larger than the window")?;
        ensure!(
            pair.at_borrower
                .offer(BIG)
                .values()?
                .get("state")
                .map(String::as_str)
                == Some("available"),
            "the offer is no longer available"
        );
        Ok(())
    })();
    finally(body, || {
        if let Err(errno) = pair.lending().try_reclaim(BIG)? {
            anyhow::bail!("taking {BIG} back gave {errno}");
        }
        pair.at_borrower
            .offer(BIG)
            .wait_gone(Duration::from_secs(10))
    })
}

fn link_down(pair: &Pair<'_>) -> Result<()> {
    // The NTB's driver gone in the lender is what a pulled cable is to the borrower.
    pair.lender.unload()?;
    let body = (|| {
        pair.at_borrower
            .wait_state("down", Duration::from_secs(20))?;
        let answer = pair.at_borrower.try_borrow(NVME)?;
        refused(answer, &[Errno::ENOTCONN], "a borrow without a link")?;
        let version = pair.at_borrower.value("version")?;
        ensure!(
            version.is_empty(),
            "the version is {version} without a link"
        );
        // The NTB is there again, devlend is not.
        pair.lender.load_ntb_drivers()?;
        let answer = pair.at_borrower.try_borrow(NVME)?;
        refused(
            answer,
            &[Errno::ENOTCONN],
            "a borrow from a peer without devlend",
        )
    })();
    finally(body, || {
        pair.lender.load(Role::Lender)?;
        for link in [&pair.at_lender, &pair.at_borrower] {
            link.wait_state("up", Duration::from_secs(30))?;
        }
        Ok(())
    })
}
