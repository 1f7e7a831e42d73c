// SPDX-License-Identifier: GPL-2.0

//! What a bed is made of.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{bail, ensure, Context, Result};
use ntb_emu::model::Family;
use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// One memory window of the emulated NTB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Size in bytes; a power of two.
    pub size: u64,
    /// The peer's RAM is mapped straight into it, at a fixed translation of 0: accesses do not pass `ntb-emu`.
    pub direct: bool,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.size / MIB)?;
        if self.direct {
            f.write_str(",direct")?;
        }
        Ok(())
    }
}

impl FromStr for Window {
    type Err = anyhow::Error;

    /// Parses `SIZE[,direct]`, the size with M or G.
    fn from_str(text: &str) -> Result<Self> {
        let (size, direct) = match text.split_once(',') {
            None => (text, false),
            Some((size, "direct")) => (size, true),
            Some((_, other)) => bail!("unknown window option '{other}' (there is 'direct')"),
        };
        let size = parse_size(size)?;
        if !size.is_power_of_two() {
            bail!("a window's size is a power of two, not {size} bytes");
        }
        Ok(Self { size, direct })
    }
}

/// Parses a size with the suffix M or G into bytes.
///
/// # Errors
///
/// It is no such size, is 0, or is more than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'M') => (&text[..text.len() - 1], MIB),
        Some(b'G') => (&text[..text.len() - 1], 1024 * MIB),
        _ => bail!("'{text}' is not a size: give it in M or G, as in 512M"),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|size| *size > 0)
        .with_context(|| format!("'{text}' is not a size"))
}

/// One host of a bed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOptions {
    /// Its name: host name in the guest, prefix of its files in the run directory.
    pub name: String,
    /// RAM in bytes; a multiple of 1 MiB.
    pub memory: u64,
    /// Virtual processors.
    pub smp: u32,
    /// Give it an IOMMU (`intel-iommu` with interrupt remapping) and switch it on in its kernel.
    pub iommu: bool,
    /// Size in bytes of an NVMe disk (serial number `devlend` and the host's number from 0 on, at 0000:00:03.0), if it has one.
    pub nvme: Option<u64>,
    /// Slots of 2 KiB in its kernel's bounce buffers.
    pub bounce_slots: u32,
    /// More QEMU arguments, after the bed's own.
    pub args: Vec<String>,
    /// More words for the kernel's command line.
    pub append: String,
}

impl HostOptions {
    /// A host with one processor, 512 MiB and nothing to lend.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            memory: 512 * MIB,
            smp: 1,
            iommu: false,
            nvme: None,
            // 8 MiB, where 64 MiB would be an eighth of its memory.
            bounce_slots: 4096,
            args: Vec::new(),
            append: String::new(),
        }
    }
}

/// The windows that a link of this family gets if nothing else is said: the larger one holds all RAM of the peer's and is
/// mapped.
#[must_use]
pub fn default_windows(family: Family) -> Vec<Window> {
    let window = |size, direct| Window { size, direct };
    match family {
        // For MSI, for registers, for memory.
        Family::Amd => vec![
            window(MIB, false),
            window(64 * MIB, false),
            window(512 * MIB, true),
        ],
        // For registers, for memory and MSI.
        Family::Intel | Family::Switchtec => {
            vec![window(64 * MIB, false), window(4096 * MIB, true)]
        }
    }
}

/// The kernel's modules that drive this family, in the order of loading.
#[must_use]
pub fn driver_modules(family: Family) -> &'static [&'static str] {
    match family {
        Family::Amd => &["ntb_hw_amd"],
        Family::Intel => &["ntb_hw_intel"],
        Family::Switchtec => &["switchtec", "ntb_hw_switchtec"],
    }
}

