// SPDX-License-Identifier: GPL-2.0

//! The hosts: a lender with an NVMe, and a borrower with one of its own, of the same model.

use std::time::Duration;

use anyhow::{Context, Result};
use devlend_bed::devlend::{Lender, Link, Offer};
use devlend_bed::{Bed, Environment, Family, Host, Options};

use crate::report::Setting;

/// The NVMe of either host.
pub const NVME: &str = "0000:00:03.0";
/// Bytes of each disk.
const DISK: u64 = 64 << 20;
const LIMIT: Duration = Duration::from_secs(120);

/// Two hosts with the link up.
pub struct Hosts<'a> {
    /// Both of them.
    pub bed: &'a Bed,
    /// The lender's end.
    pub at_lender: Link<'a>,
    /// The borrower's end.
    pub at_borrower: Link<'a>,
    /// The disk that is the borrower's own: its device file.
    pub local: String,
}

/// The lender's disk in the borrower.
pub struct Borrowed {
    /// Its PCI address there.
    pub address: String,
    /// Its device file there.
    pub disk: String,
}

impl<'a> Hosts<'a> {
    /// Starts hosts in a run directory of their own.
    pub fn start(family: Family) -> Result<Bed> {
        let mut run_dir = Environment::find()?.run_dir.into_os_string();
        run_dir.push("-bench");
        let mut options = Options::pair(family);
        options.run_dir = Some(run_dir.into());
        for host in &mut options.hosts {
            host.nvme = Some(DISK);
        }
        Bed::start(options)
    }

    /// Brings the link up.
    pub fn of(bed: &'a Bed) -> Result<Self> {
        let mut local = None;
        for name in ["lender", "borrower"] {
            let host = bed.host(name)?;
            host.sh_ok("modprobe nvme")?;
            local = Some(host.wait_nvme(NVME, LIMIT)?);
        }
        let (at_lender, at_borrower) = bed.bring_up()?;
        Ok(Self {
            bed,
            at_lender,
            at_borrower,
            local: local.context("no disk")?,
        })
    }

    /// The host that borrows.
    pub fn borrower(&self) -> &'a Host {
        self.at_borrower.host()
    }

    /// The lender's files.
    pub fn lending(&self) -> Lender<'a> {
        Lender(self.at_lender.host())
    }

    /// What the lender offers, as the borrower sees it.
    pub fn offer(&self) -> Offer<'_> {
        self.at_borrower.offer(NVME)
    }

    /// Lends the disk, as it has to be done without an IOMMU, and borrows it.
    pub fn borrow(&self) -> Result<Borrowed> {
        self.lending().lend(&format!("{NVME} unsafe"))?;
        let address = self.offer().borrow()?;
        let disk = self.borrower().wait_nvme(&address, LIMIT)?;
        Ok(Borrowed { address, disk })
    }

    /// Gives everything back.
    pub fn end(&self) -> Result<()> {
        self.offer().give_back()?;
        self.lending().reclaim(NVME)
    }

    /// What the hosts are like.
    pub fn setting(&self) -> Result<Setting> {
        let options = self.bed.options();
        Ok(Setting {
            kernel: self.borrower().sh_ok("uname -r")?,
            accelerator: options.accel.clone(),
            ntb: options
                .links
                .iter()
                .map(|link| link.family.name().to_string())
                .collect(),
        })
    }
}
