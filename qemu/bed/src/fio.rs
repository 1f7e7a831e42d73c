// SPDX-License-Identifier: GPL-2.0

//! What fio reports (`--output-format=json`).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Report {
    jobs: Vec<Job>,
}

/// One of its jobs.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// The first error it met; 0 if none, and if every block it verified was what had been written.
    pub error: i64,
    /// Milliseconds that it ran.
    pub job_runtime: u64,
    /// What it read, to verify it, too.
    pub read: Way,
    /// What it wrote.
    pub write: Way,
}

/// What a job moved one way.
#[derive(Clone, Debug, Deserialize)]
pub struct Way {
    /// Blocks.
    pub total_ios: u64,
    /// Blocks a second.
    pub iops: f64,
    #[serde(default)]
    clat_ns: Latency,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Latency {
    #[serde(default)]
    percentile: BTreeMap<String, f64>,
}

impl Way {
    /// Microseconds that so many of a hundred blocks took at most, once they were handed over.
    ///
    /// # Errors
    ///
    /// If fio does not report it: it does not of a job that moved nothing, nor of a share it was not asked for.
    pub fn percentile_us(&self, share: u32) -> Result<f64> {
        let nanoseconds = self.clat_ns.percentile.get(&format!("{share}.000000"));
        nanoseconds
            .map(|nanoseconds| nanoseconds / 1000.0)
            .with_context(|| format!("fio's report has no percentile {share}"))
    }
}

/// The jobs that a report is of, in the order in which they were asked for.
///
/// # Errors
///
/// If it is not a report of fio's.
pub fn jobs(report: &str) -> Result<Vec<Job>> {
    let report: Report = serde_json::from_str(report).context("fio's report is not understood")?;
    Ok(report.jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_understood() {
        let text = r#"{"fio version": "fio-3.39", "jobs": [{"jobname": "demo", "error": 0, "job_runtime": 2500,
            "read": {"total_ios": 300, "iops": 120.5, "short_ios": 0,
                "clat_ns": {"min": 0, "percentile": {"50.000000": 1500, "99.000000": 9000}}},
            "write": {"total_ios": 200, "iops": 80.25, "clat_ns": {"min": 0}}}]}"#;
        let jobs = jobs(text).unwrap();
        let [job] = &jobs[..] else {
            panic!("{jobs:?}");
        };
        assert_eq!((job.error, job.job_runtime), (0, 2500));
        assert_eq!((job.read.total_ios, job.read.iops), (300, 120.5));
        assert_eq!(job.read.percentile_us(50).unwrap(), 1.5);
        assert_eq!(job.read.percentile_us(99).unwrap(), 9.0);
        assert_eq!(job.write.total_ios, 200);
        let error = job.write.percentile_us(50).unwrap_err().to_string();
        assert!(error.contains("percentile 50"), "{error}");
    }

    #[test]
    fn no_report_is_an_error() {
        assert!(jobs("fio: failed").is_err());
        assert!(jobs("{}").is_err());
    }
}
