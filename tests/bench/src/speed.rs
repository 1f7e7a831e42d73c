// SPDX-License-Identifier: GPL-2.0

//! The borrowed disk against others, by turns.

use anyhow::{Context, Result};

use crate::case::{Case, Measure, Part};
use crate::fio::{self, Job, Measured, Until};
use crate::hosts::{Borrowed, Hosts};

/// The borrower's own disk.
pub const LOCAL: &str = "local";

const RATE: Measure = Measure::more("throughput", "blocks a second");
const MEDIAN: Measure = Measure::less("median latency", "microseconds");
const P99: Measure = Measure::less("99th percentile", "microseconds");

/// What is done in a comparison.
pub const JOBS: [Job; 8] = [
    job("4 KiB random read, depth 1", "randread", 4 << 10, 1),
    job("4 KiB random read, depth 8", "randread", 4 << 10, 8),
    job("4 KiB random read, depth 32", "randread", 4 << 10, 32),
    job("4 KiB random write, depth 1", "randwrite", 4 << 10, 1),
    job("4 KiB random write, depth 8", "randwrite", 4 << 10, 8),
    job("4 KiB random write, depth 32", "randwrite", 4 << 10, 32),
    job("128 KiB sequential read, depth 8", "read", 128 << 10, 8),
    job("128 KiB sequential write, depth 8", "write", 128 << 10, 8),
];

const fn job(name: &'static str, kind: &'static str, block: u32, depth: u32) -> Job {
    Job {
        name,
        kind,
        block,
        depth,
    }
}

/// All rounds so far.
pub struct Comparison {
    jobs: Vec<Job>,
    /// Name and device file of what the borrowed disk is compared with.
    others: Vec<(String, String)>,
    seconds: u32,
    /// For each job, of each round: the borrowed disk's figures and the others'.
    rounds: Vec<Vec<(Measured, Vec<Measured>)>>,
}

impl Comparison {
    /// Before the first round; a job takes so many seconds with each disk.
    #[must_use]
    pub fn new(jobs: &[Job], others: Vec<(String, String)>, seconds: u32) -> Self {
        Self {
            jobs: jobs.to_vec(),
            others,
            seconds,
            rounds: vec![Vec::new(); jobs.len()],
        }
    }

    /// Does each job with each disk. Who comes first changes from round to round.
    pub fn round(&mut self, hosts: &Hosts<'_>, borrowed: &Borrowed) -> Result<()> {
        let mut disks = vec![borrowed.disk.as_str()];
        disks.extend(self.others.iter().map(|(_, disk)| disk.as_str()));
        for (job, rounds) in self.jobs.iter().zip(&mut self.rounds) {
            let first = rounds.len() % disks.len();
            disks.rotate_left(first);
            let seconds = Until::Seconds(self.seconds);
            let measured = fio::run(hosts.borrower(), &disks, job, seconds);
            let mut measured = measured.with_context(|| format!("{}: {disks:?}", job.name))?;
            disks.rotate_right(first);
            measured.rotate_right(first);
            let ours = measured.remove(0);
            rounds.push((ours, measured));
        }
        Ok(())
    }

    /// What came of it.
    #[must_use]
    pub fn cases(&self, part: Part, prefix: &str) -> Vec<Case> {
        let mut cases = Vec::new();
        for measure in [RATE, MEDIAN, P99] {
            let of = |measured: &Measured| match measure {
                RATE => measured.rate,
                MEDIAN => measured.median_us,
                _ => measured.p99_us,
            };
            for (job, rounds) in self.jobs.iter().zip(&self.rounds) {
                let ours: Vec<f64> = rounds.iter().map(|(ours, _)| of(ours)).collect();
                let mut case = Case::new(part, format!("{prefix}{}", job.name), measure, &ours);
                for (index, (name, _)) in self.others.iter().enumerate() {
                    let theirs = rounds.iter().filter_map(|(_, others)| others.get(index));
                    let theirs: Vec<f64> = theirs.map(of).collect();
                    case = case.against(name, &ours, &theirs);
                }
                cases.push(case);
            }
        }
        cases
    }
}