/// What the kernel and these modules are to be told, as words for the kernel's command line: one may load the other by
/// itself.
#[must_use]
pub fn driver_parameters(family: Family) -> &'static [&'static str] {
    match family {
        Family::Amd => &[],
        // The firmware puts 64-bit BARs into a range that QEMU calls reserved. Without it the kernel finds no room for 4 GiB
        // when the function is removed and found again.
        Family::Intel => &["pci=no_e820"],
        // The same; and without the other one windows have 2 MiB.
        Family::Switchtec => &["pci=no_e820", "ntb_hw_switchtec.max_mw_size=0x100000000"],
    }
}

/// A link between two hosts of a bed, or from a host to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOptions {
    /// Its name, in counters and logs.
    pub name: String,
    /// The hardware that is emulated.
    pub family: Family,
    /// The memory windows, in the order of the NTB's BARs.
    pub windows: Vec<Window>,
    /// The hosts; the first is the primary side.
    pub ends: [String; 2],
}

impl LinkOptions {
    /// A link with the windows that are usual for its family.
    #[must_use]
    pub fn new(name: &str, family: Family, ends: [&str; 2]) -> Self {
        Self {
            name: name.into(),
            family,
            windows: default_windows(family),
            ends: ends.map(Into::into),
        }
    }
}

/// One of a host's NTB functions: it has one for each end of a link that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// Its number among the host's NTB functions.
    pub number: usize,
    /// The link.
    pub link: &'a LinkOptions,
    /// Which end of the link it is: 0 for the primary one, 1 for the other.
    pub end: usize,
}

/// The first NTB function's PCI device number; the next ones go down from here.
const FIRST_SLOT: usize = 0x1b;
/// Most NTB functions of a host: below them are the numbers for devices of the user's.
const MAX_SLOTS: usize = 8;

impl Slot<'_> {
    /// Its PCI device number on the host's root bus.
    #[must_use]
    pub fn device(&self) -> usize {
        FIRST_SLOT - self.number
    }

    /// Its PCI address in the host.
    #[must_use]
    pub fn address(&self) -> String {
        format!("0000:00:{:02x}.0", self.device())
    }

    /// The suffix of its socket's name in the run directory.
    #[must_use]
    pub fn suffix(&self) -> String {
        format!("ntb{}", self.number)
    }
}

/// A whole bed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Where sockets, consoles, disks and process ids are kept; the checkout's own by default.
    pub run_dir: Option<PathBuf>,
    /// The hosts.
    pub hosts: Vec<HostOptions>,
    /// The links between them.
    pub links: Vec<LinkOptions>,
    /// Whether the hosts are on a network of their own, know each other's names and take commands by `ssh`. Nothing
    /// else can reach it.
    pub network: bool,
    /// Whether the hosts' writes to their NTBs are posted, as on PCIe. If not, an instruction that writes ends when the
    /// write has arrived: slower, and then a look at the other end sees it.
    pub posted_writes: bool,
    /// The flavour of the kernel, of those in `qemu/kernel`; the one of the environment (`DEVLEND_KERNEL`) by default.
    #[serde(default)]
    pub kernel: Option<String>,
    /// The processor of this machine that all of the bed runs on; anywhere by default.
    #[serde(default)]
    pub processor: Option<usize>,
    /// QEMU's accelerator. Software emulation by default: KVM is not usable everywhere it seems to exist.
    pub accel: String,
}

impl Default for Options {
    /// A lender with an NVMe disk, a borrower, and one link.
    fn default() -> Self {
        Self::pair(Family::default())
    }
}

impl Options {
    /// A lender with an NVMe disk and a borrower, joined by a link of this family.
    #[must_use]
    pub fn pair(family: Family) -> Self {
        let lender = HostOptions {
            nvme: Some(256 * MIB),
            ..HostOptions::new("lender")
        };
        Self {
            run_dir: None,
            hosts: vec![lender, HostOptions::new("borrower")],
            links: vec![LinkOptions::new("ntb0", family, ["lender", "borrower"])],
            network: false,
            posted_writes: true,
            kernel: None,
            processor: None,
            accel: "tcg".into(),
        }
    }

