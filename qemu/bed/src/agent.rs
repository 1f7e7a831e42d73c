// SPDX-License-Identifier: GPL-2.0

//! Commands in a host, through QEMU's guest agent.
//!
//! The agent serves one connection at a time, so a connection is held for a moment only: to start a command, to
//! ask after it. Between two looks at a long-running command others get their turn. Lock files, rather than the
//! socket's queue, keep the turns: the wait can be bounded.

use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use qapi::qga::{
    guest_exec, guest_exec_status, guest_file_close, guest_file_open, guest_file_read, guest_sync,
    GuestExecCaptureOutput,
};
use qapi::{ExecuteError, Qga, Stream};

use crate::output::Output;
use crate::turn::Turns;
use crate::wait::patient;

/// How long one answer of a living agent may take. Generous: the guest is emulated, perhaps on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a new command is looked at in its first connection: most end in that time.
const FIRST_TURN: Duration = Duration::from_millis(300);
/// The pause between two looks at a command that runs for longer, when others get their turn.
const PAUSE: Duration = Duration::from_millis(200);

type Connection<'a> = Qga<Stream<BufReader<&'a UnixStream>, BufWriter<&'a UnixStream>>>;

/// The agent of one host.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub socket: PathBuf,
    pub turns: Turns,
}

/// What to run.
pub(crate) struct Job<'a> {
    pub command: &'a str,
    pub input: Option<Vec<u8>>,
    /// How long it may run; it is killed then.
    pub limit: Duration,
    /// When this becomes true the command is killed, as by a terminal's interrupt.
    pub interrupt: Option<&'a AtomicBool>,
}

impl Agent {
    /// Whether an agent answers within `limit`.
    pub fn answers(&self, limit: Duration) -> Result<()> {
        self.turn(limit, |_| Ok(()))
    }

    /// Runs a shell command to its end.
    pub fn run(&self, job: Job<'_>) -> Result<Output> {
        let request = guest_exec {
            // A session of its own, so that the command can be ended together with what it started.
            path: "/usr/bin/setsid".into(),
            arg: Some(vec!["bash".into(), "-c".into(), job.command.into()]),
            capture_output: Some(GuestExecCaptureOutput::flag(true)),
            env: None,
            input_data: job.input,
        };
        let start = Instant::now();
        // Started and, if it is quick, ended in the same turn.
        let (pid, mut output) = self.turn(patient(ANSWER), |agent| {
            let pid = agent.execute(&request)?.pid;
            Ok((pid, look(agent, pid, FIRST_TURN)?))
        })?;
        while output.is_none() {
            if job
                .interrupt
                .is_some_and(|flag| flag.load(Ordering::Relaxed))
            {
                self.end(pid)?;
                bail!("interrupted");
            }
            if start.elapsed() > job.limit {
                self.end(pid)?;
                bail!(
                    "the command ran for more than {:.0?} and was killed: {}",
                    job.limit,
                    job.command
                );
            }
            std::thread::sleep(PAUSE);
            output = self.turn(patient(ANSWER), |agent| look(agent, pid, Duration::ZERO))?;
        }
        output.context("the command has no result")
    }

