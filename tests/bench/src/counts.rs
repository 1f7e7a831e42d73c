// SPDX-License-Identifier: GPL-2.0

//! What moves for a block on a borrowed disk: nothing of devlend's, and of the device's as much as on its own bus.

use anyhow::Result;
use devlend_bed::{Host, Snapshot};

use crate::case::{Case, Measure, Part};
use crate::fio::{self, Job, Until};
use crate::hosts::{Borrowed, Hosts, NVME};
use crate::speed::LOCAL;

/// Blocks of a job.
const BLOCKS: u32 = 1000;

const JOBS: [Job; 4] = [
    job("random read, depth 1", "randread", 1),
    job("random read, depth 32", "randread", 32),
    job("random write, depth 1", "randwrite", 1),
    job("random write, depth 32", "randwrite", 32),
];

/// What the borrower's QEMU says of its own NVMe.
const SUBMITTED: &str = "pci_nvme_mmio_doorbell_sq";
const COMPLETED: &str = "pci_nvme_mmio_doorbell_cq";
const INTERRUPTED: &str = "pci_nvme_irq_msix";
const EVENTS: [&str; 3] = [SUBMITTED, COMPLETED, INTERRUPTED];

const fn job(name: &'static str, kind: &'static str, depth: u32) -> Job {
    Job {
        name,
        kind,
        block: 4096,
        depth,
    }
}

/// What one job moved, a block; the first two altogether.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Messages between the two hosts' modules.
    control_messages: f64,
    /// Bytes that were copied on their way in the borrower, most at a time.
    copied: f64,
    register_writes: f64,
    register_reads: f64,
    messages: f64,
    interrupts: f64,
    local_register_writes: f64,
    local_messages: f64,
    local_interrupts: f64,
}

/// Counts, as often as asked.
pub fn measure(hosts: &Hosts<'_>, borrowed: &Borrowed, rounds: u32) -> Result<Vec<Case>> {
    for event in EVENTS {
        hosts.borrower().trace_qemu(event, true)?;
    }
    let mut cases = Vec::new();
    for job in &JOBS {
        let counts: Vec<Count> = (0..rounds)
            .map(|_| one(hosts, borrowed, job))
            .collect::<Result<_>>()?;
        cases.extend(of(job.name, &counts));
    }
    for event in EVENTS {
        hosts.borrower().trace_qemu(event, false)?;
    }
    // By measure, and the jobs in it: as they are read.
    cases.sort_by_key(|case| MEASURES.iter().position(|measure| *measure == case.measure));
    Ok(cases)
}

const CONTROL: Measure = Measure::less("messages between the hosts' modules", "messages");
const COPIED: Measure = Measure::less("copied on the way, most at a time", "bytes");
const READS: Measure = Measure::less("register reads through the bridge", "reads a block");
const WRITES: Measure = Measure::less("doorbells through the bridge", "writes a block");
const MESSAGES: Measure = Measure::less("MSI-X messages through the bridge", "messages a block");
const INTERRUPTS: Measure = Measure::less("interrupts taken", "interrupts a block");
const MEASURES: [Measure; 6] = [CONTROL, COPIED, READS, WRITES, MESSAGES, INTERRUPTS];

fn of(job: &str, counts: &[Count]) -> Vec<Case> {
    let all = |of: fn(&Count) -> f64| counts.iter().map(of).collect::<Vec<_>>();
    let zero = |measure, figures: Vec<f64>| {
        Case::new(Part::Counts, job, measure, &figures).must_be(0.0, &figures)
    };
    let beside = |measure, ours: Vec<f64>, theirs: Vec<f64>| {
        Case::new(Part::Counts, job, measure, &ours).against(LOCAL, &ours, &theirs)
    };
    vec![
        zero(CONTROL, all(|count| count.control_messages)),
        zero(COPIED, all(|count| count.copied)),
        zero(READS, all(|count| count.register_reads)),
        beside(
            WRITES,
            all(|count| count.register_writes),
            all(|count| count.local_register_writes),
        ),
        beside(
            MESSAGES,
            all(|count| count.messages),
            all(|count| count.local_messages),
        ),
        beside(
            INTERRUPTS,
            all(|count| count.interrupts),
            all(|count| count.local_interrupts),
        ),
    ]
}

fn one(hosts: &Hosts<'_>, borrowed: &Borrowed, job: &Job) -> Result<Count> {
    let host = hosts.borrower();
    let links = [&hosts.at_lender, &hosts.at_borrower];
    let device = &borrowed.address;
    let fio = |disk: &str| {
        let measured = fio::run(host, &[disk], job, Until::Blocks(BLOCKS))?;
        anyhow::Ok(measured.iter().map(|one| one.blocks).sum::<u64>())
    };
    let before = Snapshot::take(hosts.bed, host, device, links)?;
    let blocks = fio(&borrowed.disk)?;
    let moved = before.since(hosts.bed, host, device, links)?;

    let local_before = local(host)?;
    let local_blocks = fio(&hosts.local)?;
    let local_after = local(host)?;
    let local = |index: usize| {
        let grown = local_after[index].saturating_sub(local_before[index]);
        grown as f64 / local_blocks as f64
    };

    // A host's link says what its peer's windows show of it.
    let registers = |what| {
        let index = hosts.at_lender.number("mmio_window")?;
        anyhow::Ok(moved.emulated(&format!("ntb0.{}.windows.{index}.{what}", host.name())))
    };
    let messages = {
        let index = hosts.at_borrower.number("msi_window")?;
        let lender = hosts.lender().name();
        moved.emulated(&format!("ntb0.{lender}.windows.{index}.writes"))
    };
    let a_block = |count: u64| count as f64 / blocks as f64;
    Ok(Count {
        control_messages: moved.control_messages as f64,
        copied: moved.bounced_bytes.unwrap_or(0) as f64,
        register_writes: a_block(registers("writes")?),
        register_reads: a_block(registers("reads")?),
        messages: a_block(messages),
        interrupts: a_block(moved.all_interrupts()),
        local_register_writes: local(0),
        local_messages: local(1),
        local_interrupts: local(2),
    })
}

/// The borrower's own disk so far: doorbells, messages, interrupts.
fn local(host: &Host) -> Result<[u64; 3]> {
    let traced = |event| anyhow::Ok(host.traced(event)? as u64);
    Ok([
        traced(SUBMITTED)? + traced(COMPLETED)?,
        traced(INTERRUPTED)?,
        host.interrupts(NVME)?.values().sum(),
    ])
}
