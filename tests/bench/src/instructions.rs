// SPDX-License-Identifier: GPL-2.0

//! How many instructions a block costs the borrower, borrowed and local.
//!
//! The borrower's clock counts its instructions (`-icount`), so nothing that the machine does beside changes the result. `spin` takes all
//! time that nobody wants; see there. A job is done with few blocks and with many, and what the start of fio costs falls out of
//! the difference.

use std::time::Duration;

use anyhow::{Context, Result};
use devlend_bed::{until, Seen};

use crate::case::{Case, Measure, Part};
use crate::fio::{self, Job, Until};
use crate::hosts::{Borrowed, Hosts};
use crate::speed::{JOBS, LOCAL};

/// Blocks of the short job and of the long one.
const BLOCKS: [u32; 2] = [100, 1100];

const INSTRUCTIONS: Measure = Measure::less("instructions", "instructions a block");

/// Counted twice for the local disk: what this differs from itself by is not a disk's.
const CONTROL: Job = JOBS[0];

/// The jobs that are counted: reads and writes, one at a time and many.
fn jobs() -> impl Iterator<Item = &'static Job> {
    JOBS.iter()
        .filter(|job| job.block == 4096 && job.depth != 8)
}

/// What ran beside `spin`, by the processor's clock.
#[derive(Clone, Copy, Debug)]
struct Ran {
    instructions: f64,
    turns: f64,
}

/// Counts, as often as asked.
pub fn measure(hosts: &Hosts<'_>, borrowed: &Borrowed, rounds: u32) -> Result<Vec<Case>> {
    hosts.borrower().give_program("spin")?;
    for link in [&hosts.at_lender, &hosts.at_borrower] {
        link.host().write(&link.path("keepalive_interval"), "0")?;
    }
    // The first fio is read from the disk.
    for disk in [&borrowed.disk, &hosts.local] {
        if let Some(job) = jobs().next() {
            a_block(hosts, disk, job, 1.0)?;
        }
    }
    let mut seen = vec![(Vec::new(), Vec::new()); jobs().count()];
    let mut again = Vec::new();
    for _ in 0..rounds {
        let idle = run(hosts, "sleep 1")?;
        let a_turn = idle.instructions / idle.turns;
        for (job, (ours, theirs)) in jobs().zip(&mut seen) {
            ours.push(a_block(hosts, &borrowed.disk, job, a_turn)?);
            theirs.push(a_block(hosts, &hosts.local, job, a_turn)?);
        }
        again.push(a_block(hosts, &hosts.local, &CONTROL, a_turn)?);
    }
    let case = |name: String, ours: &[f64], theirs: &[f64]| {
        Case::new(Part::Instructions, name, INSTRUCTIONS, ours).against(LOCAL, ours, theirs)
    };
    let mut cases: Vec<Case> = jobs()
        .zip(&seen)
        .map(|(job, (ours, theirs))| case(job.name.into(), ours, theirs))
        .collect();
    if let Some((_, local)) = seen.first() {
        let name = format!("local again, not borrowed: {}", CONTROL.name);
        cases.push(case(name, &again, local));
    }
    Ok(cases)
}

/// Instructions of a block.
fn a_block(hosts: &Hosts<'_>, disk: &str, job: &Job, a_turn: f64) -> Result<f64> {
    let [few, many] = BLOCKS;
    let work = |blocks| {
        let ran = run(hosts, &fio::command(&[disk], job, Until::Blocks(blocks)))?;
        anyhow::Ok(ran.instructions - ran.turns * a_turn)
    };
    let short = work(few)?;
    Ok((work(many)? - short) / f64::from(many - few))
}

/// Runs a command beside `spin`. Nobody asks the host anything meanwhile: to answer would be work, too.
fn run(hosts: &Hosts<'_>, command: &str) -> Result<Ran> {
    let host = hosts.borrower();
    let mark = format!("bench: {} is done", host.console()?.len());
    // The command is not to be idle, too. The first second is for who gave it to be gone.
    host.sh_ok(&format!(
        "(sleep 1; chrt --idle 0 /tmp/spin chrt --other 0 sh -c '{command} >/dev/null' &>/tmp/spin.out; \
         echo {mark} >/dev/kmsg) </dev/null &>/dev/null &"
    ))?;
    until("spin to be done", Duration::from_secs(300), || {
        let console = host.console()?;
        Ok(if console.contains(&mark) {
            Seen::Yes(())
        } else {
            Seen::NotYet("it is not".into())
        })
    })?;
    let text = host.read("/tmp/spin.out")?;
    let numbers = text.split_once(' ');
    let parsed = numbers.and_then(|(instructions, turns)| {
        Some(Ran {
            instructions: instructions.parse().ok()?,
            turns: turns.parse().ok()?,
        })
    });
    parsed.with_context(|| format!("spin printed '{text}'"))
}
