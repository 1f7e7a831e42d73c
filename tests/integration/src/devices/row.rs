// SPDX-License-Identifier: GPL-2.0

//! One device in one setting: lent, borrowed, used, returned and reclaimed; or refused.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::{until, Errno, Host, Seen};

use super::report::Line;
use super::seen;
use super::setting::Setting;
use super::LIMIT;
use crate::pair::{finally, Pair};

/// Bytes of each device's disk image, if it has a disk.
const IMAGE: u64 = 64 << 20;

/// A kind of device.
#[derive(Clone, Copy)]
pub struct Device {
    /// What it is called.
    pub name: &'static str,
    /// What QEMU is told, in words. `{slot}` is a PCI device number of its own on the lender's root bus, in hexadecimal; `{n}` the
    /// same in decimal; `{id}` a name of its own; `{pci}` properties of the function that is lent, with that name and in its place;
    /// `{image}` the file for its disk.
    pub qemu: &'static str,
    /// Where the lent function is.
    pub place: Place,
    /// Which driver is to have it in the borrower.
    pub driver: Driver,
    /// Uses the borrowed device, and checks what comes of it. Returns what it has done, in a few words.
    pub works: fn(&Used<'_>) -> Result<String>,
}

/// Where a device's function is in the lender.
#[derive(Clone, Copy)]
pub enum Place {
    /// On the root bus: the slot's function 0.
    Slot,
    /// Behind a root port of its own in the slot: function 0 of the first device there.
    Port,
}

/// Who drives a device in the borrower.
#[derive(Clone, Copy)]
pub enum Driver {
    /// The one that the kernel chooses, once `modprobe` was called with each of these.
    Stock(&'static [&'static str]),
    /// None: programs use its registers.
    None,
}

/// A device in a setting.
#[derive(Clone, Copy)]
pub struct Row {
    /// The device.
    pub device: &'static Device,
    /// What the hosts are like.
    pub setting: &'static Setting,
    /// What has to come of it.
    pub expected: Expected,
    /// How the interrupts have to come, if it works; what the table says has to begin so.
    pub interrupts: &'static str,
}

/// What has to come of a row.
#[derive(Clone, Copy)]
pub enum Expected {
    /// The device works.
    Works,
    /// The lender does not lend it, and its log says so.
    NotLent(Errno, &'static str),
    /// The borrower does not get it, and its log says so.
    NotBorrowed(Errno, &'static str),
    /// It is borrowed, but no driver uses it, and the borrower's log says so.
    NotUsed(&'static str),
}

/// A device's place in the lender.
pub struct Slot {
    number: u8,
    /// Name of the device for QEMU.
    id: String,
    /// The file of its disk, seen from outside the hosts.
    pub image: PathBuf,
}

/// PCI device numbers that the bed leaves to devices that are to be lent.
pub fn free_slots() -> impl Iterator<Item = u8> {
    (0x2..=0x2).chain(0x4..=0x12).chain(0x14..=0x19)
}

impl Slot {
    /// A slot for hosts with this run directory.
    #[must_use]
    pub fn new(number: u8, run_dir: &Path) -> Self {
        let id = format!("lent{number}");
        Self {
            number,
            image: run_dir.join(format!("{id}.img")),
            id,
        }
    }

    /// Makes an empty disk image.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn make_image(&self) -> Result<()> {
        let parent = self.image.parent().context("no run directory")?;
        fs::create_dir_all(parent)?;
        File::create(&self.image)
            .and_then(|image| image.set_len(IMAGE))
            .with_context(|| format!("making {}", self.image.display()))
    }

    /// A device's arguments for QEMU.
    #[must_use]
    pub fn arguments(&self, device: &Device) -> Vec<String> {
        let (port, place) = match device.place {
            Place::Slot => ("", "addr={slot}"),
            Place::Port => (
                "-device pcie-root-port,id={id}p,addr={slot},chassis={n},slot={n} ",
                "bus={id}p",
            ),
        };
        // As much may be copied at a time when the device reads or writes the NTB's window, as with the bed's own NVMe.
        let pci = format!("id={{id}},{place},x-max-bounce-buffer-size=16777216");
        let words = format!("{port}{}", device.qemu)
            .replace("{pci}", &pci)
            .replace("{slot}", &format!("{:#x}", self.number))
            .replace("{n}", &self.number.to_string())
            .replace("{id}", &self.id)
            .replace("{image}", &format!("/run/bed/{}.img", self.id));
        words.split_whitespace().map(Into::into).collect()
    }

    /// The address of the function in the lender.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn address(&self, place: Place, lender: &Host) -> Result<String> {
        let slot = format!("0000:00:{:02x}.0", self.number);
        match place {
            Place::Slot => Ok(slot),
            Place::Port => {
                let behind = lender.sh_ok(&format!(
                    "cd /sys/bus/pci/devices/{slot} && ls -d [0-9a-f]*:*:*.0 | head -n 1"
                ))?;
                ensure!(!behind.is_empty(), "there is nothing behind port {slot}");
                Ok(behind)
            }
        }
    }
}

/// A borrowed device that is to be used.
pub struct Used<'a> {
    /// The hosts.
    pub pair: &'a Pair<'a>,
    /// Its place in the lender.
    pub slot: &'a Slot,
    /// Its address in the lender.
    pub lent: &'a str,
    /// Its address in the borrower.
    pub address: &'a str,
}

impl<'a> Used<'a> {
    /// The borrower.
    #[must_use]
    pub fn host(&self) -> &'a Host {
        self.pair.borrower
    }

    /// A number that no other device of these hosts has.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.slot.number
    }
}

