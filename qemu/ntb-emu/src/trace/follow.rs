// SPDX-License-Identifier: GPL-2.0

//! Watching a running process from another one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Line;
use crate::control;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Only this link.
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// End after so many transactions.
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What to watch, and what to do with it.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// What to watch.
    #[command(flatten)]
    pub request: Request,
    /// Write lines of JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print lines of JSON on a terminal, too.
    #[arg(long)]
    pub json: bool,
}

/// Lines from a running process, as they come.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<UnixStream>,
    first: Option<Line>,
}

impl Lines {
    /// Begins to watch the process with this control socket: what happens after this has returned is seen. The first line
    /// has the kind `Start`.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or it refuses: then the error is what it says.
    pub fn of(control: &Path, request: Request) -> Result<Self> {
        let socket = control::connect(control, &control::Request::Trace(request))?;
        let mut lines = Self {
            reader: BufReader::new(socket),
            first: None,
        };
        lines.first = lines.read()?;
        Ok(lines)
    }

    fn read(&mut self) -> Result<Option<Line>> {
        let mut text = String::new();
        if self.reader.read_line(&mut text)? == 0 {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(&text).context("a line is not JSON")?;
        if let Some(error) = value.get("error") {
            bail!("refused: {}", error.as_str().unwrap_or_default());
        }
        serde_json::from_value(value)
            .with_context(|| format!("a line is not understood: {text}"))
            .map(Some)
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.first.take() {
            Some(line) => Some(Ok(line)),
            None => self.read().transpose(),
        }
    }
}

/// Writes what happens in a running process to a file or to standard output, until there is enough or nobody reads it.
///
/// # Errors
///
/// The process cannot be watched, or the file not be written.
pub fn follow(control: &Path, options: &Options) -> Result<()> {
    let stdout = io::stdout();
    let json = options.json || options.out.is_some() || !stdout.is_terminal();
    let mut out: Box<dyn Write> = match &options.out {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(stdout.lock())),
    };
    let mut lines = Lines::of(control, options.request.clone())?;
    while let Some(line) = lines.next() {
        let line = line?;
        let text = if json {
            serde_json::to_string(&line)?
        } else {
            line.to_string()
        };
        // What has come is shown before waiting for more.
        let idle = lines.reader.buffer().is_empty();
        let written =
            writeln!(out, "{text}").and_then(|()| if idle { out.flush() } else { Ok(()) });
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("writing the trace")?,
        }
    }
    out.flush().context("writing the trace")
}
