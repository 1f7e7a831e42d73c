// SPDX-License-Identifier: GPL-2.0

//! The kernel's script: as it is in its source tree, handed to a host, run there, shown as it goes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::Host;

use super::ends::Ends;
use super::obstacles::PROGRAMS;
use super::results::Results;

/// Where it is in the kernel's tree.
const SOURCE: &str = "tools/testing/selftests/ntb/ntb_test.sh";
/// Where it is in the host.
const COPY: &str = "/run/ntb_test/ntb_test.sh";
/// How long it may be silent. It says a line for every test; the longest are two hundred `ssh` commands.
const SILENCE: Duration = Duration::from_secs(180);
/// How often its output is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// The script.
pub struct Script {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The kernel it belongs to.
    pub release: String,
}

impl Script {
    /// The script of a kernel's tree.
    pub fn of(kernel_tree: &Path) -> Result<Self> {
        let read =
            |path: PathBuf| fs::read(&path).with_context(|| format!("reading {}", path.display()));
        let path = kernel_tree.join(SOURCE);
        let release = read(kernel_tree.join("include/config/kernel.release"))?;
        Ok(Self {
            bytes: read(path.clone())?,
            path,
            release: String::from_utf8_lossy(&release).trim().into(),
        })
    }

    /// Puts it into a host, and shows that it is the same there as in the kernel's tree.
    pub fn hand_over(&self, host: &Host) -> Result<()> {
        host.give(COPY, &self.bytes)?;
        let output = Command::new("sha256sum")
            .arg(&self.path)
            .output()
            .context("running sha256sum")?;
        let source = String::from_utf8_lossy(&output.stdout).into_owned();
        let copy = host.sh_ok(&format!("sha256sum {COPY}"))?;
        println!("sha256 {source}sha256 {copy} (on the {})", host.name());
        let sum = |line: &str| line.split_whitespace().next().map(String::from);
        ensure!(
            sum(&source).is_some() && sum(&source) == sum(&copy),
            "the copy of {SOURCE} is not the original"
        );
        Ok(())
    }

    /// Runs it between two ends, to its end.
    pub fn run(&self, ends: &Ends<'_>, order: u8) -> Result<Results> {
        ends.connect()?;
        let host = ends.local.host;
        let mut words = vec![COPY.to_string(), "-p".into(), order.to_string()];
        if let Some(remote) = ends.remote_host() {
            words.extend(["-r".into(), remote.name().into()]);
        }
        words.extend(ends.both().map(|end| end.device.clone()));
        let command = words.join(" ");
        println!("{} # {command}", host.name());
        host.sh_ok(&format!(
            "cd /tmp; PATH={PROGRAMS}:$PATH setsid bash -c 'bash {command}; echo $? >/run/ntb_test/status' \
             </dev/null &>/run/ntb_test/output & echo $! >/run/ntb_test/pid"
        ))?;
        let (status, text) = follow(host)?;
        Results::read(&text, &status)
    }
}

/// Shows the script's output until it ends; returns its status and all it said.
fn follow(host: &Host) -> Result<(String, String)> {
    let mut text = Vec::new();
    let mut heard = Instant::now();
    loop {
        // The status first: what was written before it is then seen.
        let look = format!(
            "cat /run/ntb_test/status >&2; tail -c +{} /run/ntb_test/output",
            text.len() + 1
        );
        let output = host.sh(&look)?;
        let mut out = std::io::stdout();
        out.write_all(&output.stdout)
            .and_then(|()| out.flush())
            .context("writing to standard output")?;
        if !output.stdout.is_empty() {
            heard = Instant::now();
        }
        let status = output.error_text().into_owned();
        text.extend(output.stdout);
        let all = || String::from_utf8_lossy(&text).into_owned();
        if status.parse::<u8>().is_ok() {
            return Ok((status, all()));
        }
        if heard.elapsed() > SILENCE {
            host.sh("kill -- -$(cat /run/ntb_test/pid)")?;
            bail!(
                "ntb_test.sh hangs: it said nothing for {SILENCE:.0?}; its last line: {}",
                last_line(&all())
            );
        }
        std::thread::sleep(PAUSE);
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or("(nothing)")
}
