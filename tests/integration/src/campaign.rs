// SPDX-License-Identifier: GPL-2.0

//! The campaign: fault after fault while a borrowed disk is in use, and after each the question whether all is well.
//!
//! The hosts keep the disk borrowed from fault to fault. Under each, fio reads and writes it with verification, and
//! `blocks` writes what the disk [has to hold](ledger) afterwards. A campaign goes on after a failure, with fresh hosts.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use devlend_bed::{until, Bed, Options, Seen};

use crate::job::{has_wrong_data, Job};
use crate::pair::{self, Borrowed, Pair, NVME};
use crate::runner::Hosts;

pub mod data;
pub mod ledger;
pub mod plan;
pub mod report;
mod snapshot;
mod strike;

use data::Disk;
use plan::{Fault, Kind, Until};
use report::{Outcome, Report};
use snapshot::Snapshot;

/// Writes that show that the device can be used again.
const WRITES: u32 = 32;
/// How long anything may take that has to happen by itself. Far more than it takes, on any machine.
const LIMIT: Duration = Duration::from_secs(90);
/// fio's part of the load; it works on other blocks than `blocks`.
const FIO: &str = "--ioengine=libaio --iodepth=8 --time_based --runtime=3600 --verify_backlog=64 --verify_fatal=1 \
                   --verify_state_save=0";

/// A campaign to be run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// What all of it follows from.
    pub seed: u64,
    /// How many faults.
    pub faults: u32,
    /// The first one to be made happen, from 1; those before it are left out.
    pub from: u32,
    /// Which kinds of faults.
    pub kinds: &'static [Kind],
}

impl Campaign {
    /// Runs it, and prints a line for each fault and the reason of each failure.
    ///
    /// # Errors
    ///
    /// Hosts do not start.
    pub fn run(&self) -> Result<Report> {
        let mut report = Report::default();
        let mut faults = plan::faults(self.seed, self.kinds)
            .take(self.faults as usize)
            .skip(self.from.saturating_sub(1) as usize)
            .peekable();
        let mut field: Option<Field> = None;
        while let Some(fault) = faults.next() {
            let auto_next = faults.peek().is_some_and(|next| next.auto);
            let begin = Instant::now();
            let mut result = match field.as_mut() {
                Some(field) => field.suffer(&fault, auto_next),
                None => {
                    let new = field.insert(Field::new(self.seed)?);
                    new.suffer(&fault, auto_next)
                }
            };
            if faults.peek().is_none() && result.is_ok() {
                if let Some(field) = &mut field {
                    result = result.and_then(|outcome| field.end().map(|()| outcome));
                }
            }
            let took = begin.elapsed();
            let outcome = *result.as_ref().unwrap_or(&Outcome::Failed);
            println!(
                "[{:>3}/{}] {:<70} {outcome:<14} {:>5.1} s",
                fault.number,
                self.faults,
                fault.to_string(),
                took.as_secs_f64()
            );
            report.faults.push((fault.kind, outcome, took));
            if let Err(error) = result {
                println!("{error:#}");
                add(&mut report, field.take());
            }
        }
        add(&mut report, field);
        Ok(report)
    }
}

fn add(report: &mut Report, field: Option<Field>) {
    if let Some(field) = field {
        report.data.acknowledged += field.disk.data.acknowledged;
        report.data.compared += field.disk.data.compared;
        report.data.wrong += field.disk.data.wrong;
    }
}

/// The hosts of a campaign.
///
/// # Errors
///
/// `DEVLEND_NTB` names no hardware.
pub fn options() -> Result<Options> {
    let mut options = pair::options()?;
    options.host_mut("borrower")?.args = data::borrower_args();
    Ok(options)
}

/// The hosts, and what is known of them.
struct Field {
    hosts: Hosts,
    disk: Disk,
    /// The lender and the borrower before the first fault.
    before: Option<[Snapshot; 2]>,
}

/// What became of the load.
enum Load {
    /// It went on until it was ended.
    WentOn,
    /// It met errors of the disk.
    Ended,
    /// The host that it ran in is not what it was.
    Lost,
}

impl Field {
    fn new(seed: u64) -> Result<Self> {
        let hosts = Hosts::start(options()?, "campaign")?;
        let disk = Disk::new(&hosts.bed, seed);
        Ok(Self {
            hosts,
            disk,
            before: None,
        })
    }

    /// One fault, from the load before it to the proof that the device is as good as before.
    fn suffer(&mut self, fault: &Fault, auto_next: bool) -> Result<Outcome> {
        let Self {
            hosts,
            disk,
            before,
        } = self;
        let result = under_fault(&hosts.bed, disk, before, fault, auto_next);
        let mut outcome = None;
        let name = format!("campaign-{}", fault.number);
        hosts.judge(&name, result.map(|seen| outcome = Some(seen)))?;
        outcome.context("there is no outcome")
    }

    /// Gives the device back and unloads everything.
    fn end(&mut self) -> Result<()> {
        let end = |bed: &Bed| {
            let pair = Pair::of_lending(bed)?;
            pair.borrowed_now()?.end()?;
            pair.check_tidy()?;
            pair.borrower.unload()?;
            pair.lender.unload()
        };
        let result = end(&self.hosts.bed).context("ending the campaign");
        self.hosts.judge("campaign-end", result)
    }
}