    /// Reads a file to its end, without a process in the host. `Err` inside is the agent's word for why it cannot be read.
    ///
    /// Meant for files that answer at once: the agent does nothing else meanwhile.
    pub fn read(&self, path: &str) -> Result<std::result::Result<Vec<u8>, String>> {
        let answer = self.turn(patient(ANSWER), |agent| match read_file(agent, path) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(ExecuteError::Qapi(error)) => Ok(Err(error.desc)),
            Err(error) => Err(error),
        })?;
        Ok(answer)
    }

    /// Ends a command with everything in its session.
    fn end(&self, pid: i64) -> Result<()> {
        self.turn(patient(ANSWER), |agent| {
            agent.execute(&guest_exec {
                path: "/usr/bin/bash".into(),
                arg: Some(vec![
                    "-c".into(),
                    format!("pkill -INT -s {pid}; sleep 0.5; pkill -KILL -s {pid}"),
                ]),
                capture_output: None,
                env: None,
                input_data: None,
            })
        })?;
        Ok(())
    }

    /// Connects for the time of `talk`.
    fn turn<T>(
        &self,
        limit: Duration,
        talk: impl FnOnce(&mut Connection<'_>) -> Result<T, ExecuteError>,
    ) -> Result<T> {
        let start = Instant::now();
        let _turn = self.turns.take(limit).context("at the guest agent")?;
        let stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("connecting to {}: is the host on?", self.socket.display()))?;
        // Unbuffered, every word of a request would be an interrupt in the guest.
        let mut agent = Qga::new(Stream::new(
            BufReader::new(&stream),
            BufWriter::new(&stream),
        ));
        // An agent that is not there yet (or is being restarted) loses what it is sent: ask again.
        loop {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            match sync(&stream, &mut agent) {
                Ok(()) => break,
                Err(error) if is_timeout(&error) && start.elapsed() < limit => {}
                Err(error) if is_timeout(&error) => {
                    bail!("waited {limit:.0?} for the guest agent to answer")
                }
                Err(error) => return Err(error).context("talking to the guest agent"),
            }
        }
        stream.set_read_timeout(Some(patient(ANSWER)))?;
        talk(&mut agent).context("asking the guest agent")
    }
}

/// Brings both ends to a message boundary: whoever spoke before may have left in the middle of a word.
fn sync(mut stream: &UnixStream, agent: &mut Connection<'_>) -> std::io::Result<()> {
    static NEXT: AtomicI32 = AtomicI32::new(0);
    let pid = i32::try_from(std::process::id() & 0xffff).unwrap_or(0);
    let id = (pid << 12) | (NEXT.fetch_add(1, Ordering::Relaxed) & 0xfff);
    // 0xff ends whatever the agent's parser holds.
    stream.write_all(b"\xff")?;
    agent.write_command(&guest_sync { id: id.into() })?;
    loop {
        match agent.read_response::<guest_sync>() {
            Ok(answer) if answer == i64::from(id) => return Ok(()),
            // Somebody else's late answer, or the complaint about the 0xff.
            Ok(_) | Err(ExecuteError::Qapi(_)) => {}
            Err(ExecuteError::Io(error)) if error.kind() == ErrorKind::InvalidData => {}
            Err(ExecuteError::Io(error)) => return Err(error),
        }
    }
}

fn read_file(agent: &mut Connection<'_>, path: &str) -> Result<Vec<u8>, ExecuteError> {
    /// More than any file of sysfs has; what it still has is asked for again.
    const PIECE: i64 = 64 << 10;
    let handle = agent.execute(&guest_file_open {
        path: path.into(),
        mode: None,
    })?;
    let mut bytes = Vec::new();
    let read = loop {
        let piece = agent.execute(&guest_file_read {
            handle,
            count: Some(PIECE),
        });
        match piece {
            Ok(piece) => {
                bytes.extend(piece.buf_b64);
                if piece.eof {
                    break Ok(bytes);
                }
            }
            Err(error) => break Err(error),
        }
    };
    // A host that went away meanwhile has nothing left to close.
    let closed = agent.execute(&guest_file_close { handle });
    let bytes = read?;
    closed.map(|_| bytes)
}

/// Says what it means that the agent does not know a command that it started.
fn lost(error: ExecuteError) -> ExecuteError {
    match error {
        ExecuteError::Qapi(_) => ExecuteError::Io(std::io::Error::new(
            ErrorKind::ConnectionReset,
            "the command was lost: the host rebooted, or its agent was started again",
        )),
        other => other,
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Looks after a command until it ends, but for no longer than `limit`.
fn look(
    agent: &mut Connection<'_>,
    pid: i64,
    limit: Duration,
) -> Result<Option<Output>, ExecuteError> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let status = agent.execute(&guest_exec_status { pid }).map_err(lost)?;
        if status.exited {
            let status_or_signal = status
                .exitcode
                .or(status.signal.map(|signal| 128 + signal))
                .unwrap_or(-1);
            return Ok(Some(Output {
                status: i32::try_from(status_or_signal).unwrap_or(-1),
                stdout: status.out_data.unwrap_or_default(),
                stderr: status.err_data.unwrap_or_default(),
                truncated: status.out_truncated == Some(true) || status.err_truncated == Some(true),
            }));
        }
        if start.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(50));
    }
}
