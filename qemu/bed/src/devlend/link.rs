// SPDX-License-Identifier: GPL-2.0

//! One end of a link, and the offers seen through it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::ROOT;
use crate::host::{quoted, Host};
use crate::wait::{until, Seen};
use crate::Errno;

/// One end of a link, in one host.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    host: &'a Host,
    directory: String,
}

impl<'a> Link<'a> {
    /// The host's only link. Waits for it to appear, for up to 10 s.
    ///
    /// # Errors
    ///
    /// There is none, or there are several.
    pub fn of(host: &'a Host) -> Result<Self> {
        if let Some(address) = host.only_ntb() {
            return Self::at(host, &address);
        }
        let list = format!("ls {ROOT}/links");
        let names = until("a link to appear in sysfs", Duration::from_secs(10), || {
            let output = host.sh(&list)?;
            Ok(if output.ok() && !output.stdout.is_empty() {
                Seen::Yes(output.text().into_owned())
            } else {
                Seen::NotYet(format!("{}{}", output.text(), output.error_text()))
            })
        })
        .with_context(|| format!("on the {}", host.name()))?;
        ensure!(
            names.lines().count() == 1,
            "the {} has several links: {names}",
            host.name()
        );
        Ok(Self {
            host,
            directory: format!("{ROOT}/links/{names}"),
        })
    }

    /// The link of the NTB at a PCI address. Waits for it to appear, for up to 10 s.
    ///
    /// # Errors
    ///
    /// It does not appear.
    pub fn at(host: &'a Host, address: &str) -> Result<Self> {
        let directory = format!("{ROOT}/links/{address}");
        let what = format!("link {address} to appear in the {}'s sysfs", host.name());
        until(&what, Duration::from_secs(10), || {
            Ok(match host.try_read(&format!("{directory}/state"))? {
                Ok(_) => Seen::Yes(()),
                Err(why) => Seen::NotYet(why),
            })
        })?;
        Ok(Self { host, directory })
    }

    /// The host whose end this is.
    #[must_use]
    pub fn host(&self) -> &'a Host {
        self.host
    }

    /// The link's name: the PCI address of its NTB in this host.
    #[must_use]
    pub fn name(&self) -> &str {
        self.directory.rsplit('/').next().unwrap_or_default()
    }

    /// The path of one of its files.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.directory)
    }

    /// One of its values.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn value(&self, file: &str) -> Result<String> {
        self.host.read(&self.path(file))
    }

    /// One of its values, as a number.
    ///
    /// # Errors
    ///
    /// There is no such file, or it holds no decimal number.
    pub fn number(&self, file: &str) -> Result<u64> {
        let text = self.value(file)?;
        text.parse().with_context(|| {
            format!(
                "{} on the {} holds '{text}', no number",
                self.path(file),
                self.host.name()
            )
        })
    }

    /// Waits for a state.
    ///
    /// # Errors
    ///
    /// It is in another one when the time is up: the error says in which, with the kernel's last lines about it.
    pub fn wait_state(&self, state: &str, limit: Duration) -> Result<()> {
        let what = format!("the {}'s link to be {state}", self.host.name());
        until(&what, limit, || {
            let seen = self.value("state")?;
            Ok(if seen == state {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("it is {seen}"))
            })
        })
        .with_context(|| self.log_end())
    }

    /// All control messages so far, in both directions, counted at this end.
    ///
    /// # Errors
    ///
    /// The counters cannot be read.
    pub fn messages(&self) -> Result<u64> {
        Ok(self.number("requests_sent")? + self.number("requests_received")?)
    }

    /// An offer of the peer's, by the address it has in the lender. It need not exist (yet).
    #[must_use]
    pub fn offer(&self, address: &str) -> Offer<'_> {
        Offer {
            link: self,
            address: address.into(),
        }
    }

    /// The addresses of all offers of the peer's.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn offers(&self) -> Result<Vec<String>> {
        let list = self.host.sh_ok(&format!("ls {}", self.path("offers")))?;
        Ok(list.lines().map(Into::into).collect())
    }

    /// Asks for an offer; `Err(errno)` inside is devlend's refusal.
    ///
    /// # Errors
    ///
    /// The attempt could not be made.
    pub fn try_borrow(&self, address: &str) -> Result<std::result::Result<(), Errno>> {
        self.host.try_write(&self.path("borrow"), address)
    }

    /// Gives a device back; `Err(errno)` inside is devlend's refusal.
    ///
    /// # Errors
    ///
    /// The attempt could not be made.
    pub fn try_return(&self, address: &str) -> Result<std::result::Result<(), Errno>> {
        self.host.try_write(&self.path("return"), address)
    }

    fn log_end(&self) -> String {
        let lines = self
            .host
            .sh_ok("dmesg | grep -iE 'devlend|ntb' | tail -n 6")
            .unwrap_or_default();
        format!("on the {}, whose kernel said:\n{lines}\n", self.host.name())
    }
}

