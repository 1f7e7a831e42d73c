// SPDX-License-Identifier: GPL-2.0

//! The borrowed disk against the local one, by turns.

use anyhow::Result;
use serde::Serialize;

use crate::figures::Figure;
use crate::fio::{self, Job, Measured, Until};
use crate::hosts::{Borrowed, Hosts};

/// Seconds of a job in a round.
const SECONDS: u32 = 2;

const JOBS: [Job; 8] = [
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

/// All rounds so far: of each job the borrowed disk's figures and the local one's.
#[derive(Default)]
pub struct Comparison {
    rounds: Vec<[(Measured, Measured); JOBS.len()]>,
}

/// How the two compare in one job.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The job.
    pub job: &'static str,
    /// Bytes of a block.
    pub block: u32,
    /// Blocks a second, borrowed.
    pub borrowed_rate: Figure,
    /// Blocks a second, local.
    pub local_rate: Figure,
    /// Borrowed over local, in each round.
    pub rate_ratio: Figure,
    /// Borrowed over local: how long half of the blocks take at most.
    pub median_latency_ratio: Figure,
    /// Borrowed over local: how long 99 of 100 blocks take at most.
    pub p99_latency_ratio: Figure,
}

impl Comparison {
    /// Measures each job once with each disk. Who comes first changes from round to round.
    pub fn round(&mut self, hosts: &Hosts<'_>, borrowed: &Borrowed) -> Result<()> {
        let host = hosts.borrower();
        let run = |disk: &str, job: &Job| fio::run(host, disk, job, Until::Seconds(SECONDS));
        let borrowed_first = self.rounds.len() % 2 == 0;
        let mut round = Vec::new();
        for job in &JOBS {
            round.push(if borrowed_first {
                let ours = run(&borrowed.disk, job)?;
                (ours, run(&hosts.local, job)?)
            } else {
                let local = run(&hosts.local, job)?;
                (run(&borrowed.disk, job)?, local)
            });
        }
        // There are as many as jobs.
        self.rounds.extend(<[_; JOBS.len()]>::try_from(round).ok());
        Ok(())
    }

    /// What came of it.
    #[must_use]
    pub fn figures(&self) -> Vec<Compared> {
        let figure = |job: usize, of: &dyn Fn(&(Measured, Measured)) -> f64| {
            let all: Vec<f64> = self.rounds.iter().map(|round| of(&round[job])).collect();
            Figure::of(&all)
        };
        JOBS.iter()
            .enumerate()
            .map(|(index, job)| Compared {
                job: job.name,
                block: job.block,
                borrowed_rate: figure(index, &|pair| pair.0.rate),
                local_rate: figure(index, &|pair| pair.1.rate),
                rate_ratio: figure(index, &|pair| pair.0.rate / pair.1.rate),
                median_latency_ratio: figure(index, &|pair| pair.0.median_us / pair.1.median_us),
                p99_latency_ratio: figure(index, &|pair| pair.0.p99_us / pair.1.p99_us),
            })
            .collect()
    }
}
