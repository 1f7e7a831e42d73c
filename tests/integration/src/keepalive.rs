// SPDX-License-Identifier: GPL-2.0

//! A peer that stops while the link stays up.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Errno, Seen};

use crate::cases;
use crate::pair::{finally, refused, Borrowed, Pair, NVME};
use crate::runner::Case;
use crate::unplug::{borrow_again, check_gone, keep_reading};

pub const CASES: &[Case] = cases![
    Pair(is_counted_and_can_be_set),
    Pair(the_lender_stops_under_io),
    Pair(the_borrower_stops_under_io),
    Pair(turned_off),
    Pair(a_lost_device_that_the_lender_does_not_take_back),
    Pair(a_device_that_is_lost_while_it_is_returned),
];

/// Runs a test, and sets everything as it was.
fn restoring(pair: &Pair<'_>, test: impl FnOnce() -> Result<()>) -> Result<()> {
    finally(test(), || {
        set(pair, "keepalive_interval", "1000")?;
        set(pair, "keepalive_timeout", "10000")
    })
}

/// Sets both ends.
fn set(pair: &Pair<'_>, file: &str, value: &str) -> Result<()> {
    for link in pair.ends() {
        link.host().write(&link.path(file), value)?;
    }
    Ok(())
}

fn is_counted_and_can_be_set(pair: &Pair<'_>) -> Result<()> {
    for link in pair.ends() {
        let (interval, timeout) = (
            link.number("keepalive_interval")?,
            link.number("keepalive_timeout")?,
        );
        ensure!(
            (interval, timeout) == (1000, 10_000),
            "the defaults are {interval} and {timeout}"
        );
        for (file, value, errno) in [
            ("keepalive_interval", "9", Errno::ERANGE),
            ("keepalive_interval", "60001", Errno::ERANGE),
            ("keepalive_interval", "often", Errno::EINVAL),
            ("keepalive_timeout", "499", Errno::ERANGE),
            ("keepalive_timeout", "600001", Errno::ERANGE),
            ("keepalive_timeout", "-1", Errno::EINVAL),
        ] {
            let answer = link.host().try_write(&link.path(file), value)?;
            refused(answer, &[errno], &format!("{file} = {value}"))?;
        }
        let before = link.number("keepalives_sent")?;
        let messages = link.messages()?;
        until("more beats", Duration::from_secs(30), || {
            Ok(match link.number("keepalives_sent")? {
                now if now > before => Seen::Yes(()),
                now => Seen::NotYet(format!("{now}")),
            })
        })?;
        ensure!(link.messages()? == messages, "a beat was a message");
        // It can be written as it is read.
        link.host().sh_ok(&format!(
            "cd $(dirname {}) && for file in keepalive_interval keepalive_timeout; do cat $file >$file || exit 1; done",
            link.path("state")
        ))?;
    }
    Ok(())
}

fn the_lender_stops_under_io(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        set(pair, "keepalive_timeout", "2000")?;
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        keep_reading(pair.borrower, &borrowed)?;

        pair.lender.pause()?;
        let noticed = pair
            .at_borrower
            .wait_state("waiting", Duration::from_secs(60))
            .and_then(|()| borrowed.wait_gone(Duration::from_secs(60)))
            .and_then(|()| check_gone(pair, &borrowed.address));
        pair.lender.resume()?;
        noticed?;
        let missed = pair.at_borrower.number("keepalives_missed")?;
        ensure!(missed > 0, "no beat was missed");
        borrow_again(pair)
    })
}

fn the_borrower_stops_under_io(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        set(pair, "keepalive_timeout", "2000")?;
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        keep_reading(pair.borrower, &borrowed)?;

        pair.borrower.pause()?;
        let noticed = pair
            .at_lender
            .wait_state("waiting", Duration::from_secs(60))
            .and_then(|()| {
                pair.lending()
                    .wait_state(NVME, "offered", Duration::from_secs(30))
            });
        pair.borrower.resume()?;
        noticed?;
        borrowed.wait_gone(Duration::from_secs(60))?;
        check_gone(pair, &borrowed.address)?;
        borrow_again(pair)
    })
}

