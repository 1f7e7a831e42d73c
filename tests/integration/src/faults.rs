// SPDX-License-Identifier: GPL-2.0

//! A bridge that breaks, while a device is borrowed over it.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Bed, Family, Fault, Host, Options, Seen};

use crate::cases;
use crate::job::Job;
use crate::pair::{self, finally, Pair, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(the_cable_is_pulled),
    Pair(the_cable_flaps),
    Pair(doorbells_get_lost),
    Pair(a_long_wire),
    Pair(a_window_that_has_gone),
    Pair(the_lender_freezes),
    Pair(a_lender_that_freezes_does_not_answer),
    Own(no_direct_window, all_data_on_a_long_wire),
    Own(without_local_reads, the_lender_freezes_for_too_long),
];

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// The usual hosts, with a bridge that sees all accesses.
fn no_direct_window() -> Result<Options> {
    Ok(seeing_all(pair::options()?))
}

/// The same with an NTB whose driver reads no register at the end of a session: in a frozen host such a read stops the
/// processor, and with it everything that could be asked.
fn without_local_reads() -> Result<Options> {
    Ok(seeing_all(pair::options_with(Family::Amd)?))
}

fn seeing_all(mut options: Options) -> Options {
    for window in options.links.iter_mut().flat_map(|link| &mut link.windows) {
        window.direct = false;
    }
    options
}

/// Runs a test's body, and ends all faults whatever came of it.
pub fn with_faults(bed: &Bed, body: impl FnOnce() -> Result<()>) -> Result<()> {
    finally(body(), || bed.emulator().inject(Fault::Clear).map(drop))
}

fn wait_both(pair: &Pair<'_>, state: &str) -> Result<()> {
    for link in [&pair.at_lender, &pair.at_borrower] {
        link.wait_state(state, Duration::from_secs(30))?;
    }
    Ok(())
}

/// Borrows the device, which is lent already or again, and sees that it works; returns it and takes it back.
fn use_again(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow_lent()?;
    borrowed.check_disk()?;
    borrowed.end()
}

fn the_cable_is_pulled(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    with_faults(pair.bed, || {
        let job = Job::fio(pair.borrower, &borrowed.disk, "--time_based --runtime=600")?;
        pair.bed.emulator().inject(Fault::Down)?;
        wait_both(pair, "down")?;
        borrowed.wait_gone(Duration::from_secs(60))?;
        job.end_badly(Duration::from_secs(60))?;
        // The lender has its device, with the cable still out.
        pair.lending()
            .wait_state(NVME, "offered", Duration::from_secs(30))?;
        pair.end()?;
        pair.bed.emulator().inject(Fault::Up)?;
        wait_both(pair, "up")
    })?;
    pair.lend()?;
    use_again(pair)
}

fn the_cable_flaps(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    with_faults(pair.bed, || {
        for period in [3000 * MS, 300 * MS, 30 * MS] {
            pair.bed
                .emulator()
                .inject(Fault::Flap { times: 5, period })?;
            until("the cable to come to rest", 30 * SECOND, || {
                let faults = &pair.bed.emulator().state()?["ntb0"]["faults"];
                Ok(match &faults["flap"] {
                    flap if flap.is_null() => Seen::Yes(()),
                    flap => Seen::NotYet(flap.to_string()),
                })
            })?;
        }
        wait_both(pair, "up")
    })?;
    borrowed.wait_gone(Duration::from_secs(60))?;
    pair.lending()
        .wait_state(NVME, "offered", Duration::from_secs(30))?;
    use_again(pair)
}

/// A request is answered although its doorbell has not been heard.
fn doorbells_get_lost(pair: &Pair<'_>) -> Result<()> {
    pair.lend()?;
    with_faults(pair.bed, || {
        let before = pair
            .bed
            .emulator()
            .counter("ntb0.borrower.doorbells_dropped")?;
        let lose = || {
            pair.bed.emulator().inject(Fault::DropDoorbells {
                host: Some("borrower".into()),
                next: Some(1),
                probability: None,
                seed: 0,
            })
        };
        pair.at_borrower
            .offer(NVME)
            .wait_state("available", 10 * SECOND)?;
        lose()?;
        let borrowed = pair.borrow_lent()?;
        borrowed.check_disk()?;
        // A configuration access, too, which waits for its answer with interrupts off.
        lose()?;
        pair.borrower
            .sh_ok(&format!("lspci -xxxx -s {}", borrowed.address))?;
        borrowed.check_disk()?;
        lose()?;
        pair.at_borrower.offer(NVME).give_back()?;
        let lost = pair
            .bed
            .emulator()
            .counter("ntb0.borrower.doorbells_dropped")?
            - before;
        ensure!(lost == 3, "{lost} doorbells were lost, not 3");
        Ok(())
    })?;
    pair.end()
}

fn latency(bed: &Bed, by: Duration) -> Result<()> {
    bed.emulator()
        .inject(Fault::Delay { host: None, by })
        .map(drop)
}

/// The window through which the bed's hosts reach a device's registers; the one for memory comes after it.
fn registers_window() -> Result<usize> {
    Ok(match pair::family()? {
        Family::Amd => 1,
        Family::Intel | Family::Switchtec => 0,
    })
}

/// How many of a host's accesses through a window were delayed.
fn delayed(pair: &Pair<'_>, host: &str, window: usize) -> Result<u64> {
    let counter = format!("ntb0.{host}.windows.{window}.delayed");
    pair.bed.emulator().counter(&counter)
}

