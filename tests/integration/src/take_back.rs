// SPDX-License-Identifier: GPL-2.0

//! The lender wants a borrowed device back.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Errno, Seen};

use crate::cases;
use crate::pair::{finally, logged, refused, Borrowed, Pair, NVME};
use crate::runner::Case;
use crate::unplug::{check_gone, keep_reading};

pub const CASES: &[Case] = cases![
    Pair(the_borrower_gives_it_back),
    Pair(by_force_at_the_deadline),
    Pair(malformed),
    Pair(interrupted_and_at_once),
    Pair(the_module_goes_meanwhile),
];

/// The lender has its disk again, and the borrower nothing.
fn check_back(pair: &Pair<'_>, borrowed: &Borrowed<'_>) -> Result<()> {
    pair.lender.wait_bound(NVME, Duration::from_secs(60))?;
    borrowed.wait_gone(Duration::from_secs(60))?;
    check_gone(pair, &borrowed.address)?;
    pair.at_borrower
        .offer(NVME)
        .wait_gone(Duration::from_secs(30))?;
    let disk = pair.lender_disk()?;
    pair.lender
        .sh_ok(&format!(
            "dd if={disk} of=/dev/null bs=4k count=16 iflag=direct status=none"
        ))
        .map(drop)
}

/// With the borrower paused. It must be the deadline or a person that ends the lease, not the borrower's silence.
fn while_it_stands_still(pair: &Pair<'_>, test: impl FnOnce() -> Result<()>) -> Result<()> {
    pair.patiently(|| {
        pair.borrower.pause()?;
        finally(test(), || pair.borrower.resume())
    })
}

/// In good order, under I/O: what was acknowledged is there afterwards.
fn the_borrower_gives_it_back(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let written = borrowed.check_disk()?;
    keep_reading(pair.borrower, &borrowed)?;
    logged(
        pair.lender,
        // The time does not matter, as long as it is not over.
        || pair.lending().reclaim(&format!("{NVME} deadline=300")),
        |line| line.contains("its borrower has given it back"),
        "that it was given back",
    )?;
    check_back(pair, &borrowed)?;
    let disk = pair.lender_disk()?;
    let read = pair.lender.sh_ok(&format!(
        "dd if={disk} bs=64k count=16 iflag=direct status=none | sha256sum"
    ))?;
    ensure!(read == written, "the disk holds other data");
    let log = pair.borrower.dmesg()?;
    ensure!(
        log.contains(&format!("the lender wants {NVME} back within 300 s")),
        "{log}"
    );
    Ok(())
}

/// The borrower stands still: it does not even hear of it.
fn by_force_at_the_deadline(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    keep_reading(pair.borrower, &borrowed)?;
    while_it_stands_still(pair, || {
        logged(
            pair.lender,
            || pair.lending().reclaim(&format!("{NVME} deadline=1")),
            |line| line.contains("its borrower has not given it back within"),
            "that it was taken",
        )
    })?;
    check_back(pair, &borrowed)
}

fn malformed(pair: &Pair<'_>) -> Result<()> {
    pair.lend()?;
    let body = (|| {
        for words in [
            "deadline",
            "deadline=",
            "deadline=301",
            "deadline=-1",
            "deadline=1s",
            "deadline=1 deadline=2",
            "deadline=1 force",
            "unsafe",
        ] {
            let answer = pair.lending().try_reclaim(&format!("{NVME} {words}"))?;
            refused(answer, &[Errno::EINVAL], words)?;
        }
        let state = pair.lending().value(NVME, "state")?;
        ensure!(state == "offered", "its state is {state}");
        Ok(())
    })();
    finally(body, || pair.end())
}

/// Starts to take the device back, of a borrower that stands still, in a shell whose number is in `/tmp/waiting`.
fn start_waiting(pair: &Pair<'_>) -> Result<()> {
    pair.lender.sh_ok(&format!(
        "sh -c 'echo $$ >/tmp/waiting; echo {NVME} deadline=300 >/sys/kernel/devlend/lender/reclaim' >/dev/null 2>&1 &"
    ))?;
    pair.lending()
        .wait_state(NVME, "wanted", Duration::from_secs(10))
}

fn wait_ended(pair: &Pair<'_>) -> Result<()> {
    until(
        "the waiting command to end",
        Duration::from_secs(60),
        || {
            let there = pair.lender.sh("[ -d /proc/$(cat /tmp/waiting) ]")?.ok();
            Ok(if there {
                Seen::NotYet("it is there".into())
            } else {
                Seen::Yes(())
            })
        },
    )
}

fn interrupted_and_at_once(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    while_it_stands_still(pair, || {
        start_waiting(pair)?;
        let answer = pair.lending().try_reclaim(NVME)?;
        refused(answer, &[Errno::EBUSY], "a second reclaim")?;
        pair.lender.sh_ok("kill $(cat /tmp/waiting)")?;
        wait_ended(pair)?;
        pair.lending()
            .wait_state(NVME, "lent", Duration::from_secs(10))?;
        // Another one may take it by force while the first waits.
        start_waiting(pair)?;
        pair.lending().reclaim(&format!("{NVME} force"))?;
        wait_ended(pair)
    })?;
    check_back(pair, &borrowed)
}

/// Who waits for a borrower must not keep the module from going.
fn the_module_goes_meanwhile(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    while_it_stands_still(pair, || {
        start_waiting(pair)?;
        pair.lender
            .sh_within(Duration::from_secs(100), "rmmod devlend_lender")
            .map(drop)?;
        wait_ended(pair)
    })?;
    ensure!(
        pair.lender
            .sh("! grep -q devlend_lender /proc/modules")?
            .ok(),
        "the module is still there"
    );
    pair.lender.load(devlend_bed::devlend::Role::Lender)?;
    check_back(pair, &borrowed)
}
