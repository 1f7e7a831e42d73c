// SPDX-License-Identifier: GPL-2.0

//! The threads: one for each end of each link, one for the clock, one for the control socket.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use tracing::{error, warn};

use crate::control;
use crate::fabric::Fabric;
use crate::link::Link;
use crate::session::{serve, Ended};
use crate::side::Side;
use crate::topology::Topology;

/// How often unanswered reads are looked for; they are given up at most this much late.
const TICK: Duration = Duration::from_millis(100);

/// A running process. When it is dropped, its sockets are removed.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<PathBuf>,
}

impl Server {
    /// Listens on a socket for each end of each link, and on the control socket, and starts to serve.
    ///
    /// # Errors
    ///
    /// A link's family cannot have its windows, a socket cannot be made or a thread not be started.
    pub fn start(topology: &Topology, control: Option<PathBuf>) -> Result<Self> {
        let fabric =
            Fabric::new(topology).map_err(|(link, error)| anyhow!("link '{link}': {error}"))?;
        let fabric = Arc::new(fabric);
        let mut server = Self {
            sockets: Vec::new(),
        };
        for (link, placed) in fabric.links().iter().zip(topology.links()) {
            for (side, end) in Side::BOTH.into_iter().zip(&placed.ends) {
                let listener = server.listen(&end.socket)?;
                let link = link.clone();
                spawn(&format!("{} {}", end.name, link.name()), move || {
                    serve_end(&link, side, &listener)
                })?;
            }
        }
        if let Some(path) = control {
            let listener = server.listen(&path)?;
            let fabric = fabric.clone();
            spawn("control", move || control::serve(&fabric, &listener))?;
        }
        spawn("clock", move || loop {
            thread::sleep(TICK);
            fabric.expire();
        })?;
        Ok(server)
    }

    fn listen(&mut self, path: &Path) -> Result<UnixListener> {
        remove_stale(path).with_context(|| format!("{} is in the way", path.display()))?;
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        self.sockets.push(path.to_path_buf());
        Ok(listener)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for path in &self.sockets {
            if let Err(error) = std::fs::remove_file(path) {
                warn!(path = %path.display(), %error, "socket not removed");
            }
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(body);
    started.with_context(|| format!("cannot start thread {name}"))?;
    Ok(())
}

/// One virtual machine after the other: the next can connect when the last one has gone.
fn serve_end(link: &Link, side: Side, listener: &UnixListener) {
    let (name, host) = (link.name(), &link.end(side).name);
    loop {
        match listener.accept() {
            Ok((socket, _)) => match serve(link, side, socket) {
                Ended::Closed => {}
                ended => error!(link = name, host, reason = %ended, "connection given up"),
            },
            Err(error) => {
                // Out of descriptors, most likely: that may pass.
                error!(link = name, host, %error, "cannot accept a connection");
                thread::sleep(TICK);
            }
        }
    }
}

/// Removes a socket that a process has left behind, but nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::other("not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
