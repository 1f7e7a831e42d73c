// SPDX-License-Identifier: GPL-2.0

//! What the hosts are like that devices are lent between.

use anyhow::Result;
use devlend_bed::{default_windows, Options};

use crate::pair;

/// A pair of hosts, and how devices are lent there.
pub struct Setting {
    /// What is special about it, in a few words; no two have the same.
    pub name: &'static str,
    /// Makes it.
    pub options: fn() -> Result<Options>,
    /// Whether the lender has to be told `unsafe`.
    pub is_unsafe: bool,
}

/// No IOMMU anywhere.
pub static PLAIN: Setting = Setting {
    name: "no IOMMU",
    options: plain,
    is_unsafe: true,
};

/// The same, but the firmware puts the registers of some devices far from each other.
pub static SCATTERED: Setting = Setting {
    name: "no IOMMU, registers far apart",
    options: scattered,
    is_unsafe: true,
};

/// Most of the borrower's memory is where the window does not reach: it is copied.
pub static SMALL_WINDOW: Setting = Setting {
    name: "no IOMMU, small window",
    options: small_window,
    is_unsafe: true,
};

/// The lender's IOMMU holds its devices back, and remaps interrupts.
pub static LENDER_IOMMU: Setting = Setting {
    name: "lender's IOMMU",
    options: || lender_iommu(""),
    is_unsafe: false,
};

/// The lender's IOMMU does not remap interrupts, so that it does not isolate devices.
pub static LENDER_NO_REMAPPING: Setting = Setting {
    name: "lender's IOMMU, no remapping",
    options: || lender_iommu("intremap=off"),
    is_unsafe: false,
};

/// The same, and the lender is told that this is known.
pub static LENDER_NO_REMAPPING_UNSAFE: Setting = Setting {
    name: "lender's IOMMU, no remapping, unsafe",
    options: || lender_iommu("intremap=off"),
    is_unsafe: true,
};

/// The borrower's IOMMU passes DMA through, and remaps interrupts.
pub static BORROWER_REMAPPING: Setting = Setting {
    name: "borrower's IOMMU passes through",
    options: || borrower_iommu("iommu=pt"),
    is_unsafe: true,
};

/// The borrower's IOMMU passes DMA through, and does not remap interrupts.
pub static BORROWER_NO_REMAPPING: Setting = Setting {
    name: "borrower's IOMMU passes through, no remapping",
    options: || borrower_iommu("iommu=pt intremap=off"),
    is_unsafe: true,
};

/// Both have one, with interrupt remapping.
pub static BOTH_REMAPPING: Setting = Setting {
    name: "both IOMMUs",
    options: || {
        let mut options = lender_iommu("")?;
        let borrower = options.host_mut("borrower")?;
        borrower.iommu = true;
        borrower.append += " iommu=pt";
        Ok(options)
    },
    is_unsafe: false,
};

/// Both translate: of the borrower's memory a device reaches what its driver has mapped.
pub static BOTH_TRANSLATE: Setting = Setting {
    name: "both IOMMUs translate",
    options: || {
        let mut options = lender_iommu("")?;
        options.host_mut("borrower")?.iommu = true;
        Ok(options)
    },
    is_unsafe: false,
};

/// The borrower's IOMMU translates what comes from the NTB.
pub static BORROWER_TRANSLATES: Setting = Setting {
    name: "borrower's IOMMU translates",
    options: || borrower_iommu(""),
    is_unsafe: true,
};

/// The firmware's memory for prefetchable registers begins where its largest device wants it, and is filled from there; what must not
/// be prefetched is at its other end. This fills most of what would be between them with registers of nobody's interest, so that one
/// window reaches from the ones to the others, behind ports at least: their registers are next to that border on either side.
const FILLED: [&str; 4] = [
    "-device",
    "pci-testdev,membar=256M,addr=0x1a.0,multifunction=on",
    "-device",
    "pci-testdev,membar=128M,addr=0x1a.1",
];

fn plain() -> Result<Options> {
    let mut options = scattered()?;
    let lender = options.host_mut("lender")?;
    lender.args.extend(FILLED.map(String::from));
    Ok(options)
}

/// Two hosts without devices of their own but the NTB.
fn scattered() -> Result<Options> {
    let mut options = Options::pair(pair::family()?);
    for host in &mut options.hosts {
        host.nvme = None;
        host.append = pair::SPARE.into();
    }
    // Interrupts are to have somewhere to go.
    options.host_mut("borrower")?.smp = 2;
    Ok(options)
}

fn small_window() -> Result<Options> {
    let mut options = scattered()?;
    options.host_mut("borrower")?.memory = 3 << 30;
    for link in &mut options.links {
        link.windows = default_windows(link.family);
        if let Some(memory) = link.windows.last_mut() {
            memory.size = 2 << 30;
        }
    }
    Ok(options)
}

fn lender_iommu(words: &str) -> Result<Options> {
    let mut options = plain()?;
    let lender = options.host_mut("lender")?;
    lender.iommu = true;
    lender.append = format!("{} {words}", lender.append);
    indirect(&mut options)
}

fn borrower_iommu(words: &str) -> Result<Options> {
    let mut options = plain()?;
    let borrower = options.host_mut("borrower")?;
    borrower.iommu = true;
    borrower.append = format!("{} {words}", borrower.append);
    indirect(&mut options)
}

/// A host with an IOMMU needs windows that `ntb-emu` serves: where memory is mapped into one, its translation is fixed.
fn indirect(options: &mut Options) -> Result<Options> {
    for link in &mut options.links {
        link.windows = default_windows(link.family);
        for window in &mut link.windows {
            window.direct = false;
        }
    }
    Ok(options.clone())
}
