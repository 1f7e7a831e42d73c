// SPDX-License-Identifier: GPL-2.0

//! The control socket: a line asks, a line of JSON answers.
//!
//! A request is `{"cmd":"counters"}`, `{"cmd":"state"}`, `{"cmd":"fault", ...}` with a [`fault::Request`], or
//! `{"cmd":"trace", ...}` with a [`trace::Request`]; the last one is answered by many lines, and is a client's last. What
//! needs nothing else may be a bare word, which is easier to type.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tracing::debug;

use crate::fabric::Fabric;
use crate::fault;
use crate::link::Link;
use crate::patience::Patient;
use crate::side::Side;
use crate::trace::{self, Kind, Line, Seen};

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 4096;
/// How often to see whether a client that watches is still there.
const LOOK_UP: Duration = Duration::from_millis(200);
/// How long a client may take to send one or to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Query {
    /// What has crossed so far, by link, host and window.
    Counters,
    /// By link: who is connected, where the windows point, and what is made to go wrong.
    State,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase")]
pub enum Request {
    /// [`Query::Counters`].
    Counters,
    /// [`Query::State`].
    State,
    /// To make something go wrong.
    Fault(fault::Request),
    /// To be told what crosses, a line a transaction, until the client goes.
    Trace(trace::Request),
}

impl From<Query> for Request {
    fn from(query: Query) -> Self {
        match query {
            Query::Counters => Self::Counters,
            Query::State => Self::State,
        }
    }
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
/// It cannot be reached, or it refuses: then the error is what it says.
pub fn ask(path: &Path, request: &Request) -> Result<Value> {
    let socket = connect(path, request)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    BufReader::new(socket)
        .read_line(&mut answer)
        .with_context(|| format!("no answer from {}", path.display()))?;
    let answer: Value = serde_json::from_str(&answer).context("the answer is not JSON")?;
    match answer.get("error") {
        Some(Value::String(error)) => bail!("refused: {error}"),
        Some(error) => bail!("refused: {error}"),
        None => Ok(answer),
    }
}

/// Asks a running process; what it answers comes out of the socket.
///
/// # Errors
///
/// It cannot be reached.
pub fn connect(path: &Path, request: &Request) -> Result<UnixStream> {
    let mut socket = UnixStream::connect(path)
        .with_context(|| format!("cannot connect to {}", path.display()))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    Ok(socket)
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
            Ok(Request::Trace(request)) => match stream(fabric, client, &request) {
                Ok(ended) => return ended,
                Err(error) => json!({ "error": error.to_string() }),
            },
            Ok(request) => answer(fabric, &request),
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

fn understand(line: &[u8]) -> serde_json::Result<Request> {
    let line = line.trim_ascii();
    if line.starts_with(b"{") {
        return serde_json::from_slice(line);
    }
    Query::deserialize(Value::String(String::from_utf8_lossy(line).into_owned())).map(Into::into)
}

/// The answer to a request.
pub fn answer(fabric: &Fabric, request: &Request) -> Value {
    match request {
        Request::Counters => counters(fabric),
        Request::State => state(fabric),
        // It has no single answer.
        Request::Trace(_) => Value::Null,
        Request::Fault(request) => match inject(fabric, request) {
            Ok(link) => json!({ "link": link.name(), "faults": faults(link) }),
            Err(error) => json!({ "error": error.to_string() }),
        },
    }
}

/// Tells a client what crosses, until it goes, or has got as much as it wants.
fn stream(
    fabric: &Fabric,
    client: &UnixStream,
    request: &trace::Request,
) -> Result<Result<()>, fault::FaultError> {
    let links = match &request.link {
        Some(name) => vec![fabric.link(Some(name))?],
        None => fabric.links().iter().collect(),
    };
    Ok(watch(client, &links, request.count.unwrap_or(u64::MAX)))
}

fn watch(client: &UnixStream, links: &[&Arc<Link>], mut left: u64) -> Result<()> {
    // Who reads slowly misses records, but is not given up.
    client.set_write_timeout(None)?;
    let mut out = BufWriter::new(client);
    let (feed, mut records) = trace::channel(trace::QUEUE);
    let _watching: Vec<_> = links.iter().map(|link| link.watch(feed.clone())).collect();
    drop(feed);
    write_line(&mut out, &first_line(links))?;
    // What has come is sent before waiting for more.
    let mut time = Duration::ZERO;
    while left > 0 {
        let line = match records.next(time) {
            Seen::Record(record) => {
                left -= 1;
                Line::from(&*record)
            }
            Seen::Dropped(count) => Line {
                count: Some(count),
                ..Line::of(Kind::Dropped)
            },
            Seen::Nothing if time.is_zero() => {
                out.flush()?;
                time = LOOK_UP;
                continue;
            }
            Seen::Nothing if has_gone(client)? => break,
            Seen::Nothing => continue,
            Seen::End => break,
        };
        time = Duration::ZERO;
        write_line(&mut out, &line)?;
    }
    Ok(out.flush()?)
}

fn first_line(links: &[&Arc<Link>]) -> Line {
    let unseen = links.iter().flat_map(|link| {
        let windows = link.beyond_reach().into_iter();
        windows.map(|(host, window)| (link.name().to_owned(), host.to_owned(), window))
    });
    Line {
        links: links.iter().map(|link| link.name().to_owned()).collect(),
        unseen: unseen.collect(),
        ..Line::of(Kind::Start)
    }
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    Ok(out.write_all(b"\n")?)
}

/// Whether a client has closed its end. It may have said that it will not ask for more, which is not the same.
fn has_gone(client: &UnixStream) -> Result<bool> {
    let mut fds = [PollFd::new(client, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut fds, Some(&now))?;
    Ok(fds
        .iter()
        .any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR)))
}

fn inject<'a>(
    fabric: &'a Fabric,
    request: &fault::Request,
) -> Result<&'a Arc<Link>, fault::FaultError> {
    let link = fabric.link(request.link.as_deref())?;
    link.inject(&request.fault)?;
    Ok(link)
}

/// The active faults, and what they do not concern.
fn faults(link: &Link) -> Value {
    let mut faults = json!(link.active_faults());
    let direct: Vec<Value> = link
        .beyond_reach()
        .into_iter()
        .map(|(host, window)| json!({ "host": host, "window": window }))
        .collect();
    match faults.as_object_mut() {
        Some(active) if !active.is_empty() && !direct.is_empty() => {
            active.insert("not_concerned".into(), direct.into());
        }
        _ => {}
    }
    faults
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
            "faults": faults(link),
            "watchers": link.watchers(),
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
    fn requests() {
        for (line, expected) in [
            (&b"{\"cmd\":\"counters\"}\n"[..], Request::Counters),
            (b"state\n", Request::State),
            (
                b"{\"cmd\":\"fault\",\"link\":\"ab\",\"fault\":\"down\"}\n",
                Request::Fault(fault::Request {
                    link: Some("ab".into()),
                    fault: fault::Fault::Down,
                }),
            ),
        ] {
            assert_eq!(understand(line).unwrap(), expected);
        }
        for bad in [
            &b""[..],
            b"\n",
            b"{}",
            b"{\"cmd\":3}",
            b"reset",
            b"fault",
            b"{\"cmd\":\"fault\"}",
            b"{\"cmd\":\"fault\",\"fault\":\"down\",\"lnk\":\"ab\"}",
            b"\xff\xfe",
            b"[]",
        ] {
            assert!(understand(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