/// Registers, interrupts and control messages are late; data is not, for it takes the direct window.
fn a_long_wire(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let body = with_faults(pair.bed, || {
        latency(pair.bed, MS)?;
        Job::fio(
            pair.borrower,
            &borrowed.disk,
            "--size=4M --verify_state_save=0",
        )?
        .end_well(60 * SECOND)?;
        borrowed.check_disk()?;
        let delayed = delayed(pair, "borrower", registers_window()?)?;
        ensure!(delayed > 1000, "only {delayed} accesses were delayed");
        Ok(())
    });
    finally(body, || borrowed.end())
}

/// Data, queues, registers, interrupts: everything is late.
fn all_data_on_a_long_wire(pair: &Pair<'_>) -> Result<()> {
    with_faults(pair.bed, || {
        latency(pair.bed, MS)?;
        let borrowed = pair.borrow()?;
        Job::fio(
            pair.borrower,
            &borrowed.disk,
            "--size=64k --io_size=64k --verify_state_save=0",
        )?
        .end_well(300 * SECOND)?;
        let delayed = delayed(pair, "lender", registers_window()? + 1)?;
        ensure!(delayed > 4096, "only {delayed} accesses were delayed");
        borrowed.end()
    })
}

/// What NVMe's driver waits for an answer, in seconds.
fn set_patience(host: &Host, seconds: u32) -> Result<()> {
    host.write(
        "/sys/module/nvme_core/parameters/io_timeout",
        &seconds.to_string(),
    )
}

/// The device's registers have gone, and nobody says so.
fn a_window_that_has_gone(pair: &Pair<'_>) -> Result<()> {
    set_patience(pair.borrower, 3)?;
    let body = (|| {
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        with_faults(pair.bed, || {
            let job = Job::fio(pair.borrower, &borrowed.disk, "--time_based --runtime=600")?;
            pair.bed.emulator().inject(Fault::AllOnes {
                host: Some("borrower".into()),
                window: registers_window()?,
                off: false,
            })?;
            job.end_badly(Duration::from_secs(90))?;
            // It can be given back, which needs no register of the device's.
            pair.at_borrower.offer(NVME).give_back()
        })?;
        use_again(pair)
    })();
    finally(body, || set_patience(pair.borrower, 30))
}

/// For ten seconds nothing comes or goes; that is within what a driver waits.
fn the_lender_freezes(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let body = with_faults(pair.bed, || {
        let job = Job::fio(pair.borrower, &borrowed.disk, "--time_based --runtime=600")?;
        freeze(pair)?;
        until("something to wait", 30 * SECOND, || {
            let state = pair.bed.emulator().state()?;
            let active = &state["ntb0"]["faults"];
            Ok(match active["hosts"]["borrower"]["waiting"].as_u64() {
                Some(1..) => Seen::Yes(()),
                _ => Seen::NotYet(active.to_string()),
            })
        })?;
        std::thread::sleep(10 * SECOND);
        pair.bed.emulator().inject(Fault::Thaw { host: None })?;
        borrowed.check_disk()?;
        job.stop()
    });
    finally(body, || borrowed.end())
}

/// Waits for a state in a host that may have no time to tell: while its only processor waits for a frozen register, nothing runs
/// there.
fn wait_slowly(what: &str, state: &str, look: impl Fn() -> Result<String>) -> Result<()> {
    until(&format!("{what} to be {state}"), 180 * SECOND, || {
        Ok(match look() {
            Ok(seen) if seen == state => Seen::Yes(()),
            Ok(seen) => Seen::NotYet(seen),
            Err(error) => Seen::NotYet(format!("{error:#}")),
        })
    })
}

/// With all accesses frozen, signs of life included, each host ends what it had with the other.
fn the_lender_freezes_for_too_long(pair: &Pair<'_>) -> Result<()> {
    for link in [&pair.at_lender, &pair.at_borrower] {
        link.host().write(&link.path("keepalive_timeout"), "3000")?;
    }
    let borrowed = pair.borrow()?;
    with_faults(pair.bed, || {
        let job = Job::fio(pair.borrower, &borrowed.disk, "--time_based --runtime=600")?;
        freeze(pair)?;
        for link in pair.ends() {
            wait_slowly(
                &format!("the {}'s session", link.host().name()),
                "waiting",
                || link.value("state"),
            )?;
        }
        borrowed.wait_gone(60 * SECOND)?;
        job.end_badly(60 * SECOND)?;
        wait_slowly("the lender's offer", "offered", || {
            pair.lending().value(NVME, "state")
        })
    })?;
    // What was under way arrives now, where nobody has use for it any more.
    wait_both(pair, "up")?;
    use_again(pair)
}

fn freeze(pair: &Pair<'_>) -> Result<()> {
    let fault = Fault::Freeze {
        host: "lender".into(),
    };
    pair.bed.emulator().inject(fault).map(drop)
}

/// Requests time out, and what was asked for in vain can be had later.
fn a_lender_that_freezes_does_not_answer(pair: &Pair<'_>) -> Result<()> {
    pair.lend()?;
    with_faults(pair.bed, || {
        pair.at_borrower
            .offer(NVME)
            .wait_state("available", 10 * SECOND)?;
        freeze(pair)?;
        pair::refused(
            pair.at_borrower.try_borrow(NVME)?,
            &[devlend_bed::Errno::ETIMEDOUT],
            "borrowing from a frozen lender",
        )
    })?;
    // The lender has heard the request in the end, and considers the device lent. Another request replaces that.
    pair.lending().wait_state(NVME, "lent", 30 * SECOND)?;
    let answer = pair.at_borrower.try_borrow(NVME)?;
    ensure!(answer.is_ok(), "the thawed lender refuses: {answer:?}");
    let offer = pair.at_borrower.offer(NVME);
    offer.wait_state("borrowed", 30 * SECOND)?;
    offer.give_back()?;
    pair.end()
}
