// SPDX-License-Identifier: GPL-2.0

//! A lender and a borrower with devlend loaded and the link up.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::devlend::{Lender, Link};
use devlend_bed::{until, Bed, Errno, Family, Host, Options, Seen};

/// The NVMe that the bed gives the lender.
pub const NVME: &str = "0000:00:03.0";
/// The NTB of either host.
pub const NTB: &str = "0000:00:1b.0";
/// A PCIe root port of the lender's.
pub const ROOT_PORT: &str = "0000:00:04.0";
/// A device of the lender's with a 128 MiB BAR, more than the default window for registers holds, and a BAR of I/O ports.
pub const BIG: &str = "0000:00:05.0";
/// A device of the lender's with I/O ports and nothing else.
pub const PORTS: &str = "0000:00:07.0";

/// Memory for what is not the kernel's, which the bad peer needs.
pub const SPARE: &str = "memmap=1M$0x10000000";

/// The hardware family between the hosts where a test does not need a certain one: `DEVLEND_NTB`, or the default.
pub fn family() -> Result<Family> {
    std::env::var("DEVLEND_NTB").map_or_else(|_| Ok(Family::default()), |name| Ok(name.parse()?))
}

/// What a bed for tests is made of: the default, and three more devices in the lender that cannot be used by a borrower.
pub fn options() -> Result<Options> {
    options_with(family()?)
}

/// The same with an NTB of a certain family.
pub fn options_with(family: Family) -> Result<Options> {
    let mut options = Options::pair(family);
    for host in &mut options.hosts {
        host.append = SPARE.into();
    }
    options.host_mut("lender")?.args = [
        "-device",
        "pcie-root-port,id=rp0,chassis=1,slot=1,addr=0x4",
        "-device",
        "pci-testdev,membar=128M,addr=0x5",
        "-device",
        "pci-serial,addr=0x7",
    ]
    .map(String::from)
    .to_vec();
    Ok(options)
}

/// Two hosts joined by a link that is up.
pub struct Pair<'a> {
    /// The bed they are in.
    pub bed: &'a Bed,
    /// The host with the NVMe.
    pub lender: &'a Host,
    /// The other host.
    pub borrower: &'a Host,
    /// The lender's end of the link.
    pub at_lender: Link<'a>,
    /// The borrower's end of the link.
    pub at_borrower: Link<'a>,
}

impl<'a> Pair<'a> {
    /// Loads what is not loaded yet and waits for the link.
    pub fn of(bed: &'a Bed) -> Result<Self> {
        let lender = bed.host("lender")?;
        lender.modprobe("nvme")?;
        lender.wait_nvme(NVME, Duration::from_secs(30))?;
        Self::of_lending(bed)
    }

    /// Like [`of`](Self::of), when the lender may have lent its NVMe already.
    pub fn of_lending(bed: &'a Bed) -> Result<Self> {
        let lender = bed.host("lender")?;
        let borrower = bed.host("borrower")?;
        borrower.modprobe("nvme")?;
        let (at_lender, at_borrower) = bed.bring_up()?;
        Ok(Self {
            bed,
            lender,
            borrower,
            at_lender,
            at_borrower,
        })
    }

    /// Two hosts with everything loaded and the link up already.
    pub fn up(bed: &'a Bed) -> Result<Self> {
        let (lender, borrower) = (bed.host("lender")?, bed.host("borrower")?);
        Ok(Self {
            bed,
            lender,
            borrower,
            at_lender: Link::at(lender, NTB)?,
            at_borrower: Link::at(borrower, NTB)?,
        })
    }

