// SPDX-License-Identifier: GPL-2.0

//! Processes that outlive the program that started them, and that are ended by nobody else's mistake.
//!
//! Each has a file with its process id. Ids are reused by the system, so a process is believed to be ours only
//! while its command line holds the bed's mark, a word that occurs in no other bed's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::sched_setaffinity;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::ending;
use crate::placement;
use crate::wait::{until, Seen};

/// A process of the bed, running or not.
#[derive(Debug)]
pub(crate) struct Process {
    pid_file: PathBuf,
    mark: String,
    /// The processor it runs on, if it is not to run anywhere.
    processor: Option<usize>,
    // Reaps a process that this very program started; after an attach there is none.
    child: Mutex<Option<Child>>,
}

impl Process {
    /// The process whose id is (or will be) in `pid_file` and whose command line holds the word `mark`.
    pub fn new(pid_file: PathBuf, mark: String) -> Self {
        Self {
            pid_file,
            mark,
            processor: None,
            child: Mutex::new(None),
        }
    }

    /// The same, to be started on one processor of this machine, if one is named.
    pub fn on(self, processor: Option<usize>) -> Self {
        Self { processor, ..self }
    }

    /// Starts `program` in a session of its own, out of reach of the terminal's signals, its output to `log`.
    pub fn start(
        &self,
        program: &Path,
        args: &[String],
        env: &[(&str, &Path)],
        log: &Path,
    ) -> Result<()> {
        ending::check()?;
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let child = Command::new("setsid")
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        if let Some(processor) = self.processor {
            // What it starts from now on, threads too, runs where it does.
            let processors = placement::set(&[processor])?;
            sched_setaffinity(Pid::from_raw(i32::try_from(child.id())?), &processors)
                .with_context(|| format!("putting a process on processor {processor}"))?;
        }
        fs::write(&self.pid_file, format!("{}\n", child.id()))
            .with_context(|| format!("writing {}", self.pid_file.display()))?;
        *self.slot() = Some(child);
        Ok(())
    }

    /// The id, if the process is alive and ours.
    pub fn pid(&self) -> Option<u32> {
        // A child is ours whatever its command line is, and it has none for a moment while it starts. One that ended stays a zombie
        // until somebody asks; another program may have started its successor.
        if let Some(child) = self.slot().as_mut() {
            if matches!(child.try_wait(), Ok(None)) {
                return Some(child.id());
            }
        }
        let pid = parse_pid(&fs::read_to_string(&self.pid_file).ok()?)?;
        has_mark(&command_line(pid)?, &self.mark).then_some(pid)
    }

    /// Asks the process to end, and makes it after two seconds. Does nothing if it is not running.
    pub fn stop(&self) -> Result<()> {
        if self.signal(Signal::SIGTERM)? && self.wait_gone(Duration::from_secs(2)).is_err() {
            self.kill()?;
        }
        self.forget()
    }

    /// Ends the process at once, as a power cut ends a machine. Does nothing if it is not running.
    pub fn kill(&self) -> Result<()> {
        if self.signal(Signal::SIGKILL)? {
            self.wait_gone(Duration::from_secs(10))?;
        }
        self.forget()
    }

    fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(pid) = self.pid() else {
            return Ok(false);
        };
        match kill(Pid::from_raw(i32::try_from(pid)?), signal) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::ESRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("sending {signal} to process {pid}")),
        }
    }

    fn wait_gone(&self, limit: Duration) -> Result<()> {
        until("a process to end", limit, || {
            Ok(match self.pid() {
                None if self.is_reaped() => Seen::Yes(()),
                None => Seen::NotYet("it has not been waited for".into()),
                Some(pid) => Seen::NotYet(format!("process {pid} is alive")),
            })
        })
    }

    /// Whether nothing is left of a child of this program's, not even its status.
    fn is_reaped(&self) -> bool {
        self.slot()
            .as_mut()
            .is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn forget(&self) -> Result<()> {
        *self.slot() = None;
        match fs::remove_file(&self.pid_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.pid_file.display()))
            }
            _ => Ok(()),
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        // The slot is valid whatever a panicking holder was doing.
        self.child
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The command line of a process that is alive.
fn command_line(pid: u32) -> Option<Vec<u8>> {
    // While a process replaces its program, its command line is empty: until the new one is read from the disk, which a busy machine
    // takes its time for.
    for _ in 0..1000 {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if !line.is_empty() {
            return Some(line);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        if is_dead(&stat) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Whether the contents of `/proc/PID/stat` are those of a process that has ended but was not waited for.
fn is_dead(stat: &str) -> bool {
    // The name before it, in parentheses, may hold anything.
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn parse_pid(text: &str) -> Option<u32> {
    // 0 and 1 would signal a group or init: no bed's process has them.
    text.trim_end().parse().ok().filter(|pid| *pid > 1)
}

fn has_mark(cmdline: &[u8], mark: &str) -> bool {
    cmdline.split(|byte| *byte == 0).any(|word| {
        word.split(|byte| *byte == b',' || *byte == b'=')
            .any(|part| part == mark.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_files_are_read_strictly() {
        assert_eq!(parse_pid("4711\n"), Some(4711));
        for text in ["", "\n", "0", "1\n", "-5", "12 13", "abc", "99999999999"] {
            assert_eq!(parse_pid(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_mark_is_a_whole_word() {
        let cmdline = b"qemu\0-name\0guest=devlend-1a-lender,debug-threads=on\0";
        assert!(has_mark(cmdline, "devlend-1a-lender"));
        assert!(!has_mark(cmdline, "devlend-1a-lend"));
        assert!(!has_mark(cmdline, "devlend-1a"));
        // What a zombie shows.
        assert!(!has_mark(b"", "devlend-1a-lender"));
    }

    #[test]
    fn the_dead_are_told_from_the_living() {
        assert!(is_dead("12 (a) S b) Z 1 2 3"));
        assert!(!is_dead("12 (a) Z b) R 1 2 3"));
        assert!(is_dead(""));
    }

    #[test]
    fn only_a_marked_process_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::new(dir.path().join("x.pid"), "bed-test-mark".into());
        let sleep = |word: &str| {
            vec![
                "-c".into(),
                "sleep 60; exit $#".into(),
                "sh".into(),
                word.to_string(),
            ]
        };
        process
            .start(
                Path::new("sh"),
                &sleep("mark=bed-test-mark"),
                &[],
                &dir.path().join("log"),
            )
            .unwrap();
        let pid = process.pid().expect("alive and ours");
        let other = Process::new(dir.path().join("x.pid"), "another-mark".into());
        assert_eq!(other.pid(), None);
        other.child.lock().unwrap().take();
        assert!(process.pid().is_some());
        process.stop().unwrap();
        assert_eq!(process.pid(), None);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        process.stop().unwrap();
    }
}
