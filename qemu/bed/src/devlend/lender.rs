// SPDX-License-Identifier: GPL-2.0

//! The lending side's files.

use std::time::Duration;

use anyhow::{Context, Result};

use super::ROOT;
use crate::host::Host;
use crate::wait::{until, Seen};
use crate::Errno;

/// A host whose `devlend_lender` is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Lender<'a>(pub &'a Host);

impl Lender<'_> {
    /// Lends a device: `request` is its address and words such as `unsafe`. `Err(errno)` inside is a refusal.
    ///
    /// # Errors
    ///
    /// The attempt could not be made.
    pub fn try_lend(&self, request: &str) -> Result<std::result::Result<(), Errno>> {
        self.0.try_write(&format!("{ROOT}/lender/lend"), request)
    }

    /// Lends a device; this must work.
    ///
    /// # Errors
    ///
    /// devlend refuses.
    pub fn lend(&self, request: &str) -> Result<()> {
        self.0.write(&format!("{ROOT}/lender/lend"), request)
    }

    /// Takes a device back; `Err(errno)` inside is a refusal.
    ///
    /// # Errors
    ///
    /// The attempt could not be made.
    pub fn try_reclaim(&self, request: &str) -> Result<std::result::Result<(), Errno>> {
        self.0.try_write(&format!("{ROOT}/lender/reclaim"), request)
    }

    /// Takes a device back and waits until its previous driver has it: `request` is its address, and words such as
    /// `deadline=1`.
    ///
    /// # Errors
    ///
    /// devlend refuses, or no driver is bound after 60 s.
    pub fn reclaim(&self, request: &str) -> Result<()> {
        self.0.write(&format!("{ROOT}/lender/reclaim"), request)?;
        let address = request.split_whitespace().next().unwrap_or_default();
        self.0.wait_bound(address, Duration::from_secs(60))
    }

    /// A value of one of its offers.
    ///
    /// # Errors
    ///
    /// There is no such offer or file.
    pub fn value(&self, address: &str, file: &str) -> Result<String> {
        self.0
            .read(&format!("{ROOT}/lender/offers/{address}/{file}"))
    }

    /// The addresses of its offers.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn offers(&self) -> Result<Vec<String>> {
        let list = self.0.sh_ok(&format!("ls {ROOT}/lender/offers"))?;
        Ok(list.lines().map(Into::into).collect())
    }

    /// Waits for one of its offers to be in a state.
    ///
    /// # Errors
    ///
    /// It is in another one when the time is up.
    pub fn wait_state(&self, address: &str, state: &str, limit: Duration) -> Result<()> {
        until(&format!("{address} to be {state}"), limit, || {
            let seen = self.value(address, "state")?;
            Ok(if seen == state {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("it is {seen}"))
            })
        })
        .with_context(|| format!("on the {}", self.0.name()))
    }
}
