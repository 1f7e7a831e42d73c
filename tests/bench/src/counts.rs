// SPDX-License-Identifier: GPL-2.0

//! What moves for a block on a borrowed disk: nothing of devlend's, and of the device's as much as on its own bus.

use anyhow::Result;
use devlend_bed::Snapshot;
use serde::Serialize;

use crate::fio::{self, Job, Until};
use crate::hosts::{Borrowed, Hosts, NVME};

/// Blocks of a job.
const BLOCKS: u32 = 2000;

const JOBS: [Job; 4] = [
    job("4 KiB random read, depth 1", "randread", 1),
    job("4 KiB random read, depth 32", "randread", 32),
    job("4 KiB random write, depth 1", "randwrite", 1),
    job("4 KiB random write, depth 32", "randwrite", 32),
];

const fn job(name: &'static str, kind: &'static str, depth: u32) -> Job {
    Job {
        name,
        kind,
        block: 4096,
        depth,
    }
}

/// What one job moved.
#[derive(Debug, Serialize)]
pub struct Count {
    /// The job.
    pub job: &'static str,
    /// Its blocks.
    pub blocks: u64,
    /// Messages between the two hosts' modules, all together. Must be 0.
    pub control_messages: u64,
    /// Bytes that were copied on their way in the borrower, at most at a time. Must be 0.
    pub bounced_bytes: u64,
    /// Writes of the borrower's to the device's registers, a block.
    pub register_writes: f64,
    /// Reads of them, a block.
    pub register_reads: f64,
    /// Writes of the device's to the borrower's interrupt range, a block.
    pub messages: f64,
    /// Interrupts of the borrowed disk, a block.
    pub interrupts: f64,
    /// Interrupts of the local disk with the same job, a block.
    pub local_interrupts: f64,
}

impl Count {
    /// Whether nothing of devlend's was in the way.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.control_messages == 0 && self.bounced_bytes == 0
    }
}

/// Counts for each job.
pub fn measure(hosts: &Hosts<'_>, borrowed: &Borrowed) -> Result<Vec<Count>> {
    JOBS.iter().map(|job| one(hosts, borrowed, job)).collect()
}

fn one(hosts: &Hosts<'_>, borrowed: &Borrowed, job: &Job) -> Result<Count> {
    let host = hosts.borrower();
    let links = [&hosts.at_lender, &hosts.at_borrower];
    let device = &borrowed.address;
    let before = Snapshot::take(hosts.bed, host, device, links)?;
    let done = fio::run(host, &borrowed.disk, job, Until::Blocks(BLOCKS))?;
    let moved = before.since(hosts.bed, host, device, links)?;

    let of_local = || anyhow::Ok(host.interrupts(NVME)?.values().sum::<u64>());
    let local_before = of_local()?;
    let local_done = fio::run(host, &hosts.local, job, Until::Blocks(BLOCKS))?;
    let local = of_local()?.saturating_sub(local_before);

    // A host's link says what its peer's windows show of it.
    let registers = |what| {
        let index = hosts.at_lender.number("mmio_window")?;
        anyhow::Ok(moved.emulated(&format!("ntb0.{}.windows.{index}.{what}", host.name())))
    };
    let messages = {
        let index = hosts.at_borrower.number("msi_window")?;
        let lender = hosts.at_lender.host().name();
        moved.emulated(&format!("ntb0.{lender}.windows.{index}.writes"))
    };
    let a_block = |count: u64| count as f64 / done.blocks as f64;
    Ok(Count {
        job: job.name,
        blocks: done.blocks,
        control_messages: moved.control_messages,
        bounced_bytes: moved.bounced_bytes.unwrap_or(0),
        register_writes: a_block(registers("writes")?),
        register_reads: a_block(registers("reads")?),
        messages: a_block(messages),
        interrupts: a_block(moved.all_interrupts()),
        local_interrupts: local as f64 / local_done.blocks as f64,
    })
}