    /// The lender's files.
    pub fn lending(&self) -> Lender<'a> {
        Lender(self.lender)
    }

    /// The NVMe's disk in the lender.
    pub fn lender_disk(&self) -> Result<String> {
        self.lender.wait_nvme(NVME, Duration::from_secs(30))
    }

    /// Lends the NVMe, as it has to be done without an IOMMU.
    pub fn lend(&self) -> Result<()> {
        self.lending().lend(&format!("{NVME} unsafe"))
    }

    /// Lends and borrows the NVMe. What a test does with it, [`Self::end`] undoes.
    pub fn borrow(&self) -> Result<Borrowed<'_>> {
        self.lend()?;
        self.borrow_lent()
    }

    /// Borrows the NVMe, which is lent already.
    pub fn borrow_lent(&self) -> Result<Borrowed<'_>> {
        let address = self.at_borrower.offer(NVME).borrow()?;
        let disk = self.borrower.wait_nvme(&address, Duration::from_secs(60))?;
        Ok(Borrowed {
            pair: self,
            address,
            disk,
        })
    }

    /// The NVMe that is borrowed, or is about to be.
    pub fn borrowed_now(&self) -> Result<Borrowed<'_>> {
        let values = self
            .at_borrower
            .offer(NVME)
            .wait_state("borrowed", Duration::from_secs(60))?;
        let address = values
            .get("local_address")
            .context("it has no local address")?
            .clone();
        self.borrower
            .wait_bound(&address, Duration::from_secs(60))?;
        let disk = self.borrower.wait_nvme(&address, Duration::from_secs(60))?;
        Ok(Borrowed {
            pair: self,
            address,
            disk,
        })
    }

    /// The NVMe that is borrowed, and where it is known to be.
    pub fn borrowed_as(&self, address: String, disk: String) -> Borrowed<'_> {
        Borrowed {
            pair: self,
            address,
            disk,
        }
    }

    /// Takes the NVMe back, and checks that the lender can use it.
    pub fn end(&self) -> Result<()> {
        self.lending().reclaim(NVME)?;
        let disk = self.lender_disk()?;
        self.lender
            .sh_ok(&format!(
                "dd if={disk} of=/dev/null bs=4k count=16 iflag=direct status=none"
            ))
            .map(drop)
    }

    /// Runs a test in which a host stands still and must not be given up for it: the longest keep-alive time there is.
    pub fn patiently(&self, test: impl FnOnce() -> Result<()>) -> Result<()> {
        let set = |milliseconds| {
            self.ends().into_iter().try_for_each(|link| {
                link.host()
                    .write(&link.path("keepalive_timeout"), milliseconds)
            })
        };
        set("600000")?;
        finally(test(), || set("10000"))
    }

    /// The ends of the link: the lender's, then the borrower's.
    pub fn ends(&self) -> [&Link<'a>; 2] {
        [&self.at_lender, &self.at_borrower]
    }

    /// Waits until a borrowed device has left the borrower, which lost it.
    pub fn wait_left(&self, address: &str, limit: Duration) -> Result<()> {
        until("the device to leave the borrower", limit, || {
            Ok(if self.borrower.has_device(address)? {
                Seen::NotYet("it is there".into())
            } else {
                Seen::Yes(())
            })
        })
    }

    /// Checks that the pair is as a test must leave it.
    pub fn check_tidy(&self) -> Result<()> {
        let offers = self.lending().offers()?;
        ensure!(offers.is_empty(), "left behind: offers {offers:?}");
        let seen = self.at_borrower.offers()?;
        ensure!(
            seen.is_empty(),
            "left behind: the borrower sees offers {seen:?}"
        );
        let driver = self.lender.driver(NVME)?;
        ensure!(
            driver.as_deref() == Some("nvme"),
            "left behind: the lender's NVMe has the driver {driver:?}"
        );
        for link in self.ends() {
            let state = link.value("state")?;
            ensure!(
                state == "up",
                "left behind: the {}'s link is {state}",
                link.host().name()
            );
        }
        Ok(())
    }
}

/// The NVMe in the borrower.
pub struct Borrowed<'a> {
    pair: &'a Pair<'a>,
    /// Its address there.
    pub address: String,
    /// Its disk's device file there.
    pub disk: String,
}

impl Borrowed<'_> {
    /// A file of the device's in sysfs.
    pub fn file(&self, name: &str) -> String {
        format!("/sys/bus/pci/devices/{}/{name}", self.address)
    }

    /// Writes random data to the disk, reads it back past the cache, compares. Returns its SHA-256.
    pub fn check_disk(&self) -> Result<String> {
        let disk = self
            .pair
            .borrower
            .wait_nvme(&self.address, Duration::from_secs(60))?;
        let sums = self.pair.borrower.sh_ok(&format!(
            "dd if=/dev/urandom of=/tmp/data bs=64k count=16 status=none && \
             dd if=/tmp/data of={disk} bs=64k oflag=direct status=none && \
             sha256sum </tmp/data && dd if={disk} bs=64k count=16 iflag=direct status=none | sha256sum"
        ))?;
        let mut lines = sums.lines();
        let (Some(written), Some(read)) = (lines.next(), lines.next()) else {
            bail!("no sums: {sums}");
        };
        ensure!(
            written == read,
            "the disk gave back other data: {written} {read}"
        );
        Ok(written.into())
    }

    /// Waits until the device has left the borrower, which lost it.
    pub fn wait_gone(&self, limit: Duration) -> Result<()> {
        self.pair.wait_left(&self.address, limit)
    }

    /// Returns the device and takes it back in the lender.
    pub fn end(self) -> Result<()> {
        self.pair.at_borrower.offer(NVME).give_back()?;
        ensure!(
            !self.pair.borrower.has_device(&self.address)?,
            "{} is still there after the return",
            self.address
        );
        self.pair.end()
    }
}

/// The sysfs directory of the driver that a host's NTB has.
pub fn ntb_driver(host: &Host) -> Result<String> {
    let name = host.driver(NTB)?;
    let name = name.with_context(|| format!("the {}'s NTB has no driver", host.name()))?;
    Ok(format!("/sys/bus/pci/drivers/{name}"))
}

/// Checks that a request was refused, and how.
pub fn refused(
    answer: std::result::Result<(), Errno>,
    expected: &[Errno],
    what: &str,
) -> Result<()> {
    match answer {
        Ok(()) => bail!("{what} was accepted, {expected:?} was expected"),
        Err(errno) if expected.contains(&errno) => Ok(()),
        Err(errno) => bail!("{what} gave {errno}, {expected:?} was expected"),
    }
}

/// Runs `request`, which must make the host's kernel say at least one line that `wanted` accepts.
pub fn logged<T>(
    host: &Host,
    request: impl FnOnce() -> Result<T>,
    wanted: impl Fn(&str) -> bool,
    what: &str,
) -> Result<T> {
    let before = host.dmesg()?.lines().count();
    let result = request()?;
    let log = host.dmesg()?;
    let new: Vec<&str> = log.lines().skip(before).collect();
    ensure!(
        new.iter().any(|line| wanted(line)),
        "the {}'s kernel did not say {what}, but: {new:?}",
        host.name()
    );
    Ok(result)
}

/// Runs a test's body and then always the clean-up; the first error counts.
pub fn finally(body: Result<()>, clean_up: impl FnOnce() -> Result<()>) -> Result<()> {
    let cleaned = clean_up().context("cleaning up");
    body.and(cleaned)
}
