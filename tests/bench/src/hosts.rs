// SPDX-License-Identifier: GPL-2.0

//! The hosts: a lender with an NVMe, and a borrower with one of its own, of the same model.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use devlend_bed::devlend::{Lender, Link, Offer, Role};
use devlend_bed::{default_windows, Bed, Environment, Family, Host, LinkOptions, Options, Slot};

/// The NVMe of either host.
pub const NVME: &str = "0000:00:03.0";
/// A second one of the lender's, which it never lends.
pub const SERVED: &str = "0000:00:06.0";
/// A network card of either host.
pub const CARD: &str = "0000:00:07.0";
/// The lender's card at the other end of the network that these are on.
pub const FAR: &str = "0000:00:08.0";
/// Bytes of each disk.
const DISK: u64 = 64 << 20;
/// How long a disk may take to appear.
pub const LIMIT: Duration = Duration::from_secs(120);
/// The link that devices are lent over. On another one is what devlend is compared with.
const LENT_OVER: &str = "ntb0";
const OTHER: &str = "ntb1";
/// Most devices that are lent at once.
pub const MANY: usize = 16;

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

/// The directory of all hosts of the bench, which run one pair at a time.
fn run_dir() -> Result<PathBuf> {
    let mut run_dir = Environment::find()?.run_dir.into_os_string();
    run_dir.push("-bench");
    Ok(run_dir.into())
}

/// A lender and a borrower with an NVMe each.
pub fn plain(family: Family) -> Result<Options> {
    let mut options = Options::pair(family);
    options.run_dir = Some(run_dir()?);
    for host in &mut options.hosts {
        host.nvme = Some(DISK);
        // Doorbells in memory (DBBUF) are for disks that are emulated: how often the others are rung would depend on speed.
        host.args = ["-global", "nvme.dbcs=off"].map(String::from).to_vec();
    }
    Ok(options)
}

/// The same, on a network; with a second link, and a second NVMe for the lender to serve over either.
pub fn with_peers(family: Family) -> Result<Options> {
    let mut options = plain(family)?;
    options.network = true;
    let mut other = LinkOptions::new(OTHER, family, ["lender", "borrower"]);
    // The transport's buffers are where it likes, and a window that memory is mapped into shows one place.
    for window in &mut other.windows {
        window.direct = false;
    }
    options.links.push(other);
    let served = run_dir()?.join("served");
    fs::create_dir_all(run_dir()?)?;
    for socket in ["card.hub", "card.net"] {
        // QEMU does not take one that is there.
        let _ = fs::remove_file(run_dir()?.join(socket));
    }
    File::create(&served)
        .and_then(|file| file.set_len(DISK))
        .with_context(|| format!("making {}", served.display()))?;
    options.host_mut("lender")?.args.extend(
        [
            "-drive",
            "if=none,id=served,file=/run/bed/served,format=raw,discard=unmap",
            "-device",
            "nvme,drive=served,serial=served,addr=0x6",
            // On a network of their own: a card that is down keeps a hub from the others on it.
            "-netdev",
            "hubport,id=far,hubid=9",
            "-device",
            "e1000e,netdev=far,mac=52:54:00:27:01:03,addr=0x8",
            "-netdev",
            "hubport,id=card,hubid=9",
            "-device",
            "e1000e,netdev=card,mac=52:54:00:27:01:01,addr=0x7,x-max-bounce-buffer-size=16777216",
            "-netdev",
            "dgram,id=other,local.type=unix,local.path=/run/bed/card.hub,remote.type=unix,remote.path=/run/bed/card.net",
            "-netdev",
            "hubport,id=others,hubid=9,netdev=other",
        ]
        .map(String::from),
    );
    options.host_mut("borrower")?.args.extend(
        [
            "-netdev",
            "dgram,id=card,local.type=unix,local.path=/run/bed/card.net,remote.type=unix,remote.path=/run/bed/card.hub",
            "-device",
            "e1000e,netdev=card,mac=52:54:00:27:01:02,addr=0x7",
        ]
        .map(String::from),
    );
    Ok(options)
}

