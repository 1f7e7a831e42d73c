// SPDX-License-Identifier: GPL-2.0

//! QEMU's own control connection (QMP).

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use qapi::qmp::QmpCommand;
use qapi::Qmp;

/// Executes one command in a connection of its own.
pub(crate) fn execute<C: QmpCommand>(socket: &Path, command: &C) -> Result<C::Ok> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("connecting to {}: is the host on?", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut monitor = Qmp::from_stream(&stream);
    monitor.handshake().context("greeting QEMU")?;
    monitor
        .execute(command)
        .with_context(|| format!("QEMU's command {}", C::NAME))
}
