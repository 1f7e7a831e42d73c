// SPDX-License-Identifier: GPL-2.0

//! The control socket: a line asks, a line of JSON answers.
//!
//! A question is `{"cmd":"counters"}` or the bare word, which is easier to type.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tracing::debug;

use crate::amd::{Side, WINDOWS};
use crate::ntb::Ntb;

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 4096;
/// How long a client may take to send one or to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Query {
    /// What has crossed the bridge so far, by host and window.
    Counters,
    /// Who is connected, and where the windows point.
    State,
}

#[derive(Serialize, Deserialize)]
struct Request {
    cmd: Query,
}

/// Answers clients, one after the other.
pub fn serve(ntb: &Ntb, listener: &UnixListener) {
    for client in listener.incoming() {
        if let Err(error) = client
            .map_err(Into::into)
            .and_then(|client| converse(ntb, client))
        {
            debug!(%error, "control connection");
        }
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

fn converse(ntb: &Ntb, client: UnixStream) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(&client);
    loop {
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
            Ok(query) => answer(ntb, query),
            Err(error) => json!({ "error": error.to_string() }),
        };
        let mut bytes = serde_json::to_vec(&answer)?;
        bytes.push(b'\n');
        (&client).write_all(&bytes)?;
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
pub fn answer(ntb: &Ntb, query: Query) -> Value {
    match query {
        Query::Counters => counters(ntb),
        Query::State => state(ntb),
    }
}

fn counters(ntb: &Ntb) -> Value {
    let hosts = Side::BOTH.map(|side| {
        let host = ntb.host(side);
        (host.name.clone(), json!(host.counters))
    });
    Value::Object(hosts.into_iter().collect())
}

fn state(ntb: &Ntb) -> Value {
    let hosts = Side::BOTH.map(|side| {
        let host = ntb.host(side);
        let registers = ntb.registers();
        let windows: Vec<Value> = (0..WINDOWS)
            .map(|window| {
                json!({
                    "size": ntb.layout().window(window),
                    "xlat": format!("{:#x}", registers.translation(side, window)),
                    "limit": format!("{:#x}", registers.limit(side, window)),
                    "direct": host.counters.windows.get(window).is_some_and(|window| window.direct.get()),
                })
            })
            .collect();
        let ready = registers.ready(side);
        drop(registers);
        let state = json!({
            "side": format!("{side:?}").to_lowercase(),
            "connected": host.connection().is_some(),
            "ready": ready,
            "bus_master": host.bus_master(),
            "memory_ranges": host.memory.ranges(),
            "stale": host.is_stale(),
            "windows": windows,
        });
        (host.name.clone(), state)
    });
    json!({ "link": ntb.registers().link(), "hosts": Value::Object(hosts.into_iter().collect()) })
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