/// A device that the peer offers.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    link: &'a Link<'a>,
    address: String,
}

impl Offer<'_> {
    /// All its values, by file name. Empty when there is no such offer.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    pub fn values(&self) -> Result<BTreeMap<String, String>> {
        let directory = quoted(&self.link.path(&format!("offers/{}", self.address)))?;
        let output = self.link.host.sh(&format!(
            "cd {directory} 2>/dev/null && grep -s -d skip '' *"
        ))?;
        Ok(output
            .text()
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_string(), value.trim().to_string()))
            .collect())
    }

    /// Its state; `None` when there is no such offer.
    fn state(&self) -> Result<Option<String>> {
        let file = self.link.path(&format!("offers/{}/state", self.address));
        Ok(self.link.host.try_read(&file)?.ok())
    }

    /// Waits for the offer to be in a state.
    ///
    /// # Errors
    ///
    /// It is in another one, or does not exist, when the time is up.
    pub fn wait_state(&self, state: &str, limit: Duration) -> Result<BTreeMap<String, String>> {
        let what = format!("offer {} to be {state}", self.address);
        until(&what, limit, || {
            Ok(match self.state()? {
                // All values cost a command, and the state may be another one by then.
                Some(seen) if seen == state => match self.values()? {
                    values if values.get("state").is_some_and(|now| now == state) => {
                        Seen::Yes(values)
                    }
                    values => Seen::NotYet(format!("it is {:?}", values.get("state"))),
                },
                Some(seen) => Seen::NotYet(format!("it is {seen}")),
                None => Seen::NotYet("there is no such offer".into()),
            })
        })
        .with_context(|| self.link.log_end())
    }

    /// Waits for the offer to be gone.
    ///
    /// # Errors
    ///
    /// It is still there when the time is up.
    pub fn wait_gone(&self, limit: Duration) -> Result<()> {
        let what = format!("offer {} to be gone", self.address);
        until(&what, limit, || {
            Ok(match self.state()? {
                None => Seen::Yes(()),
                Some(seen) => Seen::NotYet(format!("it is {seen}")),
            })
        })
        .with_context(|| self.link.log_end())
    }

    /// Borrows it and waits until a driver is bound to it; returns its address in the borrower.
    ///
    /// # Errors
    ///
    /// devlend refuses, or there is no bound device after 60 s.
    pub fn borrow(&self) -> Result<String> {
        let host = self.link.host;
        self.wait_state("available", Duration::from_secs(10))?;
        host.write(&self.link.path("borrow"), &self.address)?;
        let values = self.wait_state("borrowed", Duration::from_secs(60))?;
        let local = values
            .get("local_address")
            .filter(|local| !local.is_empty())
            .with_context(|| format!("borrowed offer {} has no local address", self.address))?;
        host.wait_bound(local, Duration::from_secs(60))?;
        Ok(local.clone())
    }

    /// Gives it back and waits until it can be borrowed again.
    ///
    /// # Errors
    ///
    /// devlend refuses, or it is not available after 60 s.
    pub fn give_back(&self) -> Result<()> {
        self.link
            .host
            .write(&self.link.path("return"), &self.address)?;
        self.wait_state("available", Duration::from_secs(60))
            .map(drop)
    }
}