    /// The options of a host, to be changed before the start.
    ///
    /// # Errors
    ///
    /// There is no host of that name.
    pub fn host_mut(&mut self, name: &str) -> Result<&mut HostOptions> {
        self.hosts
            .iter_mut()
            .find(|host| host.name == name)
            .with_context(|| format!("there is no host '{name}' in this bed"))
    }

    /// The NTB functions of a host, in the order of the links.
    #[must_use]
    pub fn slots(&self, host: &str) -> Vec<Slot<'_>> {
        let ends = self.links.iter().flat_map(|link| {
            (0..)
                .zip(&link.ends)
                .map(move |(end, name)| (link, end, name))
        });
        (0..)
            .zip(ends.filter(|(_, _, name)| *name == host))
            .map(|(number, (link, end, _))| Slot { number, link, end })
            .collect()
    }

    /// Checks what only the whole can tell.
    ///
    /// # Errors
    ///
    /// There is no host, a link ends nowhere, a name is used twice, or a host has too many NTB functions.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.hosts.is_empty(), "a bed has at least one host");
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        for (i, name) in names.iter().enumerate() {
            ensure!(
                !names.iter().take(i).any(|other| other == name),
                "there are two hosts '{name}'"
            );
            let count = self.slots(name).len();
            ensure!(
                count <= MAX_SLOTS,
                "host '{name}' has {count} links, {MAX_SLOTS} are possible"
            );
        }
        for link in &self.links {
            for end in &link.ends {
                ensure!(
                    names.contains(&end.as_str()),
                    "link '{}' ends at '{end}', which is not one of the hosts: {}",
                    link.name,
                    names.join(", ")
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_written_the_same() {
        for text in ["1M", "64M", "512M,direct", "2048M"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        assert_eq!("2G".parse::<Window>().unwrap().size, 2048 * MIB);
    }

    #[test]
    fn bad_windows_are_refused() {
        for text in [
            "",
            "M",
            "0M",
            "3M",
            "64",
            "64M,fast",
            "99999999999999G",
            "é",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn options_survive_json() {
        let options = Options::default();
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
    }

    #[test]
    fn a_host_in_the_middle_has_two_functions() {
        let options = Options {
            hosts: ["a", "b", "c"].map(HostOptions::new).into(),
            links: vec![
                LinkOptions::new("ab", Family::Amd, ["a", "b"]),
                LinkOptions::new("bc", Family::Amd, ["b", "c"]),
            ],
            ..Options::default()
        };
        options.check().unwrap();
        let slots = |host: &str| {
            let slots = options.slots(host);
            let name = |slot: &Slot<'_>| (slot.link.name.clone(), slot.end, slot.address());
            slots.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(slots("a"), [("ab".into(), 0, "0000:00:1b.0".into())]);
        assert_eq!(
            slots("b"),
            [
                ("ab".into(), 1, "0000:00:1b.0".into()),
                ("bc".into(), 0, "0000:00:1a.0".into())
            ]
        );
    }

    #[test]
    fn a_loop_has_both_ends_in_one_host() {
        let options = Options {
            hosts: vec![HostOptions::new("a")],
            links: vec![LinkOptions::new("loop", Family::Amd, ["a", "a"])],
            ..Options::default()
        };
        options.check().unwrap();
        let ends: Vec<usize> = options.slots("a").iter().map(|slot| slot.end).collect();
        assert_eq!(ends, [0, 1]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let good = Options::default();
        let mut nowhere = good.clone();
        nowhere.links[0].ends[1] = "nobody".into();
        let mut twice = good.clone();
        twice.hosts[1].name = "lender".into();
        let mut many = good.clone();
        many.links = vec![many.links[0].clone(); MAX_SLOTS + 1];
        let mut none = good.clone();
        none.hosts.clear();
        good.check().unwrap();
        for bad in [nowhere, twice, many, none] {
            assert!(bad.check().is_err());
        }
    }
}
