// SPDX-License-Identifier: GPL-2.0

//! The control socket: a line asks, a line of JSON answers.
//!
//! A question is `{"cmd":"counters"}` or the bare word, which is easier to type.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tracing::debug;

use crate::fabric::Fabric;
use crate::link::Link;
use crate::patience::Patient;
use crate::side::Side;

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 4096;
/// How long a client may take to send one or to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Query {
    /// What has crossed so far, by link, host and window.
    Counters,
    /// By link: who is connected, and where the windows point.
    State,
}

#[derive(Serialize, Deserialize)]
struct Request {
    cmd: Query,
}

/// Answers a client until it goes or takes too long.
pub fn serve(fabric: &Fabric, client: &UnixStream) {
    if let Err(error) = converse(fabric, client) {
        debug!(%error, "control connection");
    }
}

/// Asks a running process and returns its answer.
///
/// # Errors
///
/// It cannot be reached, or it does not like the question.
pub fn ask(path: &Path, query: Query) -> Result<Value> {
    let mut socket = UnixStream::connect(path)
        .with_context(|| format!("cannot connect to {}", path.display()))?;
    let mut line = serde_json::to_vec(&Request { cmd: query })?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer).context("the answer is not JSON")?;
    if let Some(error) = answer.get("error") {
        bail!("refused: {error}");
    }
    Ok(answer)
}

fn converse(fabric: &Fabric, mut client: &UnixStream) -> Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(Patient::new(client, Instant::now()));
    loop {
        reader.get_mut().deadline = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        if reader
            .by_ref()
            .take(MAX_REQUEST)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(());
        }
        let answer = match understand(&line) {
            Ok(query) => answer(fabric, query),
            Err(error) => json!({ "error": error.to_string() }),
        };
        let mut bytes = serde_json::to_vec(&answer)?;
        bytes.push(b'\n');
        client.write_all(&bytes)?;
        if line.last() != Some(&b'\n') {
            bail!("a request of more than {MAX_REQUEST} bytes, or an unfinished one");
        }
    }
}

fn understand(line: &[u8]) -> serde_json::Result<Query> {
    let line = line.trim_ascii();
    if line.starts_with(b"{") {
        return serde_json::from_slice(line).map(|Request { cmd }| cmd);
    }
    Query::deserialize(Value::String(String::from_utf8_lossy(line).into_owned()))
}

/// The answer to a question.
pub fn answer(fabric: &Fabric, query: Query) -> Value {
    match query {
        Query::Counters => counters(fabric),
        Query::State => state(fabric),
    }
}

fn counters(fabric: &Fabric) -> Value {
    let links = fabric.links().iter().map(|link| {
        let ends = Side::BOTH.map(|side| {
            let end = link.end(side);
            (end.name.clone(), json!(end.counters))
        });
        (
            link.name().to_owned(),
            Value::Object(ends.into_iter().collect()),
        )
    });
    Value::Object(links.collect())
}

fn state(fabric: &Fabric) -> Value {
    let links = fabric.links().iter().map(|link| {
        let ends = Side::BOTH.map(|side| (link.end(side).name.clone(), end_state(link, side)));
        let state = json!({
            "family": link.family(),
            "up": link.model().link(),
            "ends": Value::Object(ends.into_iter().collect()),
        });
        (link.name().to_owned(), state)
    });
    Value::Object(links.collect())
}

fn end_state(link: &Link, side: Side) -> Value {
    let end = link.end(side);
    let model = link.model();
    let windows: Vec<Value> = (0..)
        .zip(&end.counters.windows)
        .map(|(window, counters)| {
            let open: Vec<Value> = model
                .openings(side, window)
                .iter()
                .map(|opening| {
                    json!({
                        "offset": opening.offset,
                        "size": opening.size,
                        "address": format!("{:#x}", opening.address),
                    })
                })
                .collect();
            json!({
                "size": link.layout().window(window),
                "open": open,
                "direct": counters.direct,
            })
        })
        .collect();
    let (ready, bus_master) = (model.ready(side), model.bus_master(side));
    drop(model);
    json!({
        "side": side.to_string(),
        "connected": end.connection().is_some(),
        "ready": ready,
        "bus_master": bus_master,
        "memory_ranges": end.memory.ranges(),
        "stale": end.is_stale(),
        "windows": windows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        assert_eq!(
            understand(b"{\"cmd\":\"counters\"}\n").unwrap(),
            Query::Counters
        );
        assert_eq!(understand(b"state\n").unwrap(), Query::State);
        for bad in [
            &b""[..],
            b"\n",
            b"{}",
            b"{\"cmd\":3}",
            b"reset",
            b"\xff\xfe",
            b"[]",
        ] {
            assert!(understand(bad).is_err());
        }
    }
}
