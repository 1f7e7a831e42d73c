// SPDX-License-Identifier: GPL-2.0

//! The threads: one for each socket, two for each host that is connected, two that look
//! after the others.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tracing::{error, warn};

use crate::control;
use crate::fabric::Fabric;
use crate::link::Link;
use crate::session::{serve, Ended};
use crate::side::Side;
use crate::topology::Topology;

/// How often time is looked at; unanswered reads and stuck interrupts are given up at most this much late.
const TICK: Duration = Duration::from_millis(100);
/// Most connections to one socket at once; of those for a host, all but one have not said anything yet.
const MAX_CONNECTIONS: usize = 16;

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
        crate::trace::uptime();
        let fabric =
            Fabric::new(topology).map_err(|(link, error)| anyhow!("link '{link}': {error}"))?;
        let fabric = Arc::new(fabric);
        let mut server = Self {
            sockets: Vec::new(),
        };
        for (link, placed) in fabric.links().iter().zip(topology.links()) {
            for (side, end) in Side::BOTH.into_iter().zip(&placed.ends) {
                let link = link.clone();
                let name = format!("{} {}", end.name, link.name());
                server.listen(name, &end.socket, move |socket| {
                    serve_end(&link, side, socket);
                })?;
            }
        }
        if let Some(path) = control {
            let fabric = fabric.clone();
            server.listen("control".into(), &path, move |socket| {
                control::serve(&fabric, &socket);
            })?;
        }
        spawn("guard", {
            let fabric = fabric.clone();
            move || loop {
                thread::sleep(TICK);
                fabric.relieve();
            }
        })?;
        spawn("clock", move || loop {
            thread::sleep(TICK);
            fabric.tick();
        })?;
        Ok(server)
    }

    /// Listens on a socket and serves each connection to it in a thread of its own.
    fn listen(
        &mut self,
        name: String,
        path: &Path,
        serve: impl Fn(UnixStream) + Send + Sync + 'static,
    ) -> Result<()> {
        remove_stale(path).with_context(|| format!("{} is in the way", path.display()))?;
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        self.sockets.push(path.to_path_buf());
        spawn(&name.clone(), move || {
            accept(&name, &listener, &Arc::new(serve));
        })
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

/// Serves each connection in a thread of its own. `serve` is held by as many others as there are connections.
fn accept(
    name: &str,
    listener: &UnixListener,
    serve: &Arc<impl Fn(UnixStream) + Send + Sync + 'static>,
) {
    loop {
        let served = match listener.accept() {
            Ok(_) if Arc::strong_count(serve) > MAX_CONNECTIONS => {
                Err(anyhow!("there are {MAX_CONNECTIONS} already"))
            }
            Ok((socket, _)) => {
                let serve = serve.clone();
                spawn(name, move || serve(socket))
            }
            Err(error) => {
                // Out of descriptors, most likely: that may pass.
                thread::sleep(TICK);
                Err(error.into())
            }
        };
        if let Err(error) = served {
            error!(socket = name, %error, "connection turned away");
        }
    }
}

fn serve_end(link: &Link, side: Side, socket: UnixStream) {
    match serve(link, side, socket) {
        Ended::Closed => {}
        ended => {
            let host = &link.end(side).name;
            error!(link = link.name(), host, reason = %ended, "connection given up");
        }
    }
}

/// Removes a socket that a process has left behind, but nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::other("not a socket")),
        Ok(_) if is_listening(path)? => Err(io::Error::other("somebody listens there")),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_listening(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let connected = rustix::net::connect(&probe, &SocketAddrUnix::new(path)?);
    Ok(connected != Err(Errno::CONNREFUSED))
}
