// SPDX-License-Identifier: GPL-2.0

//! The first message: which version of the protocol, and what each side can take.

use std::time::Duration;

use rustix::io::Errno;
use serde_json::json;
use tracing::debug;
use zerocopy::IntoBytes;

use super::{Ended, Session};
use crate::link::reply;
use crate::socket::MAX_FDS;
use crate::wire::{Header, Version, MAX_TRANSFER};

/// How long to wait for an earlier connection of the host to end: what a killed QEMU has sent is carried out first, which
/// may include waiting for its peer's RAM. A QEMU waits 5 s for us.
const PATIENCE: Duration = Duration::from_millis(4500);

impl Session<'_> {
    pub(super) fn version(
        &mut self,
        header: &Header,
        version: Version,
        data: &[u8],
    ) -> Result<(), Ended> {
        let (major, minor) = (version.major.get(), version.minor.get());
        if self.place.is_some() {
            return Err(Ended::SecondVersion);
        }
        if major != 0 {
            return Err(Ended::Version(major, minor));
        }
        debug!(host = self.name(), major, minor, capabilities = %String::from_utf8_lossy(data), "version");
        let ours = Version {
            major: 0.into(),
            minor: 0.into(),
        };
        let capabilities = capabilities(data);
        let Some(place) = self.link.end(self.side).place.take(PATIENCE) else {
            self.refuse(header, Errno::BUSY);
            return Err(Ended::Taken);
        };
        self.place = Some(place);
        reply(&self.connection, header, [ours.as_bytes(), &capabilities]);
        self.link.connected(&self.connection);
        Ok(())
    }
}

/// Our capabilities, in reply to the client's: only what it has named itself, so that the reply is not longer than the
/// request, for which QEMU has no room.
fn capabilities(theirs: &[u8]) -> Vec<u8> {
    let text = theirs.split(|byte| *byte == 0).next().unwrap_or_default();
    let theirs: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let mut ours = json!({
        "max_msg_fds": MAX_FDS,
        "max_data_xfer_size": MAX_TRANSFER,
        "write_multiple": true,
    });
    if let Some(ours) = ours.as_object_mut() {
        ours.retain(|name, _| theirs["capabilities"].get(name).is_some());
    }
    if text.is_empty() {
        return Vec::new();
    }
    let mut bytes = json!({ "capabilities": ours }).to_string().into_bytes();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_client_knows_is_announced() {
        assert_eq!(capabilities(b""), b"");
        assert_eq!(capabilities(b"\0"), b"");
        assert_eq!(capabilities(b"not JSON\0"), b"{\"capabilities\":{}}\0");
        assert_eq!(
            capabilities(b"{\"capabilities\":[]}\0"),
            b"{\"capabilities\":{}}\0"
        );
        let qemu = br#"{"capabilities": {"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "max_msg_fds": 16, "max_data_xfer_size": 1048576, "pgsizes": 4096, "max_dma_maps": 65535, "write_multiple": true}}"#;
        let ours = capabilities(qemu);
        assert_eq!(
            ours,
            b"{\"capabilities\":{\"max_data_xfer_size\":1048576,\"max_msg_fds\":16,\"write_multiple\":true}}\0"
        );
        assert!(ours.len() <= qemu.len());
    }
}