/// A host that does not beat says so, and is not given up.
fn turned_off(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        set(pair, "keepalive_timeout", "500")?;
        set(pair, "keepalive_interval", "0")?;
        // Until the other has looked.
        let heard = pair.at_lender.number("keepalives_sent")?;
        pair.borrower.sh_ok("sleep 3")?;
        let still = pair.at_lender.number("keepalives_sent")?;
        ensure!(still <= heard + 1, "{heard} beats, then {still}");

        pair.lender.pause()?;
        let state = pair
            .borrower
            .sh_ok("sleep 4")
            .and_then(|_| pair.at_borrower.value("state"));
        pair.lender.resume()?;
        let state = state?;
        ensure!(state == "up", "the link is {state}");
        // Turned on again it works.
        set(pair, "keepalive_interval", "100")?;
        pair.lender.pause()?;
        let noticed = pair
            .at_borrower
            .wait_state("waiting", Duration::from_secs(60));
        pair.lender.resume()?;
        noticed?;
        for link in pair.ends() {
            link.wait_state("up", Duration::from_secs(30))?;
        }
        Ok(())
    })
}

/// Does something while the lender stands still, until the device is gone and the session over.
fn with_a_silent_lender(
    pair: &Pair<'_>,
    borrowed: &Borrowed<'_>,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    pair.lender.pause()?;
    let noticed = act()
        .and_then(|()| borrowed.wait_gone(Duration::from_secs(60)))
        .and_then(|()| {
            pair.at_borrower
                .wait_state("waiting", Duration::from_secs(30))
                .map(drop)
        });
    pair.lender.resume()?;
    noticed
}

/// It is returned in good order, and in the middle of that its lender does not answer any more: the driver goes on, and frees the
/// memory that the device may be writing to.
fn a_device_that_is_lost_while_it_is_returned(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        // It is not the keep-alive that is tested.
        set(pair, "keepalive_interval", "0")?;
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;

        let body = with_a_silent_lender(pair, &borrowed, || {
            // Whether the return says that all went well is not what is tested.
            let back = pair.at_borrower.path("return");
            pair.borrower
                .sh(&format!("timeout 60 sh -c 'echo {NVME} >{back}'"))
                .map(drop)
        });
        let body = body.and_then(|()| {
            let log = pair.borrower.dmesg()?;
            let position = |text: &str| log.lines().position(|line| line.contains(text));
            let ends =
                position("the device was lost while its driver let go of it: ending the session");
            let ended = log
                .lines()
                .rev()
                .position(|line| line.contains(&format!("lease of {NVME}")));
            let ended = ended.map(|from_the_end| log.lines().count() - 1 - from_the_end);
            ensure!(
                ends.is_some() && ends < ended,
                "the session was ended in line {ends:?}, the lease in {ended:?}: {log}"
            );
            Ok(())
        });
        finally(body, || borrow_again(pair))
    })
}

/// Nobody stops the device's DMA, so the windows have to be shut before its driver frees the memory.
fn a_lost_device_that_the_lender_does_not_take_back(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        // It is not the keep-alive that is tested.
        set(pair, "keepalive_interval", "0")?;
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        keep_reading(pair.borrower, &borrowed)?;

        let body = with_a_silent_lender(pair, &borrowed, || {
            pair.borrower
                .sh_ok(&format!("setpci -s {} COMMAND=0006", borrowed.address))
                .map(drop)
        });
        let body = body.and_then(|()| {
            let log = pair.borrower.dmesg()?;
            ensure!(
                log.contains("the lender does not take a lost device back: ending the session"),
                "{log}"
            );
            Ok(())
        });
        finally(body, || borrow_again(pair))
    })
}
