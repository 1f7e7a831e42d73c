// SPDX-License-Identifier: GPL-2.0

//! Whatever ends a lease, the lender stops the device's DMA before it takes away what that reaches.
//!
//! What comes first is told by the lender's QEMU, which sees the kernel's writes to the device's Command register and its orders to the
//! IOMMU to forget a mapping, in order.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::devlend::Role;
use devlend_bed::{Fault, Host, Options};

use crate::pair::{ntb_driver, Pair, NTB, NVME};
use crate::runner::{Body, Case};

pub const CASES: &[Case] = &[Case {
    name: "stops_first::whatever_ends_a_lease",
    body: Body::Own(a_lender_with_an_iommu, whatever_ends_a_lease),
}];

const LIMIT: Duration = Duration::from_secs(60);

/// QEMU's name for a write to configuration space, and those of the orders to forget what is mapped.
const WRITE: &str = "pci_cfg_write";
const FORGET: &str = "vtd_inv_desc_iotlb_*";

fn a_lender_with_an_iommu() -> Result<Options> {
    let mut options = crate::pair::options()?;
    options.host_mut("lender")?.iommu = true;
    for link in &mut options.links {
        for window in &mut link.windows {
            window.direct = false;
        }
    }
    Ok(options)
}

fn whatever_ends_a_lease(pair: &Pair<'_>) -> Result<()> {
    for event in [WRITE, FORGET] {
        pair.lender.trace_qemu(event, true)?;
    }
    let lender = pair.lender;
    let unbind = format!("{}/unbind", ntb_driver(lender)?);

    ends(pair, "a return", || {
        pair.at_borrower.offer(NVME).give_back()
    })?;
    ends(pair, "a take-back by force", || {
        pair.lending().reclaim(&format!("{NVME} force"))
    })?;
    ends(pair, "a pulled cable", || {
        pair.bed.emulator().inject(Fault::Down)?;
        pair.lending().wait_state(NVME, "offered", LIMIT)
    })?;
    pair.bed.emulator().inject(Fault::Up)?;
    ends(pair, "the NTB's driver that is unbound", || {
        lender.write(&unbind, NTB)?;
        pair.lending().wait_state(NVME, "offered", LIMIT)
    })?;
    lender.write("/sys/bus/pci/drivers_probe", NTB)?;
    ends(pair, "the module that is unloaded", || {
        lender.sh_ok("rmmod devlend_lender").map(drop)
    })?;
    lender.load(Role::Lender)?;
    lender.wait_bound(NVME, LIMIT)
}

/// Lends and borrows, and looks at what the lender does when that ends.
fn ends(pair: &Pair<'_>, what: &str, end: impl FnOnce() -> Result<()>) -> Result<()> {
    for link in pair.ends() {
        link.wait_state("up", LIMIT)?;
    }
    if !pair.lending().offers()?.iter().any(|offer| offer == NVME) {
        pair.lending().lend(NVME)?;
    }
    let offer = pair.at_borrower.offer(NVME);
    offer.wait_state("available", LIMIT)?;
    let borrowed = pair.borrow_lent()?;
    let before = pair.lender.qemu_log()?.lines().count();
    end().with_context(|| what.to_string())?;
    stopped_first(pair.lender, before).with_context(|| what.to_string())?;
    borrowed.wait_gone(LIMIT)
}

/// In QEMU's log from a line on, the device was stopped before anything was forgotten.
fn stopped_first(lender: &Host, from: usize) -> Result<()> {
    let log = lender.qemu_log()?;
    let lines: Vec<&str> = log.lines().skip(from).collect();
    let stopped = lines.iter().position(|line| stops(line) == Some(true));
    let stopped = stopped.context("the device was not stopped")?;
    let forgotten = lines
        .iter()
        .position(|line| line.contains(FORGET.trim_end_matches('*')));
    let forgotten = forgotten.context("no mapping was forgotten")?;
    ensure!(
        stopped < forgotten,
        "the device was stopped in line {stopped} of QEMU's log, its mapping forgotten in line {forgotten}:\n{}",
        lines[..=stopped].join("\n")
    );
    Ok(())
}

/// Whether a line is a write to the NVMe's Command register that turns bus mastering off, which is bit 2. [`None`]: it is no write to
/// that register.
fn stops(line: &str) -> Option<bool> {
    let (_, write) = line.split_once(WRITE)?;
    let (address, value) = write.split_once(" @0x4 <- 0x")?;
    let is_nvme = address.ends_with(NVME.trim_start_matches("0000:"));
    let value = u32::from_str_radix(value.trim(), 16).ok()?;
    is_nvme.then_some(value & 4 == 0)
}
