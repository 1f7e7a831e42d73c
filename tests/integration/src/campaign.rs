// SPDX-License-Identifier: GPL-2.0

//! The campaign: fault after fault while a borrowed disk is in use, and after each the question whether all is well.
//!
//! The hosts keep the disk borrowed from fault to fault. Under each, fio reads and writes it with verification, and
//! `blocks` writes what the disk [has to hold](ledger) afterwards. A campaign goes on after a failure, with fresh hosts.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
use devlend_bed::devlend::{Link, Role};
use devlend_bed::{is_ending, until, Bed, Host, Options, Seen};

use crate::job::{fio_command, has_wrong_data, Job};
use crate::pair::{self, Borrowed, Pair, NVME};
use crate::runner::Hosts;

pub mod data;
pub mod ledger;
pub mod plan;
pub mod report;
mod snapshot;
mod strike;

use data::Disk;
use plan::{Fault, Kind, Side, Until};
use report::{Data, Outcome, Report};
use snapshot::Snapshot;

/// Writes that show that the device can be used again.
const WRITES: u32 = 32;
/// How long anything may take that has to happen by itself. Far more than it takes, on any machine.
const LIMIT: Duration = Duration::from_secs(90);
/// Seconds that NVMe's driver waits for a device that it probes, even if it has lost it meanwhile. Its own 60 are as long as
/// a task may hang before the kernel reports it.
const PATIENCE: u32 = 20;
/// fio's part of the load; it works on other blocks than `blocks`. Several threads that wait for each transfer: with
/// `libaio`, fio takes a read that the kernel ends without data, as it does when a disk goes, for one of wrong data.
const FIO: &str = "--thread --numjobs=4 --size=4M --offset_increment=4M --time_based --runtime=3600 --verify_backlog=64 \
                   --verify_fatal=1 --verify_state_save=0 --group_reporting --exec_prerun='touch /tmp/fio.begun'";

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
    /// Runs it, and prints a line for each fault and the reason of each failure. A signal ends it early.
    #[must_use]
    pub fn run(&self) -> Report {
        let mut report = Report::default();
        let mut faults = self.plan().peekable();
        let mut field: Option<Field> = None;
        while let Some(fault) = faults.next() {
            let begin = Instant::now();
            let result = self.one(&mut field, &fault, faults.peek());
            if is_ending() {
                break;
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
        report
    }

    /// Its faults, in order.
    pub fn plan(&self) -> impl Iterator<Item = Fault> {
        plan::faults(self.seed, self.kinds)
            .take(self.faults as usize)
            .skip(self.from.saturating_sub(1) as usize)
    }

    /// One fault, on the hosts of the one before or on fresh ones.
    fn one(
        &self,
        field: &mut Option<Field>,
        fault: &Fault,
        next: Option<&Fault>,
    ) -> Result<Outcome> {
        let field = match field {
            Some(field) => field,
            None => field.insert(Field::new(self.seed)?),
        };
        let outcome = field.suffer(fault, next.is_some_and(|next| next.auto))?;
        if next.is_none() {
            field.end()?;
        }
        Ok(outcome)
    }
}

fn add(report: &mut Report, field: Option<Field>) {
    if let Some(field) = field {
        let data = field.known.data();
        report.data.acknowledged += data.acknowledged;
        report.data.compared += data.compared;
        report.data.wrong += data.wrong;
        let console = field.hosts.bed.host("borrower").and_then(Host::console);
        report
            .ends
            .extend(report::ends(&console.unwrap_or_default()));
        report.longest_access = report.longest_access.max(field.known.longest_access);
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

/// The hosts of a whole campaign.
struct Field {
    hosts: Hosts,
    known: Known,
}

/// What is known of hosts in which one fault comes after the other.
pub struct Known {
    disk: Disk,
    /// The lender and the borrower before the first fault.
    before: Option<[Snapshot; 2]>,
    /// What the fault before has left, which must be all well.
    left: Option<Left>,
    /// The longest time that a configuration access of the borrower's has held interrupts off, us. It begins anew when devlend_ntb is
    /// loaded or bound.
    longest_access: u64,
}

/// The borrowed device, after a fault.
struct Left {
    address: String,
    disk: String,
    auto: bool,
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
        let known = Known::of(&hosts.bed, seed);
        Ok(Self { hosts, known })
    }

    /// One fault, from the load before it to the proof that the device is as good as before.
    fn suffer(&mut self, fault: &Fault, auto_next: bool) -> Result<Outcome> {
        let result = self.known.suffer(&self.hosts.bed, fault, auto_next);
        self.hosts
            .judge(&format!("campaign-{}", fault.number), result)
    }

    fn end(&mut self) -> Result<()> {
        let result = self.known.end(&self.hosts.bed);
        self.hosts.judge("campaign-end", result)
    }
}

impl Known {
    /// Nothing is known yet; `seed` tells the data that is written from others'.
    #[must_use]
    pub fn of(bed: &Bed, seed: u64) -> Self {
        Self {
            disk: Disk::new(bed, seed),
            before: None,
            left: None,
            longest_access: 0,
        }
    }

    /// What was seen of the data.
    #[must_use]
    pub fn data(&self) -> Data {
        self.disk.data
    }

    /// Gives the device back and unloads everything.
    ///
    /// # Errors
    ///
    /// Something is not as it has to be.
    pub fn end(&self, bed: &Bed) -> Result<()> {
        let end = || {
            let pair = Pair::of_lending(bed)?;
            pair.borrowed_now()?.end()?;
            pair.check_tidy()?;
            pair.borrower.unload()?;
            pair.lender.unload()
        };
        end().context("ending the campaign")
    }

    /// One fault, from the load before it to the proof that the device is as good as before.
    ///
    /// # Errors
    ///
    /// Something is not as it has to be.
    pub fn suffer(&mut self, bed: &Bed, fault: &Fault, auto_next: bool) -> Result<Outcome> {
        let disk = &mut self.disk;
        let left = self.left.take().filter(|left| left.auto == fault.auto);
        let pair = match left {
            Some(_) => Pair::up(bed)?,
            None => settled(bed)?,
        };
        let borrowed = match left {
            Some(left) => pair.borrowed_as(left.address, left.disk),
            None => have(&pair, fault.auto)?,
        };
        if self.before.is_none() {
            self.before = Some(Snapshot::of_both(&pair)?);
        }
        let leases_ended = pair.at_borrower.number("leases_ended")?;

        let (fio, writer) = start_load(&pair, disk, &borrowed.disk)?;
        sleep(fault.delay);
        strike::strike(&pair, fault, &borrowed.address)?;
        let dies = matches!(
            fault.kind,
            Kind::Kill(Side::Borrower) | Kind::Reboot(Side::Borrower)
        );
        let stands_still = fault.kind == Kind::Pause(Side::Borrower);
        let noticed = match fault.until {
            Until::IoHasEnded if fault.kind.lasts() && !dies && !stands_still => {
                fio.end(LIMIT).and_then(|_| writer.end(LIMIT)).map(drop)
            }
            Until::IoHasEnded => Ok(()),
            Until::After(time) => {
                if fault.kind.lasts() {
                    sleep(time);
                }
                Ok(())
            }
        };
        // Whatever comes of it: a host must not stay paused.
        pair::finally(noticed, || strike::undo(&pair, fault)).context("while the fault lasted")?;
        let load = if dies {
            Load::Lost
        } else {
            end_of_load(&pair, disk, &fio, &writer)?
        };

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
            wait_lease_over(&pair, leases_ended)?;
        }
        lend_if_it_is_not(&pair)?;
        let (borrowed, auto) = match outcome {
            Outcome::BorrowedAgain => (borrow(&pair, auto_next)?, auto_next),
            _ => (pair.borrowed_now()?, fault.auto),
        };
        disk.check_image()?;
        disk.use_and_check(pair.borrower, &borrowed.disk, WRITES)?;
        let longest_access = pair.at_borrower.number("config_access_longest_us")?;
        self.longest_access = self.longest_access.max(longest_access);
        if let Some(before) = &self.before {
            Snapshot::check_both(before, &pair)?;
        }
        self.left = Some(Left {
            address: borrowed.address,
            disk: borrowed.disk,
            auto,
        });
        Ok(outcome)
    }
}

/// Runs what concerns the lender and what concerns the borrower at once.
fn both<T: Send>(
    lender: impl FnOnce() -> Result<T> + Send,
    borrower: impl FnOnce() -> Result<T> + Send,
) -> Result<[T; 2]> {
    thread::scope(|scope| {
        let lender = scope.spawn(lender);
        let at_borrower = borrower();
        let at_lender = lender.join().map_err(|_| anyhow!("a thread has died"))?;
        Ok([at_lender?, at_borrower?])
    })
}

/// The hosts with everything loaded and the link up, whatever was lent or is.
fn settled(bed: &Bed) -> Result<Pair<'_>> {
    let end = |name: &str, role: Role| {
        let host = bed.host(name)?;
        host.modprobe("nvme")?;
        host.sh_ok(&format!(
            "echo {PATIENCE} >/sys/module/nvme_core/parameters/admin_timeout"
        ))?;
        host.load(role)?;
        Link::of(host)?.wait_state("up", LIMIT)
    };
    both(
        || end("lender", Role::Lender),
        || end("borrower", Role::Borrower),
    )
    .context("bringing everything up")?;
    Pair::up(bed)
}

