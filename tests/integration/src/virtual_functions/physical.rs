// SPDX-License-Identifier: GPL-2.0

//! The physical function, which stays with the lender.

use anyhow::Result;
use devlend_bed::{Errno, Host};

use super::LIMIT;

/// A physical function of a host's.
pub struct Physical<'a> {
    pub host: &'a Host,
    pub address: String,
}

impl<'a> Physical<'a> {
    /// The function that is below the root port.
    pub fn find(host: &'a Host, driver: &str) -> Result<Self> {
        host.sh_ok(&format!("modprobe {driver}"))?;
        let address = host.sh_ok("cd /sys/bus/pci/devices/0000:00:04.0 && ls -d ????:??:00.0")?;
        host.wait_bound(&address, LIMIT)?;
        Ok(Self { host, address })
    }

    pub fn file(&self, name: &str) -> String {
        format!("/sys/bus/pci/devices/{}/{name}", self.address)
    }

    /// Enables two virtual functions, which no driver of this host's gets; returns their addresses.
    pub fn enable(&self) -> Result<[String; 2]> {
        self.host
            .write(&self.file("sriov_drivers_autoprobe"), "0")?;
        self.host.write(&self.file("sriov_numvfs"), "2")?;
        let address = |number| {
            let link = self.file(&format!("virtfn{number}"));
            self.host.sh_ok(&format!("basename $(readlink -e {link})"))
        };
        Ok([address(0)?, address(1)?])
    }

    /// Disables them.
    pub fn try_disable(&self) -> Result<std::result::Result<(), Errno>> {
        self.host.try_write(&self.file("sriov_numvfs"), "0")
    }

    pub fn enabled(&self) -> Result<String> {
        self.host.read(&self.file("sriov_numvfs"))
    }
}
