// SPDX-License-Identifier: GPL-2.0

//! One host of a bed.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use ntb_emu::model::Family;
use qapi::qmp;

use crate::agent::{Agent, Job};
use crate::environment::Environment;
use crate::monitor;
use crate::options::HostOptions;
use crate::output::{trimmed, Output};
use crate::process::Process;
use crate::times::{self, Kind};
use crate::wait::{patient, until, Seen};

/// How long a command may run if nothing else is said.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(120);
/// How long a host may take from power-on to the first command.
const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// A virtual machine, on or off.
#[derive(Debug)]
pub struct Host {
    pub(crate) options: HostOptions,
    /// The families of its NTBs, in the order of their slots.
    pub(crate) families: Vec<Family>,
    /// The PCI addresses of its NTBs, in the order of their slots.
    pub(crate) ntbs: Vec<String>,
    pub(crate) process: Process,
    pub(crate) agent: Agent,
    pub(crate) run_dir: PathBuf,
    pub(crate) ram: PathBuf,
    pub(crate) qemu_args: Vec<String>,
    pub(crate) environment: Environment,
}

impl Host {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The process id of its QEMU, if it is on.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Runs a shell command and waits for its end, for at most [`DEFAULT_LIMIT`].
    ///
    /// A command that leaves something running in the background must redirect its output, or its end is not seen.
    ///
    /// # Errors
    ///
    /// The command could not be run to its end. A status other than 0 is not an error.
    pub fn sh(&self, command: &str) -> Result<Output> {
        self.sh_with(command, None, DEFAULT_LIMIT, None)
    }

    /// Like [`sh`](Self::sh), for a command that may run for up to `limit`.
    ///
    /// # Errors
    ///
    /// As [`sh`](Self::sh).
    pub fn sh_within(&self, limit: Duration, command: &str) -> Result<Output> {
        self.sh_with(command, None, limit, None)
    }

    /// Runs a command with `input` as its standard input; stops it when `interrupt` becomes true.
    ///
    /// # Errors
    ///
    /// As [`sh`](Self::sh), or it was interrupted.
    pub fn sh_with(
        &self,
        command: &str,
        input: Option<Vec<u8>>,
        limit: Duration,
        interrupt: Option<&AtomicBool>,
    ) -> Result<Output> {
        let job = Job {
            command,
            input,
            limit: patient(limit),
            interrupt,
        };
        times::command(|| self.agent.run(job)).with_context(|| format!("on the {}", self.name()))
    }

    /// Runs a command that must succeed, and returns what it printed, without the last newline.
    ///
    /// # Errors
    ///
    /// As [`sh`](Self::sh), or its status is not 0: the error holds the command, its status and its output.
    pub fn sh_ok(&self, command: &str) -> Result<String> {
        let output = self.sh(command)?;
        self.expect_ok(command, &output)?;
        Ok(output.text().into_owned())
    }

    pub(crate) fn expect_ok(&self, command: &str, output: &Output) -> Result<()> {
        ensure!(
            output.ok(),
            "on the {}, `{command}` ended with status {}: {}{}",
            self.name(),
            output.status,
            output.error_text(),
            output.text()
        );
        Ok(())
    }

    /// Puts a program into the host: a file with these bytes, executable.
    ///
    /// # Errors
    ///
    /// It cannot be written there.
    pub fn give(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let command = format!("f={}; cat >$f && chmod +x $f", quoted(path)?);
        let output = self.sh_with(&command, Some(bytes.to_vec()), DEFAULT_LIMIT, None)?;
        self.expect_ok(&command, &output)
    }

    /// Puts a program of this workspace that was built for guests into the host as `/tmp/NAME`, if it is not there.
    ///
    /// It goes through the share with our modules: the guest agent takes seconds for a megabyte.
    ///
    /// # Errors
    ///
    /// It has not been built, or cannot be copied.
    pub fn give_program(&self, name: &str) -> Result<()> {
        let shared = self.environment.share_program(name)?;
        let name = quoted(name)?;
        self.sh_ok(&format!(
            "[ -x /tmp/{name} ] || cp /devlend/{shared} /tmp/{name}"
        ))
        .map(drop)
    }

