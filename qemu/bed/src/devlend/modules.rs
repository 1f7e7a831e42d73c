// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading devlend's modules.

use std::time::Duration;

use anyhow::{Context, Result};

use super::link::Link;
use crate::host::Host;
use crate::options::driver_modules;
use crate::times::{self, Kind};
use crate::Bed;

/// What a host does with devlend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It lends devices.
    Lender,
    /// It borrows devices.
    Borrower,
}

impl Role {
    /// The module that plays the role.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Lender => "devlend_lender",
            Self::Borrower => "devlend_borrower",
        }
    }
}

impl Host {
    /// Loads the NTB's driver, `devlend_ntb` and the module of a role; those that are loaded already stay.
    ///
    /// # Errors
    ///
    /// A module is missing or does not load: the error holds the kernel's last log lines.
    pub fn load(&self, role: Role) -> Result<()> {
        self.insert(&["devlend_ntb", role.module()])
    }

    /// The modules that drive this host's NTBs, in the order of loading.
    #[must_use]
    pub fn ntb_drivers(&self) -> Vec<&'static str> {
        let mut modules: Vec<&str> = Vec::new();
        for family in &self.families {
            for module in driver_modules(*family) {
                if !modules.contains(module) {
                    modules.push(module);
                }
            }
        }
        modules
    }

    /// The PCI address of the host's NTB, if it has just one.
    pub(crate) fn only_ntb(&self) -> Option<String> {
        match &*self.ntbs {
            [address] => Some(address.clone()),
            _ => None,
        }
    }

    /// Loads the drivers of the host's NTBs.
    ///
    /// # Errors
    ///
    /// One is missing or does not load.
    pub fn load_ntb_drivers(&self) -> Result<()> {
        self.sh_ok(&modprobe(&self.ntb_drivers())).map(drop)
    }

    /// Loads the NTB's driver and `devlend_ntb`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_ntb(&self) -> Result<()> {
        self.insert(&["devlend_ntb"])
    }

    /// Loads one of the kernel's own modules, unless it is loaded.
    ///
    /// # Errors
    ///
    /// It is missing or does not load.
    pub fn modprobe(&self, module: &str) -> Result<()> {
        if self.is_loaded(module)? {
            return Ok(());
        }
        self.sh_ok(&format!("modprobe {module}")).map(drop)
    }

    fn is_loaded(&self, module: &str) -> Result<bool> {
        let state = self.try_read(&format!("/sys/module/{module}/initstate"))?;
        Ok(state.is_ok_and(|state| state == "live"))
    }

    fn insert(&self, modules: &[&str]) -> Result<()> {
        let mut all = self.ntb_drivers();
        all.extend(modules);
        let mut missing = false;
        for module in all {
            missing |= !self.is_loaded(module)?;
        }
        if !missing {
            return Ok(());
        }
        let words = modules.join(" ");
        // In one command: a command costs more than loading a module.
        let drivers = modprobe(&self.ntb_drivers());
        self.sh_ok(&format!(
            "{drivers} || exit 1; for module in {words}; do \
             [ -d /sys/module/$module ] || insmod /devlend/$module.ko || {{ dmesg | tail -n 5 >&2; exit 1; }}; done"
        ))
        .with_context(|| format!("loading {words} (built by 'make modules'?)"))
        .map(drop)
    }

    /// Unloads devlend's modules and the NTB's driver, those that are loaded.
    ///
    /// # Errors
    ///
    /// A module is in use, or its exit takes more than a minute.
    pub fn unload(&self) -> Result<()> {
        let drivers: Vec<&str> = self.ntb_drivers().into_iter().rev().collect();
        let command = format!(
            "for module in devlend_borrower devlend_lender devlend_ntb {} ntb; do \
             [ ! -d /sys/module/$module ] || rmmod $module || exit 1; done",
            drivers.join(" ")
        );
        let output = self
            .sh_within(Duration::from_secs(60), &command)
            .context("unloading devlend")?;
        self.expect_ok(&command, &output)
    }
}

/// A command that loads modules, in order.
fn modprobe(modules: &[&str]) -> String {
    let commands: Vec<String> = modules
        .iter()
        .map(|module| format!("modprobe {module}"))
        .collect();
    commands.join(" && ")
}

impl Bed {
    /// One end of a link by the link's name, as devlend in that host sees it. Waits for it to appear, for up to 10 s.
    ///
    /// # Errors
    ///
    /// There is no such host or link, or it does not appear.
    pub fn link_at(&self, host: &str, link: &str) -> Result<Link<'_>> {
        let slots = self.options().slots(host);
        let slot = slots
            .iter()
            .find(|slot| slot.link.name == link)
            .with_context(|| format!("host '{host}' has no link '{link}'"))?;
        Link::at(self.host(host)?, &slot.address())
    }

    /// Loads both roles' modules and waits until the link is up on both sides.
    ///
    /// # Errors
    ///
    /// A module does not load, or the link is not up after 30 s.
    pub fn bring_up(&self) -> Result<(Link<'_>, Link<'_>)> {
        let lender = self.host("lender")?;
        let borrower = self.host("borrower")?;
        times::spend(Kind::Modules, || {
            lender.load(Role::Lender)?;
            borrower.load(Role::Borrower)?;
            let at_lender = Link::of(lender)?;
            let at_borrower = Link::of(borrower)?;
            for link in [&at_lender, &at_borrower] {
                link.wait_state("up", Duration::from_secs(30))?;
            }
            Ok((at_lender, at_borrower))
        })
    }
}