fn under_fault(
    bed: &Bed,
    disk: &mut Disk,
    before: &mut Option<[Snapshot; 2]>,
    fault: &Fault,
    auto_next: bool,
) -> Result<Outcome> {
    let pair = settled(bed)?;
    let borrowed = have(&pair, fault.auto)?;
    if before.is_none() {
        *before = Some([Snapshot::of(pair.lender)?, Snapshot::of(pair.borrower)?]);
    }
    let leases_ended = pair.at_borrower.number("leases_ended")?;

    let fio = Job::fio(pair.borrower, &borrowed.disk, FIO)?;
    let writer = disk.start(pair.borrower, &borrowed.disk)?;
    sleep(fault.delay);
    strike::strike(&pair, fault, &borrowed.address)?;
    let borrower_runs = match fault.kind {
        Kind::Kill(side) | Kind::Reboot(side) => side != plan::Side::Borrower,
        _ => true,
    };
    let borrower_stands = fault.kind == Kind::Pause(plan::Side::Borrower);
    let undo = match fault.until {
        Until::After(time) => {
            sleep(time);
            strike::undo(&pair, fault)
        }
        // Whatever comes of it: a host must not stay paused.
        Until::IoHasEnded => {
            let noticed = if fault.kind.lasts() && borrower_runs && !borrower_stands {
                fio.end(LIMIT).and_then(|_| writer.end(LIMIT)).map(drop)
            } else {
                Ok(())
            };
            pair::finally(noticed, || strike::undo(&pair, fault))
        }
    };
    undo.context("while the fault lasted")?;
    let load = if borrower_runs {
        end_of_load(&pair, disk, &fio, &writer)?
    } else {
        Load::Lost
    };

    // All there was is there again.
    let pair = settled(bed)?;
    let lease_is_over = match load {
        Load::WentOn => false,
        Load::Ended | Load::Lost => fault.kind != Kind::UnbindDriver,
    };
    ensure!(
        !(lease_is_over && fault.kind.spares_the_lease()),
        "I/O should have gone on"
    );
    let outcome = match (&load, lease_is_over) {
        (Load::WentOn, _) => Outcome::WentOn,
        (_, false) => Outcome::Ended,
        (_, true) if fault.auto && fault.kind.spares_the_borrower() => Outcome::CameBack,
        (_, true) => Outcome::BorrowedAgain,
    };
    if lease_is_over && fault.kind.spares_the_borrower() {
        let what = "the borrower's lease to be over";
        until(what, LIMIT, || {
            let ended = pair.at_borrower.number("leases_ended")?;
            Ok(if ended > leases_ended {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{ended} are over, as before"))
            })
        })?;
    }
    if !pair.lending().offers()?.iter().any(|offer| offer == NVME) {
        pair.lender_disk()?;
        pair.lend()?;
    }
    let borrowed = match outcome {
        Outcome::BorrowedAgain => borrow(&pair, auto_next)?,
        _ => pair.borrowed_now()?,
    };
    disk.check_image()?;
    disk.use_and_check(pair.borrower, &borrowed.disk, WRITES)?;
    for (before, host) in before.iter().flatten().zip([pair.lender, pair.borrower]) {
        before.check(host)?;
    }
    Ok(outcome)
}

/// The hosts with everything loaded and the link up, whatever was lent or is.
fn settled(bed: &Bed) -> Result<Pair<'_>> {
    bed.host("lender")?.sh_ok("modprobe nvme")?;
    Pair::of_lending(bed).context("bringing everything up")
}

/// The device in the borrower, wherever it is now, borrowed with `auto` or without.
fn have<'a>(pair: &'a Pair<'a>, auto: bool) -> Result<Borrowed<'a>> {
    if !pair.lending().offers()?.iter().any(|offer| offer == NVME) {
        pair.lender_disk()?;
        pair.lend()?;
    }
    let offer = pair.at_borrower.offer(NVME);
    let values = offer.values()?;
    let is = |name: &str, value: &str| values.get(name).is_some_and(|is| is == value);
    if is("state", "borrowed") {
        if is("auto", if auto { "1" } else { "0" }) {
            return pair.borrowed_now();
        }
        offer.give_back()?;
    }
    borrow(pair, auto)
}

fn borrow<'a>(pair: &'a Pair<'a>, auto: bool) -> Result<Borrowed<'a>> {
    let offer = pair.at_borrower.offer(NVME);
    offer.wait_state("available", LIMIT)?;
    let words = if auto {
        format!("{NVME} auto")
    } else {
        NVME.into()
    };
    pair.borrower
        .write(&pair.at_borrower.path("borrow"), &words)?;
    pair.borrowed_now()
}

/// Waits until the load has ended by itself or is seen to go on, and ends it then.
fn end_of_load(pair: &Pair<'_>, disk: &Disk, fio: &Job<'_>, writer: &Job<'_>) -> Result<Load> {
    let goes_on = disk.wait_progress(40, LIMIT, || Ok(writer.status()?.is_none()))?;
    if goes_on {
        pair.borrower.sh_ok("pkill -INT fio; pkill -TERM blocks; true")?;
    }
    let (fio, log) = fio.end(LIMIT)?;
    ensure!(!has_wrong_data(&log), "fio read wrong data:\n{log}");
    let (writer, words) = writer.end(LIMIT)?;
    // What they say when they are ended from outside.
    Ok(match (fio, writer) {
        (128, 143) => Load::WentOn,
        (fio, writer) => {
            ensure!(
                fio != 0 && writer == 1,
                "fio ended with {fio}, the writer with {writer}:\n{log}\n{words}"
            );
            Load::Ended
        }
    })
}