impl Device {
    /// Loads the driver's modules in the borrower.
    ///
    /// # Errors
    ///
    /// There is no such module, or one that is to go is in use.
    pub fn load_driver(&self, borrower: &Host) -> Result<()> {
        let Driver::Stock(modules) = self.driver else {
            return Ok(());
        };
        modules
            .iter()
            .try_for_each(|module| borrower.sh_ok(&format!("modprobe {module}")).map(drop))
    }

    /// Waits for the driver, if there is to be one.
    ///
    /// # Errors
    ///
    /// There is none when the time is up.
    pub fn wait_driver(&self, borrower: &Host, address: &str) -> Result<()> {
        match self.driver {
            Driver::Stock(_) => borrower.wait_bound(address, LIMIT),
            Driver::None => Ok(()),
        }
    }
}

impl Row {
    /// A device that has to work, with interrupts of this kind.
    #[must_use]
    pub const fn works(
        device: &'static Device,
        interrupts: &'static str,
        setting: &'static Setting,
    ) -> Self {
        Self {
            device,
            setting,
            expected: Expected::Works,
            interrupts,
        }
    }

    /// A device that has to be refused.
    #[must_use]
    pub const fn refused(
        device: &'static Device,
        setting: &'static Setting,
        expected: Expected,
    ) -> Self {
        Self {
            device,
            setting,
            expected,
            interrupts: "",
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} ({})", self.device.name, self.setting.name)
    }

    /// Lends the device, borrows it, uses it, and gives it back.
    ///
    /// # Errors
    ///
    /// Something comes out otherwise than it should.
    pub fn run(&self, pair: &Pair<'_>, slot: &Slot) -> Result<Line> {
        let lent = slot.address(self.device.place, pair.lender)?;
        let request = if self.setting.is_unsafe {
            format!("{lent} unsafe")
        } else {
            lent.clone()
        };
        let marks =
            [pair.lender, pair.borrower].map(|host| host.dmesg().map(|log| log.lines().count()));
        let [at_lender, at_borrower] = marks;
        let (at_lender, at_borrower) = (at_lender?, at_borrower?);

        let answer = pair.lending().try_lend(&request)?;
        if let Expected::NotLent(errno, says) = self.expected {
            expect(answer, errno, "lending it")?;
            let why = said(pair.lender, at_lender, says)?;
            return seen::unborrowed(self, pair, &lent, &why);
        }
        if let Err(errno) = answer {
            bail!(
                "lending it was refused with {errno}: {}",
                log_end(pair.lender)
            );
        }
        let mut line = None;
        let body = (|| {
            let offer = pair.at_borrower.offer(&lent);
            offer.wait_state("available", LIMIT)?;
            self.device.load_driver(pair.borrower)?;
            let answer = pair.at_borrower.try_borrow(&lent)?;
            if let Expected::NotBorrowed(errno, says) = self.expected {
                expect(answer, errno, "borrowing it")?;
                let why = said(pair.borrower, at_borrower, says)?;
                line = Some(seen::unborrowed(self, pair, &lent, &why)?);
                return Ok(());
            }
            if let Err(errno) = answer {
                bail!(
                    "borrowing it was refused with {errno}: {}",
                    log_end(pair.borrower)
                );
            }
            let values = offer.wait_state("borrowed", LIMIT)?;
            let address = values.get("local_address").context("no local address")?;
            let used = Used {
                pair,
                slot,
                lent: &lent,
                address,
            };
            line = Some(self.used(&used, at_borrower)?);
            offer.give_back()
        })();
        finally(body, || {
            match pair.lending().try_reclaim(&format!("{lent} force"))? {
                Ok(()) => Ok(()),
                Err(errno) => bail!("taking it back gave {errno}"),
            }
        })?;
        line.context("no result")
    }

    /// What comes of a device that is borrowed.
    fn used(&self, used: &Used<'_>, mark: usize) -> Result<Line> {
        let host = used.host();
        if let Expected::NotUsed(says) = self.expected {
            let why = until("the refusal", LIMIT, || {
                Ok(match said(host, mark, says) {
                    Ok(why) => Seen::Yes(why),
                    Err(error) => Seen::NotYet(error.to_string()),
                })
            })?;
            return seen::borrowed(self, used, &format!("refused: {why}"), 0);
        }
        self.device.wait_driver(host, used.address)?;
        let before = seen::interrupts_taken(host, used.address)?;
        let done = (self.device.works)(used)
            .with_context(|| format!("the kernel's last lines: {}\n", log_end(host)))?;
        let taken = seen::interrupts_taken(host, used.address)?.saturating_sub(before);
        let line = seen::borrowed(self, used, &format!("passed: {done}"), taken)?;
        // A driver that gets less than it asks for makes do without a word.
        ensure!(
            line.interrupts.starts_with(self.interrupts),
            "its interrupts are {}, not {}",
            line.interrupts,
            self.interrupts
        );
        Ok(line)
    }
}

fn expect(answer: std::result::Result<(), Errno>, expected: Errno, what: &str) -> Result<()> {
    ensure!(
        answer == Err(expected),
        "{what} gave {answer:?}, {expected:?} was expected"
    );
    Ok(())
}

/// The line with these words that a host's kernel has logged after the first `mark` lines, without time and device.
fn said(host: &Host, mark: usize, words: &str) -> Result<String> {
    let log = host.dmesg()?;
    let line = log
        .lines()
        .skip(mark)
        .find(|line| line.contains(words))
        .with_context(|| {
            let new: Vec<&str> = log.lines().skip(mark).collect();
            format!(
                "the {}'s kernel did not say '{words}', but: {new:?}",
                host.name()
            )
        })?;
    Ok(line.split_once("] ").map_or(line, |(_, text)| text).into())
}

fn log_end(host: &Host) -> String {
    host.sh_ok("dmesg | tail -n 8").unwrap_or_default()
}
