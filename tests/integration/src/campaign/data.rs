// SPDX-License-Identifier: GPL-2.0

//! The data of a campaign: blocks of the lender's disk, and what became of them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::{until, Bed, Host, Seen};
use devlend_blocks::{from_words, generations, Blocks, Generation, BLOCK, SECTORS};

use super::ledger::{Ledger, Wrong};
use super::report::Data;
use crate::job::Job;

/// The first block, beyond what other programs of a test write to.
pub const FIRST: u32 = (128 << 20) / BLOCK as u32;
/// How many there are: few enough that many are written more than once in a run.
pub const COUNT: u32 = 512;
/// The file in the run directory that the acknowledgements go to, and the borrower's port that leads there.
const ACKS: &str = "borrower.acks";
const PORT: &str = "devlend.acks";
/// The program in the borrower.
const PROGRAM: &str = "blocks";
/// How many wrong sectors are told one by one.
const TOLD: usize = 8;

/// QEMU arguments for the borrower: a way out for acknowledgements that a killed host does not take with it.
#[must_use]
pub fn borrower_args() -> Vec<String> {
    [
        "-chardev",
        &format!("file,id=acks,path=/run/bed/{ACKS},append=on"),
        "-device",
        &format!("virtserialport,chardev=acks,name={PORT}"),
    ]
    .map(String::from)
    .to_vec()
}

/// The blocks of one disk.
pub struct Disk {
    seed: u64,
    ledger: Ledger,
    /// The present run of the writer.
    run: u32,
    /// The file of the acknowledgements, and where in it those of the present run begin.
    acks: PathBuf,
    begin: u64,
    image: PathBuf,
    /// What was seen so far.
    pub data: Data,
}

impl Disk {
    /// The lender's disk, of which nothing is known.
    #[must_use]
    pub fn new(bed: &Bed, seed: u64) -> Self {
        Self {
            seed,
            ledger: Ledger::new(COUNT),
            run: 0,
            acks: bed.run_dir().join(ACKS),
            begin: 0,
            image: bed.run_dir().join("lender.nvme"),
            data: Data::default(),
        }
    }

    /// The file with the disk's contents.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn image(&self) -> Result<File> {
        let mut options = File::options();
        let image = options.read(true).write(true).open(&self.image);
        image.with_context(|| format!("opening {}", self.image.display()))
    }

    /// The command of a new run, whatever became of the one before.
    fn new_run(&mut self, host: &Host, disk: &str, writes: &str) -> Result<String> {
        host.give_program(PROGRAM)?;
        self.run += 1;
        self.begin = fs::metadata(&self.acks).map_or(0, |file| file.len());
        let Self { seed, run, .. } = self;
        Ok(format!(
            "port=$(grep -lx {PORT} /sys/class/virtio-ports/*/name | cut -d/ -f5); \
             /tmp/{PROGRAM} write {disk} /dev/$port {seed} {run} {FIRST} {COUNT} {writes}"
        ))
    }

    /// Starts to write, without end. Some writes have been acknowledged when this returns.
    ///
    /// # Errors
    ///
    /// It does not begin within 30 s.
    pub fn start<'a>(&mut self, host: &'a Host, disk: &str) -> Result<Job<'a>> {
        let command = self.new_run(host, disk, "")?;
        let job = Job::start(host, PROGRAM, &format!("{{ {command}; }}"))?;
        self.wait_progress(20, Duration::from_secs(30), || {
            let status = job.status()?;
            ensure!(status.is_none(), "the writer has ended: {status:?}");
            Ok(true)
        })?;
        Ok(job)
    }

    /// Waits for so many more acknowledgements, while `goes_on`. False if it does not.
    ///
    /// # Errors
    ///
    /// They have not come when the time is up, or `goes_on` fails.
    pub fn wait_progress(
        &self,
        more: usize,
        limit: Duration,
        goes_on: impl Fn() -> Result<bool>,
    ) -> Result<bool> {
        let before = self.lines()?.lines().count();
        until("writes to be acknowledged", limit, || {
            let seen = self.lines()?.lines().count() - before;
            Ok(if seen >= more {
                Seen::Yes(true)
            } else if !goes_on()? {
                Seen::Yes(false)
            } else {
                Seen::NotYet(format!("{seen} of {more}"))
            })
        })
    }

    /// The acknowledgements of the present run.
    fn lines(&self) -> Result<String> {
        let text = match fs::read(&self.acks) {
            Ok(text) => text,
            Err(error) => bail!("reading {}: {error}", self.acks.display()),
        };
        let new = text.get(usize::try_from(self.begin)?..).unwrap_or_default();
        Ok(String::from_utf8_lossy(new).into_owned())
    }

    /// Compares the disk's file with what was acknowledged in the present run, and before.
    ///
    /// # Errors
    ///
    /// It differs; or it cannot be read.
    pub fn check_image(&mut self) -> Result<()> {
        let image = self.image()?;
        let mut found = Vec::new();
        for block in 0..COUNT {
            let mut bytes = Blocks([[0; BLOCK]]);
            image.read_exact_at(&mut bytes.0[0], offset(block))?;
            found.push(generations(&bytes.0[0], self.seed, block));
        }
        self.check(&found).context("the lender's disk")
    }

    /// Makes so many writes in the borrower, to the end, reads all blocks there, and compares them.
    ///
    /// # Errors
    ///
    /// The disk cannot be used, or has other contents than it must have.
    pub fn use_and_check(&mut self, host: &Host, disk: &str, writes: u32) -> Result<()> {
        let command = self.new_run(host, disk, &writes.to_string())?;
        let seed = self.seed;
        let text = host.sh_ok(&format!(
            "{command} && /tmp/{PROGRAM} read {disk} {seed} {FIRST} {COUNT}"
        ))?;
        let found = text.lines().zip(0..).map(|(line, block)| {
            let words = line.strip_prefix(&format!("{block} "));
            let words = words.with_context(|| format!("'{line}' is not of block {block}"))?;
            Ok(from_words(words)?)
        });
        let found = found.collect::<Result<Vec<_>>>()?;
        self.check(&found).context("the disk in the borrower")
    }

    fn check(&mut self, found: &[[Option<Generation>; SECTORS]]) -> Result<()> {
        let lines = self.lines()?;
        self.begin += lines.len() as u64;
        self.data.acknowledged += self.ledger.acknowledge(self.run, &lines)?;
        let (compared, wrong) = self.ledger.check(self.run, found)?;
        self.data.compared += compared;
        self.data.wrong += wrong.len() as u64;
        ensure!(
            wrong.is_empty(),
            "{} of {compared} sectors are wrong:\n{}",
            wrong.len(),
            told(&wrong)
        );
        Ok(())
    }
}

/// Where a block is on the disk, in bytes.
#[must_use]
pub fn offset(block: u32) -> u64 {
    u64::from(FIRST + block) * BLOCK as u64
}

fn told(wrong: &[Wrong]) -> String {
    let lines: Vec<String> = wrong.iter().take(TOLD).map(Wrong::to_string).collect();
    lines.join("\n")
}
