// SPDX-License-Identifier: GPL-2.0

//! Devices that are borrowed again by themselves.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::devlend::Role;
use devlend_bed::Errno;

use crate::cases;
use crate::pair::{finally, refused, Borrowed, Pair, NVME};
use crate::runner::Case;
use crate::unplug::keep_reading;

pub const CASES: &[Case] = cases![
    Pair(after_the_lender_was_unloaded),
    Pair(after_the_lender_died),
    Pair(after_a_silence),
    Pair(until_it_is_returned),
    Pair(returned_while_it_is_not_there),
];

/// Borrows the NVMe to have it again.
fn borrow_auto<'a>(pair: &'a Pair<'a>) -> Result<Borrowed<'a>> {
    pair.lend()?;
    let offer = pair.at_borrower.offer(NVME);
    offer.wait_state("available", Duration::from_secs(30))?;
    pair.borrower
        .write(&pair.at_borrower.path("borrow"), &format!("{NVME} auto"))?;
    let borrowed = pair.borrowed_now()?;
    let auto = offer.values()?.get("auto").cloned();
    ensure!(auto.as_deref() == Some("1"), "auto is {auto:?}");
    borrowed.check_disk()?;
    Ok(borrowed)
}

/// It came back by itself, works, and goes for good when it is returned.
fn check_again(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrowed_now()?;
    borrowed.check_disk()?;
    let log = pair.borrower.dmesg()?;
    ensure!(
        log.contains(&format!("borrowing {NVME} again, attempt 1 of 10")),
        "{log}"
    );
    borrowed.end()
}

fn after_the_lender_was_unloaded(pair: &Pair<'_>) -> Result<()> {
    let borrowed = borrow_auto(pair)?;
    keep_reading(pair.borrower, &borrowed)?;
    pair.lender.unload()?;
    borrowed.wait_gone(Duration::from_secs(60))?;
    pair.lender.load(Role::Lender)?;
    pair.at_lender.wait_state("up", Duration::from_secs(30))?;
    pair.lend()?;
    check_again(pair)
}

fn after_the_lender_died(pair: &Pair<'_>) -> Result<()> {
    let borrowed = borrow_auto(pair)?;
    keep_reading(pair.borrower, &borrowed)?;
    pair.lender.kill()?;
    borrowed.wait_gone(Duration::from_secs(90))?;
    pair.lender.start()?;
    let again = Pair::of(pair.bed)?;
    again.lend()?;
    check_again(&again)
}

/// The lender resets the device and offers it again as soon as it hears that its session is over; nobody does anything.
fn after_a_silence(pair: &Pair<'_>) -> Result<()> {
    let link = &pair.at_borrower;
    link.host().write(&link.path("keepalive_timeout"), "2000")?;
    let body = (|| {
        borrow_auto(pair)?;
        pair.lender.pause()?;
        let noticed = link.wait_state("waiting", Duration::from_secs(60));
        pair.lender.resume()?;
        noticed?;
        check_again(pair)
    })();
    finally(body, || {
        link.host().write(&link.path("keepalive_timeout"), "10000")
    })
}

fn check_stays_available(pair: &Pair<'_>) -> Result<()> {
    let offer = pair.at_borrower.offer(NVME);
    offer.wait_state("available", Duration::from_secs(30))?;
    pair.borrower.sh_ok("sleep 3")?;
    let values = offer.values()?;
    let seen = (values.get("state"), values.get("auto"));
    ensure!(
        seen == (Some(&"available".into()), Some(&"0".into())),
        "state and auto are {seen:?}"
    );
    Ok(())
}

fn until_it_is_returned(pair: &Pair<'_>) -> Result<()> {
    let borrowed = borrow_auto(pair)?;
    borrowed.end()?;
    pair.lend()?;
    finally(check_stays_available(pair), || pair.end())
}

fn returned_while_it_is_not_there(pair: &Pair<'_>) -> Result<()> {
    let borrowed = borrow_auto(pair)?;
    pair.lending().reclaim(&format!("{NVME} force"))?;
    borrowed.wait_gone(Duration::from_secs(60))?;
    pair.at_borrower
        .offer(NVME)
        .wait_gone(Duration::from_secs(30))?;
    let answer = pair.at_borrower.try_return(NVME)?;
    ensure!(answer.is_ok(), "the return gave {answer:?}");
    let answer = pair.at_borrower.try_return(NVME)?;
    refused(answer, &[Errno::ENOENT], "a second return")?;
    pair.lend()?;
    finally(check_stays_available(pair), || pair.end())
}
