// SPDX-License-Identifier: GPL-2.0

//! A command that runs in a host while something else happens.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Host, Seen};

const SECOND: Duration = Duration::from_secs(1);

/// A command in the background, known by a name.
pub struct Job<'a> {
    host: &'a Host,
    name: &'static str,
}

impl<'a> Job<'a> {
    /// Starts a command, with its output in `/tmp/NAME.log`. Whatever else runs in the host comes before it: a load should not
    /// keep the test from what it wants to do meanwhile.
    ///
    /// # Errors
    ///
    /// The host cannot be told to.
    pub fn start(host: &'a Host, name: &'static str, command: &str) -> Result<Self> {
        host.sh_ok(&format!(
            "cd /tmp; rm -f {name}.status {name}.log; renice -n 19 $BASHPID >/dev/null; \
             ({command} >{name}.log 2>&1; echo $? >{name}.status) >/dev/null 2>&1 &"
        ))?;
        Ok(Self { host, name })
    }

    /// Reads and writes the disk, comparing what comes back with what was written. It has begun when this returns.
    ///
    /// # Errors
    ///
    /// It does not begin within 30 s.
    pub fn fio(host: &'a Host, disk: &str, more: &str) -> Result<Self> {
        let stat = format!("/sys/class/block/{}/stat", disk.trim_start_matches("/dev/"));
        let transfers = || {
            // Reads and writes completed are the first and the fifth number.
            let numbers = host.read(&stat)?;
            let numbers = numbers.split_whitespace().map(str::parse::<u64>);
            let numbers: Vec<u64> = numbers.collect::<std::result::Result<_, _>>()?;
            anyhow::Ok(numbers.iter().step_by(4).take(2).sum::<u64>())
        };
        let before = transfers()?;
        let job = Self::start(host, "fio", &fio_command(disk, more))?;
        until("fio to begin", 30 * SECOND, || {
            Ok(if transfers()? > before + 10 {
                Seen::Yes(())
            } else {
                Seen::NotYet(job.last_words()?)
            })
        })?;
        Ok(job)
    }

    fn last_words(&self) -> Result<String> {
        let log = self.host.try_read(&format!("/tmp/{}.log", self.name))?;
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(3)..].join("\n"))
    }

    /// Its status, if it has ended.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    pub fn status(&self) -> Result<Option<i32>> {
        let status = self.host.try_read(&format!("/tmp/{}.status", self.name))?;
        Ok(status.ok().and_then(|status| status.parse().ok()))
    }

    /// Waits for its end, and returns its status and its output.
    ///
    /// # Errors
    ///
    /// It has not ended when the time is up.
    pub fn end(&self, limit: Duration) -> Result<(i32, String)> {
        let status = until(&format!("{} to end", self.name), limit, || {
            Ok(match self.status()? {
                Some(status) => Seen::Yes(status),
                None => Seen::NotYet(self.last_words()?),
            })
        })?;
        Ok((status, self.host.read(&format!("/tmp/{}.log", self.name))?))
    }

    /// Waits for it to end without an error.
    ///
    /// # Errors
    ///
    /// It has met one, or has not ended when the time is up.
    pub fn end_well(&self, limit: Duration) -> Result<()> {
        let (status, log) = self.end(limit)?;
        ensure!(
            status == 0,
            "{} ended with status {status}:\n{log}",
            self.name
        );
        Ok(())
    }

    /// Ends fio before its time; it must not have failed.
    ///
    /// # Errors
    ///
    /// It had, or has not ended after a minute.
    pub fn stop(&self) -> Result<()> {
        self.host.sh_ok("pkill -INT fio")?;
        let (status, log) = self.end(60 * SECOND)?;
        // What fio says when it is interrupted, and more than that if there was an error.
        ensure!(status == 128, "fio ended with status {status}:\n{log}");
        Ok(())
    }

    /// Waits for fio to fail, with errors of the disk and not of the data.
    ///
    /// # Errors
    ///
    /// It has not, or not so.
    pub fn end_badly(&self, limit: Duration) -> Result<()> {
        let (status, log) = self.end(limit)?;
        ensure!(status != 0, "fio noticed nothing:\n{log}");
        ensure!(!has_wrong_data(&log), "wrong data:\n{log}");
        Ok(())
    }
}

/// fio, reading and writing a disk, and comparing what comes back with what was written.
#[must_use]
pub fn fio_command(disk: &str, more: &str) -> String {
    format!(
        "fio --name=job --filename={disk} --rw=randrw --bs=4k --offset=32M --size=16M --direct=1 --ioengine=psync \
         --allow_file_create=0 --verify=crc32c {more}"
    )
}

/// Whether fio says that it has read something else than it had written.
pub fn has_wrong_data(log: &str) -> bool {
    log.contains("verify:") || log.contains("verify failed")
}