/// A borrower whose clock is its processor's: a nanosecond is an instruction.
pub fn counting(family: Family) -> Result<Options> {
    let mut options = plain(family)?;
    let borrower = options.host_mut("borrower")?;
    borrower
        .args
        .extend(["-icount", "shift=0,sleep=on"].map(String::from));
    Ok(options)
}

/// A borrower most of whose memory is where the window does not reach.
pub fn bouncing(family: Family) -> Result<Options> {
    let mut options = plain(family)?;
    options.host_mut("borrower")?.memory = 3 << 30;
    for link in &mut options.links {
        if let Some(memory) = link.windows.last_mut() {
            memory.size = 2 << 30;
        }
    }
    Ok(options)
}

/// A borrower whose IOMMU shows the bridge what drivers map, and nothing else; the lender needs one, too.
pub fn translating(family: Family) -> Result<Options> {
    let mut options = plain(family)?;
    for host in &mut options.hosts {
        host.iommu = true;
        // A block is moved a word at a time here, and eight large ones take about as long as the driver waits: 30 s.
        host.append = "nvme_core.io_timeout=240".into();
    }
    for link in &mut options.links {
        link.windows = default_windows(family);
        for window in &mut link.windows {
            window.direct = false;
        }
    }
    Ok(options)
}

/// Where the disks of [`with_many`] are.
pub fn places() -> impl Iterator<Item = String> {
    (0..MANY).map(|number| format!("0000:00:{:02x}.0", number + 3))
}

/// A lender with as many NVMes as one link has requests under way at once.
pub fn with_many(family: Family) -> Result<Options> {
    let mut options = plain(family)?;
    let lender = options.host_mut("lender")?;
    for number in 1..MANY {
        lender.args.extend([
            "-drive".into(),
            format!("driver=null-co,size=32M,read-zeroes=on,if=none,id=many{number}"),
            "-device".into(),
            format!(
                "nvme,drive=many{number},serial=many{number},addr={:#x}",
                number + 3
            ),
        ]);
    }
    Ok(options)
}

impl<'a> Hosts<'a> {
    /// Brings the link up.
    pub fn of(bed: &'a Bed) -> Result<Self> {
        let mut local = None;
        for (name, role) in [("lender", Role::Lender), ("borrower", Role::Borrower)] {
            let host = bed.host(name)?;
            host.modprobe("nvme")?;
            local = Some(host.wait_nvme(NVME, LIMIT)?);
            host.load(role)?;
            if let Some(other) = other(bed, host) {
                host.sh_ok(&format!(
                    "echo {other} >/sys/bus/ntb/devices/{other}/driver/unbind"
                ))?;
            }
        }
        let at_lender = bed.link_at("lender", LENT_OVER)?;
        let at_borrower = bed.link_at("borrower", LENT_OVER)?;
        for link in [&at_lender, &at_borrower] {
            link.wait_state("up", Duration::from_secs(30))?;
        }
        Ok(Self {
            bed,
            at_lender,
            at_borrower,
            local: local.context("no disk")?,
        })
    }

    /// The host that lends.
    pub fn lender(&self) -> &'a Host {
        self.at_lender.host()
    }

    /// The host that borrows.
    pub fn borrower(&self) -> &'a Host {
        self.at_borrower.host()
    }

    /// The lender's files.
    pub fn lending(&self) -> Lender<'a> {
        Lender(self.lender())
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
}

/// The PCI address of a host's NTB that devices are not lent over, if it has one.
pub fn other(bed: &Bed, host: &Host) -> Option<String> {
    let slots = bed.options().slots(host.name());
    let other = slots.iter().find(|slot| slot.link.name == OTHER);
    other.map(Slot::address)
}
