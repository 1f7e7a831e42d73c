// SPDX-License-Identifier: GPL-2.0

//! fio, and what it measures.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{fio, Host};

/// What fio is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// What it is called in a report.
    pub name: &'static str,
    /// fio's word for it.
    pub kind: &'static str,
    /// Bytes of a block.
    pub block: u32,
    /// Requests under way at once.
    pub depth: u32,
}

/// When fio has done enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many blocks.
    Blocks(u32),
    /// After so many seconds.
    Seconds(u32),
}

/// What fio has measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Blocks.
    pub blocks: u64,
    /// Blocks a second.
    pub rate: f64,
    /// Half of the blocks took no longer, in microseconds.
    pub median_us: f64,
    /// 99 of 100 blocks took no longer, in microseconds.
    pub p99_us: f64,
}

/// Runs a job on disks, one after the other; their figures are in the same order.
pub fn run(host: &Host, disks: &[&str], job: &Job, until: Until) -> Result<Vec<Measured>> {
    let output = host.sh_within(
        Duration::from_secs(300),
        &format!("{} && {REPORT}", command(disks, job, until)),
    )?;
    ensure!(
        output.ok(),
        "fio ended with status {}: {}\nIts kernel said last:\n{}",
        output.status,
        output.error_text(),
        host.sh_ok("dmesg | tail -n 15").unwrap_or_default()
    );
    let measured = measured(&output.text())?;
    ensure!(
        measured.len() == disks.len(),
        "fio reports on {} of {} disks",
        measured.len(),
        disks.len()
    );
    Ok(measured)
}

/// What [`command`] writes its report to.
const REPORT: &str = "cat /tmp/job.json";

/// fio's command line for it.
pub fn command(disks: &[&str], job: &Job, until: Until) -> String {
    let Job {
        kind, block, depth, ..
    } = job;
    let end = match until {
        Until::Blocks(blocks) => format!("--io_size={}", u64::from(blocks) * u64::from(*block)),
        Until::Seconds(seconds) => format!("--time_based --runtime={seconds}"),
    };
    let mut line = format!(
        "cd /tmp && fio --rw={kind} --bs={block} --iodepth={depth} --ioengine=libaio --direct=1 --norandommap --randrepeat=1 \
         --allow_file_create=0 {end} --output-format=json --output=job.json"
    );
    for disk in disks {
        line += &format!(" --name={disk} --filename={disk} --stonewall");
    }
    line
}

fn measured(report: &str) -> Result<Vec<Measured>> {
    fio::jobs(report)?.into_iter().map(of_job).collect()
}

fn of_job(job: fio::Job) -> Result<Measured> {
    ensure!(job.error == 0, "fio met error {}", job.error);
    // A job goes one way.
    let way = if job.read.total_ios > 0 {
        job.read
    } else {
        job.write
    };
    ensure!(way.total_ios > 0, "fio moved nothing");
    Ok(Measured {
        blocks: way.total_ios,
        rate: way.iops,
        median_us: way.percentile_us(50)?,
        p99_us: way.percentile_us(99)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_take_turns() {
        let job = Job {
            name: "read",
            kind: "randread",
            block: 4096,
            depth: 1,
        };
        let line = command(&["/dev/a", "/dev/b"], &job, Until::Blocks(10));
        assert_eq!(line.matches("--stonewall").count(), 2);
        assert!(line.contains("--io_size=40960"), "{line}");
    }

    #[test]
    fn the_way_that_was_gone_is_read() {
        let none = r#"{"total_ios": 0, "iops": 0.0, "clat_ns": {"min": 0}}"#;
        let some = r#"{"total_ios": 40, "iops": 20.5,
            "clat_ns": {"percentile": {"50.000000": 1500, "99.000000": 9000}}}"#;
        let report = |read: &str, write: &str| {
            measured(&format!(
                r#"{{"jobs": [{{"error": 0, "job_runtime": 1000, "read": {read}, "write": {write}}}]}}"#
            ))
        };
        let expected = Measured {
            blocks: 40,
            rate: 20.5,
            median_us: 1.5,
            p99_us: 9.0,
        };
        assert_eq!(report(some, none).unwrap(), [expected]);
        assert_eq!(report(none, some).unwrap(), [expected]);
        assert!(report(none, none).is_err());
        assert!(measured("fio: failed").is_err());
    }
}
