// SPDX-License-Identifier: GPL-2.0

//! The two ends of the NTB that the script tests.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::{Bed, Host};

/// How long the link may take to come up after both drivers are loaded.
const LINK: Duration = Duration::from_secs(30);

/// One end.
pub struct End<'a> {
    /// The host it is in.
    pub host: &'a Host,
    /// Its device's name on the NTB bus and in debugfs.
    pub device: String,
}

impl End<'_> {
    /// Waits until its link is up.
    pub fn wait_up(&self) -> Result<()> {
        let command = format!("echo Y >{}", self.tool("peer0/link_event"));
        let output = self.host.sh_within(LINK, &command)?;
        ensure!(output.ok(), "{command}: {}", output.error_text());
        Ok(())
    }

    /// A file of `ntb_tool`'s in debugfs.
    pub fn tool(&self, file: &str) -> String {
        format!("/sys/kernel/debug/ntb_tool/{}/{file}", self.device)
    }
}

/// Both ends, in two hosts or in one.
pub struct Ends<'a> {
    /// Where the script runs.
    pub local: End<'a>,
    /// The other one.
    pub remote: End<'a>,
}

impl<'a> Ends<'a> {
    /// Loads the NTB's driver in all hosts, finds the devices, and waits for the link.
    pub fn find(bed: &'a Bed) -> Result<Self> {
        let mut ends = Vec::new();
        for host in bed.hosts() {
            host.load_ntb_drivers()?;
            let devices = host.sh_ok("ls /sys/bus/ntb/devices")?;
            ends.extend(devices.lines().map(|device| End {
                host,
                device: device.into(),
            }));
        }
        let ends = match <[End<'_>; 2]>::try_from(ends) {
            Ok([local, remote]) => Self { local, remote },
            Err(ends) => bail!("the drivers found {} NTB devices, not two", ends.len()),
        };
        for host in ends.hosts() {
            host.sh_ok("modprobe ntb_tool")?;
        }
        for end in ends.both() {
            // One end is enough for some drivers, and they refuse it at the other.
            let _ = end.host.try_write(&end.tool("link"), "Y")?;
        }
        for end in ends.both() {
            end.wait_up()?;
        }
        Ok(ends)
    }

    /// Both, the local one first.
    pub fn both(&self) -> [&End<'a>; 2] {
        [&self.local, &self.remote]
    }

    /// The hosts, each once.
    pub fn hosts(&self) -> Vec<&'a Host> {
        match self.remote_host() {
            Some(remote) => vec![self.local.host, remote],
            None => vec![self.local.host],
        }
    }

    /// The host that the script has to reach by `ssh`, if there is another one.
    pub fn remote_host(&self) -> Option<&'a Host> {
        (self.remote.host.name() != self.local.host.name()).then_some(self.remote.host)
    }

    /// Opens the connection that the script's many `ssh` commands will share.
    pub fn connect(&self) -> Result<()> {
        let Some(remote) = self.remote_host() else {
            return Ok(());
        };
        self.local
            .host
            .sh_ok(&format!(
                "ssh -fNM {} </dev/null &>/run/ssh.log || {{ cat /run/ssh.log; false; }}",
                remote.name()
            ))
            .with_context(|| format!("reaching the {} by ssh", remote.name()))
            .map(drop)
    }
}