/// Starts fio and the writer; both have begun when this returns.
fn start_load<'a>(pair: &Pair<'a>, data: &mut Disk, disk: &str) -> Result<(Job<'a>, Job<'a>)> {
    pair.borrower.sh_ok("rm -f /tmp/fio.begun")?;
    let fio = Job::start(pair.borrower, "fio", &fio_command(disk, FIO))?;
    // Before the writer, which would leave it little of the processor for its start.
    until("fio to begin", LIMIT, || {
        let begun = pair.borrower.try_read("/tmp/fio.begun")?.is_ok();
        Ok(if begun {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("its status is {:?}", fio.status()?))
        })
    })?;
    let writer = data.start(pair.borrower, disk)?;
    Ok((fio, writer))
}

fn wait_lease_over(pair: &Pair<'_>, leases_ended: u64) -> Result<()> {
    until("the borrower's lease to be over", LIMIT, || {
        let ended = pair.at_borrower.number("leases_ended")?;
        Ok(if ended > leases_ended {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{ended} are over, as before"))
        })
    })
}

fn lend_if_it_is_not(pair: &Pair<'_>) -> Result<()> {
    if !pair.lending().offers()?.iter().any(|offer| offer == NVME) {
        pair.lender_disk()?;
        pair.lend()?;
    }
    Ok(())
}

/// The device in the borrower, wherever it is now, borrowed with `auto` or without.
fn have<'a>(pair: &'a Pair<'a>, auto: bool) -> Result<Borrowed<'a>> {
    lend_if_it_is_not(pair)?;
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
        pair.borrower
            .sh_ok("pkill -INT fio; pkill -TERM blocks; true")?;
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
