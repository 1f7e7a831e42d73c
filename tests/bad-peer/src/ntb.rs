// SPDX-License-Identifier: GPL-2.0

//! The NTB: scratchpads, doorbells and link by the files of the kernel's `ntb_tool`, windows by the BARs.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use devlend_protocol::SCRATCHPADS;

use crate::memory::Memory;

/// Doorbell: there are requests in your ring.
pub const REQUEST: u64 = 1 << 0;
/// Doorbell: my scratchpads have changed.
pub const HANDSHAKE: u64 = 1 << 1;

/// An NTB whose driver is bound, with `ntb_tool` loaded.
pub struct Ntb {
    device: PathBuf,
    own: Vec<File>,
    peer: Vec<File>,
    doorbell: File,
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.with_context(|| format!("opening {} (is ntb_tool loaded?)", path.display()))
}

/// The words of an announcement, as they are in the scratchpads.
pub type Words = [u32; SCRATCHPADS];

impl Ntb {
    /// The NTB at a PCI address. Waits until the link is up, which the caller's limit has to end.
    pub fn open(address: &str) -> Result<Self> {
        let tool = PathBuf::from("/sys/kernel/debug/ntb_tool").join(address);
        // The other side may be the one that brings it up.
        let _ = fs::write(tool.join("link"), "Y");
        fs::write(tool.join("peer0/link_event"), "Y").context("waiting for the link")?;
        let pads = |prefix: &str| -> Result<Vec<File>> {
            (0..SCRATCHPADS)
                .map(|index| open(&tool.join(format!("{prefix}{index}"))))
                .collect()
        };
        Ok(Self {
            device: Path::new("/sys/bus/pci/devices").join(address),
            own: pads("spad")?,
            peer: pads("peer0/spad")?,
            doorbell: open(&tool.join("peer_db"))?,
        })
    }

    /// What the peer has written for us.
    pub fn scratchpads(&self) -> Result<Words> {
        let mut words = [0; SCRATCHPADS];
        for (word, file) in words.iter_mut().zip(&self.own) {
            let mut bytes = [0; 32];
            let length = file
                .read_at(&mut bytes, 0)
                .context("reading a scratchpad")?;
            let text = String::from_utf8_lossy(&bytes[..length]);
            let digits = text.trim().trim_start_matches("0x");
            *word = u32::from_str_radix(digits, 16)
                .with_context(|| format!("scratchpad holds '{text}'"))?;
        }
        Ok(words)
    }

    /// Writes one of the peer's scratchpads.
    pub fn set_scratchpad(&self, index: usize, value: u32) -> Result<()> {
        let file = self.peer.get(index).context("no such scratchpad")?;
        let text = format!("{value:#x}");
        file.write_at(text.as_bytes(), 0)
            .context("writing a scratchpad")?;
        Ok(())
    }

    /// Rings doorbells of the peer's.
    pub fn ring(&self, bits: u64) -> Result<()> {
        let text = format!("s {bits:#x}");
        self.doorbell
            .write_at(text.as_bytes(), 0)
            .context("ringing")?;
        Ok(())
    }

    /// One of the windows through which we see the peer's memory.
    pub fn window(&self, index: u8) -> Result<Memory> {
        let driver = fs::read_link(self.device.join("driver")).context("the NTB has no driver")?;
        let driver = driver.file_name().unwrap_or_default().to_string_lossy();
        let bars: &[u8] = match &*driver {
            "ntb_hw_amd" => &[1, 2, 4],
            "ntb_hw_intel" => &[2, 4],
            _ => bail!("which BARs are windows under {driver} is not known here"),
        };
        let bar = bars
            .get(usize::from(index))
            .with_context(|| format!("there is no window {index}"))?;
        Memory::bar(&self.device.join(format!("resource{bar}")))
    }
}
