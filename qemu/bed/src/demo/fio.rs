// SPDX-License-Identifier: GPL-2.0

//! The load: random reads and writes, each block read back and checked.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::{fio, Host};
use serde::Serialize;

/// What fio measured.
#[derive(Debug, Serialize)]
pub struct Fio {
    /// Bytes of the file it works on.
    pub bytes: u64,
    /// Blocks of 4 KiB read, those for verification included.
    pub reads: u64,
    /// Blocks of 4 KiB written.
    pub writes: u64,
    /// fio's error number; 0 when every block was what had been written.
    pub error: i64,
    /// Reads a second.
    pub read_iops: f64,
    /// Writes a second.
    pub write_iops: f64,
    /// Seconds that it ran.
    pub seconds: f64,
}

/// Runs it on a file of its own below `directory`.
pub fn run(host: &Host, directory: &str, megabytes: u32) -> Result<Fio> {
    let command = format!(
        "fio --name=demo --filename={directory}/fio --size={megabytes}M --rw=randrw --bs=4k --ioengine=libaio \
         --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --fallocate=none \
         --output-format=json --output=/tmp/fio.json && cat /tmp/fio.json"
    );
    // 64 MiB take about 20 s; an emulated machine beside a busy one may be many times slower.
    let output = host.sh_within(Duration::from_secs(900), &command)?;
    ensure!(
        output.ok(),
        "fio ended with status {}: {} {}",
        output.status,
        output.error_text(),
        host.sh_ok("tail -c 2000 /tmp/fio.json").unwrap_or_default()
    );
    let jobs = fio::jobs(&output.text())?;
    let job = jobs.first().context("fio ran no job")?;
    Ok(Fio {
        bytes: u64::from(megabytes) << 20,
        reads: job.read.total_ios,
        writes: job.write.total_ios,
        error: job.error,
        read_iops: job.read.iops,
        write_iops: job.write.iops,
        seconds: Duration::from_millis(job.job_runtime).as_secs_f64(),
    })
}