    /// Reads a file of one value, as sysfs has them.
    ///
    /// # Errors
    ///
    /// There is no such file, or it cannot be read.
    pub fn read(&self, path: &str) -> Result<String> {
        match self.try_read(path)? {
            Ok(text) => Ok(text),
            Err(why) => bail!("on the {}, reading {path}: {why}", self.name()),
        }
    }

    /// Like [`read`](Self::read); `Err` inside says in words why the file cannot be read, as that there is none.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    pub fn try_read(&self, path: &str) -> Result<std::result::Result<String, String>> {
        let bytes = times::command(|| self.agent.read(path))
            .with_context(|| format!("on the {}, reading {path}", self.name()))?;
        Ok(bytes.map(|bytes| trimmed(&bytes).into_owned()))
    }

    /// Writes a value to a file in one piece, as sysfs wants it. `Err(errno)` inside is the kernel's refusal.
    ///
    /// # Errors
    ///
    /// The attempt could not be made.
    pub fn try_write(&self, path: &str, value: &str) -> Result<std::result::Result<(), Errno>> {
        // The shell's own printf, since a program takes many times as long to start as sysfs takes to answer; but that writes line by
        // line.
        let printf = if value.contains('\n') {
            "env printf"
        } else {
            "printf"
        };
        let command = format!("{printf} '%s\\n' {} >{}", quoted(value)?, quoted(path)?);
        let output = self.sh(&command)?;
        if output.ok() {
            return Ok(Ok(()));
        }
        errno_of(&output.error_text())
            .map(Err)
            .with_context(|| format!("on the {}, writing {path}: {output:?}", self.name()))
    }

    /// Writes a value that must be accepted.
    ///
    /// # Errors
    ///
    /// The kernel refused it: the error says with which errno, and ends with the kernel's last log lines.
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        if let Err(errno) = self.try_write(path, value)? {
            bail!(
                "on the {}, writing '{value}' to {path} was refused with {errno}; the kernel's last lines:\n{}",
                self.name(),
                self.sh_ok("dmesg | tail -n 8").unwrap_or_default()
            );
        }
        Ok(())
    }

    /// The kernel's log since it booted.
    ///
    /// # Errors
    ///
    /// As [`sh`](Self::sh).
    pub fn dmesg(&self) -> Result<String> {
        self.sh_ok("dmesg")
    }

    /// What the host printed on its console since the bed was started, earlier boots included. Works with a host
    /// that is off or hangs.
    ///
    /// # Errors
    ///
    /// The console's file cannot be read.
    pub fn console(&self) -> Result<String> {
        let path = self.file("console");
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Ends the host as a power cut would.
    ///
    /// # Errors
    ///
    /// The process cannot be signalled.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Turns the host on and waits until it takes commands.
    ///
    /// # Errors
    ///
    /// It is on already, does not start, or is not there after 90 s.
    pub fn start(&self) -> Result<()> {
        let boots = self.boots()?;
        times::spend(Kind::Boot, || {
            self.power_on()?;
            self.wait_ready(boots + 1)
        })
    }

    /// Turns the host off as a power cut would, and on again.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// Resets the running machine, as its reset button would, and waits until it takes commands again.
    ///
    /// # Errors
    ///
    /// It is off, or is not back after 90 s.
    pub fn reset(&self) -> Result<()> {
        let boots = self.boots()?;
        monitor::execute(&self.file("qmp"), &qmp::system_reset {})?;
        times::spend(Kind::Boot, || self.wait_ready(boots + 1))
    }

    /// Has the host's kernel restart the machine, which shuts its devices down before, whatever its programs are doing.
    /// Waits until it takes commands again.
    ///
    /// # Errors
    ///
    /// It is off, or is not back after 90 s.
    pub fn reboot(&self) -> Result<()> {
        // There is no init that would do it. reboot(2), LINUX_REBOOT_MAGIC1 and 2, LINUX_REBOOT_CMD_RESTART.
        const RESTART: &str = "syscall(169, 0xfee1dead, 0x28121969, 0x01234567)";
        let boots = self.boots()?;
        // The command has to be seen to end before.
        self.sh_ok(&format!(
            "(sleep 0.3; perl -e '{RESTART}') >/dev/null 2>&1 &"
        ))?;
        times::spend(Kind::Boot, || self.wait_ready(boots + 1))
    }

    /// Stops the virtual processors; memory and devices stay reachable for the peer.
    ///
    /// # Errors
    ///
    /// The host is off.
    pub fn pause(&self) -> Result<()> {
        monitor::execute(&self.file("qmp"), &qmp::stop {}).map(drop)
    }

    /// Lets the virtual processors run again.
    ///
    /// # Errors
    ///
    /// The host is off.
    pub fn resume(&self) -> Result<()> {
        monitor::execute(&self.file("qmp"), &qmp::cont {}).map(drop)
    }

    /// Makes a PCIe function of the machine's report an error (AER): the function by its id for QEMU, the error by QEMU's
    /// name for it (`pcie_aer_inject_error`).
    ///
    /// # Errors
    ///
    /// The host is off, there is no such function, or it cannot report errors.
    pub fn inject_error(&self, id: &str, error: &str) -> Result<()> {
        let command_line = format!("pcie_aer_inject_error {id} {error}");
        let command = qmp::human_monitor_command {
            command_line,
            cpu_index: None,
        };
        // A command for people: its answer says what it did, in words.
        let answer = monitor::execute(&self.file("qmp"), &command)?;
        ensure!(answer.starts_with("OK"), "QEMU says: {}", answer.trim());
        Ok(())
    }

    /// Has QEMU write a line to its log each time something happens that it has a trace event for, by the event's name, in which `*`
    /// may stand for anything; or no more.
    ///
    /// # Errors
    ///
    /// The host is off, or QEMU has no such event.
    pub fn trace_qemu(&self, event: &str, on: bool) -> Result<()> {
        let command = qmp::trace_event_set_state {
            name: event.into(),
            enable: on,
            ignore_unavailable: Some(false),
        };
        monitor::execute(&self.file("qmp"), &command).map(drop)
    }

    /// QEMU's log, where the events are that were [asked for](Self::trace_qemu), a line each, in the order in which they happened.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn qemu_log(&self) -> Result<String> {
        let path = self.file("log");
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How often an event is in [QEMU's log](Self::qemu_log).
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn traced(&self, event: &str) -> Result<usize> {
        let log = self.qemu_log()?;
        Ok(log.split_whitespace().filter(|word| *word == event).count())
    }

    /// What QEMU says about the machine: "running", "paused", "off" ...
    #[must_use]
    pub fn state(&self) -> String {
        if self.pid().is_none() {
            return "off".into();
        }
        match monitor::execute(&self.file("qmp"), &qmp::query_status {}) {
            Ok(status) => format!("{:?}", status.status),
            Err(error) => format!("{error:#}"),
        }
    }

    pub(crate) fn power_on(&self) -> Result<()> {
        if let Some(pid) = self.pid() {
            bail!("the {} is on already (process {pid})", self.name());
        }
        // Fresh memory. The file stays the same one: ntb-emu has it mapped.
        let ram = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.ram)
            .with_context(|| format!("opening {}", self.ram.display()))?;
        ram.set_len(self.options.memory)?;
        let length = i64::try_from(self.options.memory)?;
        nix::fcntl::fallocate(
            &ram,
            nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
                | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE,
            0,
            length,
        )
        .context("emptying the host's memory")?;
        if let Some(size) = self.options.nvme {
            let path = self.file("nvme");
            let disk = fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .with_context(|| format!("opening {}", path.display()))?;
            // A disk keeps its contents over a restart.
            disk.set_len(size)?;
        }
        for socket in ["qmp", "qga"] {
            let _ = fs::remove_file(self.file(socket));
        }
        self.process.start(
            &self.environment.enter(),
            &self.qemu_args,
            &[
                ("DEVLEND_RUN", &self.run_dir),
                ("ENTER_LINUX", &self.environment.kernel_tree),
            ],
            &self.file("log"),
        )
    }

    /// Waits until the host has booted that many times since the bed was started, and takes commands.
    pub(crate) fn wait_ready(&self, boots: usize) -> Result<()> {
        until(&format!("the {} to boot", self.name()), BOOT_LIMIT, || {
            if self.pid().is_none() {
                bail!(
                    "the {}'s QEMU ended: {}",
                    self.name(),
                    last_lines(&fs::read_to_string(self.file("log")).unwrap_or_default(), 8)
                );
            }
            // init says a line when it starts the agent; asking earlier is lost effort.
            if self.boots()? < boots {
                return Ok(Seen::NotYet(self.console_end()));
            }
            Ok(Seen::Yes(()))
        })?;
        self.agent
            .answers(patient(BOOT_LIMIT))
            .with_context(|| format!("the {} booted, but", self.name()))
    }

    /// How often its init came up. The console does not exist before the first boot.
    fn boots(&self) -> Result<usize> {
        if !self.file("console").exists() {
            return Ok(0);
        }
        let ups = |line: &&str| line.starts_with("init: ") && line.contains(" is up ");
        Ok(self.console()?.lines().filter(ups).count())
    }

    fn console_end(&self) -> String {
        let console = self.console().unwrap_or_default();
        match last_lines(&console, 3) {
            end if end.is_empty() => "an empty console".into(),
            end => end,
        }
    }

    pub(crate) fn file(&self, suffix: &str) -> PathBuf {
        self.run_dir.join(format!("{}.{suffix}", self.name()))
    }
}

/// The errno that the last words of a program's complaint stand for: "bash: line 1: printf: write error: Invalid argument".
fn errno_of(complaint: &str) -> Option<Errno> {
    /// The largest that the kernel has (include/linux/errno.h), and some room.
    const LAST: i32 = 600;
    let words = complaint.rsplit(": ").next()?.trim();
    (1..=LAST)
        .find(|errno| {
            let known = std::io::Error::from_raw_os_error(*errno).to_string();
            known.strip_suffix(&format!(" (os error {errno})")) == Some(words)
        })
        .map(Errno::from_raw)
}

/// A word for the guest's shell.
pub(crate) fn quoted(word: &str) -> Result<String> {
    Ok(shlex::try_quote(word)
        .with_context(|| format!("{word:?} cannot be given to a shell"))?
        .into_owned())
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_last() {
        assert_eq!(last_lines("a\nb\nc\n\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_complaint_ends_with_an_errno() {
        for errno in [
            Errno::EINVAL,
            Errno::EBUSY,
            Errno::EAGAIN,
            Errno::ENODEV,
            Errno::EKEYREVOKED,
        ] {
            let words = std::io::Error::from(errno).to_string();
            let words = words.split(" (os").next().unwrap();
            let complaint = format!("bash: line 1: printf: write error: {words}\n");
            assert_eq!(errno_of(&complaint), Some(errno), "{complaint}");
        }
        let complaint = "bash: line 1: /sys/x: No such file or directory";
        assert_eq!(errno_of(complaint), Some(Errno::ENOENT));
        for none in ["", "killed", "bash: line 1: syntax error"] {
            assert_eq!(errno_of(none), None, "{none}");
        }
    }

    #[test]
    fn words_for_the_shell_are_quoted() {
        assert_eq!(quoted("/sys/x").unwrap(), "/sys/x");
        assert_eq!(quoted("a b'c").unwrap(), r#""a b'c""#);
        assert!(quoted("a\0b").is_err());
    }
}
