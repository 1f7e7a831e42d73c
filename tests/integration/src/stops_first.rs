// SPDX-License-Identifier: GPL-2.0

//! Whatever ends a lease, the lender stops the device's DMA before it takes away what that reaches, and shuts the MMIO window before
//! it takes away what that shows.
//!
//! What comes first is told by the lender's QEMU, which sees the kernel's writes to the device's Command register and to the NTB's
//! registers, and its orders to the IOMMU to forget a mapping, in order.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::devlend::Role;
use devlend_bed::{Family, Fault, Options};

use crate::cases;
use crate::pair::{family, ntb_driver, options_with, Pair, NTB, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Own(a_lender_with_an_iommu, whatever_ends_a_lease),
    Own(switchtec, a_signal_keeps_no_window_open),
];

const LIMIT: Duration = Duration::from_secs(60);

/// QEMU's names for a write to configuration space and for one to a register of the NTB, and what those of the orders to forget what is
/// mapped begin with.
const WRITE: &str = "pci_cfg_write";
const REGISTER: &str = "vfio_region_write";
const FORGET: &str = "vtd_inv_desc_iotlb_";

/// Of AMD's NTB, by memory window: the register with the size of what the window shows, and that with its address.
const WINDOWS: [(u64, u64); 3] = [(0x814, 0x830), (0x818, 0x838), (0x820, 0x840)];

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
    for event in [WRITE, REGISTER, &format!("{FORGET}*")] {
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
    let window = usize::try_from(pair.at_lender.number("mmio_window")?)?;
    let before = pair.lender.qemu_log()?.lines().count();
    end().with_context(|| what.to_string())?;
    let log = pair.lender.qemu_log()?;
    let lines: Vec<&str> = log.lines().collect();
    stopped_first(&lines[before..]).with_context(|| what.to_string())?;
    if family()? == Family::Amd {
        let (size, address) = WINDOWS.get(window).context("which window is this?")?;
        shut_first(&lines, before, *size, *address).with_context(|| what.to_string())?;
    }
    borrowed.wait_gone(LIMIT)
}

/// In these lines of QEMU's log, the device was stopped before anything was forgotten.
fn stopped_first(lines: &[&str]) -> Result<()> {
    let stopped = lines.iter().position(|line| stops(line) == Some(true));
    let stopped = stopped.context("the device was not stopped")?;
    let forgotten = lines.iter().position(|line| line.contains(FORGET));
    let forgotten = forgotten.context("no mapping was forgotten")?;
    ensure!(
        stopped < forgotten,
        "the device was stopped in line {stopped} of QEMU's log, its mapping forgotten in line {forgotten}:\n{}",
        lines[..=stopped].join("\n")
    );
    Ok(())
}

/// In QEMU's log from a line on, the MMIO window was shut before what it shows was forgotten, and before it was given another address:
/// until then the borrower's writes go through.
fn shut_first(lines: &[&str], from: usize, size: u64, address: u64) -> Result<()> {
    let shown = lines[..from]
        .iter()
        .rev()
        .filter_map(|line| register(line, address))
        .find(|shown| *shown != 0)
        .context("the window was not opened")?;
    let lines = &lines[from..];
    let shut = lines
        .iter()
        .position(|line| register(line, size) == Some(0))
        .context("the window was not shut")?;
    let moved = |line: &&str| register(line, address).is_some_and(|to| to != shown);
    let forgotten = |line: &&str| {
        line.split_once(FORGET)
            .is_some_and(|(_, line)| line.contains(&format!(" addr {shown:#x} ")))
    };
    ensure!(
        lines.iter().any(forgotten),
        "what the window shows, at {shown:#x}, was not forgotten"
    );
    ensure!(
        !lines[..shut].iter().any(|line| moved(line) || forgotten(line)),
        "the window, which shows {shown:#x}, was shut in line {shut} of QEMU's log, which is too late:\n{}",
        lines[..=shut].join("\n")
    );
    Ok(())
}

/// What a line says was written to a register of the NTB's. [`None`]: it is no write to that register.
fn register(line: &str, offset: u64) -> Option<u64> {
    let (_, write) = line.split_once(REGISTER)?;
    let (_, value) = write.split_once(&format!(":region0+{offset:#x}, 0x"))?;
    u64::from_str_radix(value.split_once(',')?.0, 16).ok()
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

fn switchtec() -> Result<Options> {
    options_with(Family::Switchtec)
}

/// The switch's driver sleeps while it shuts a window, and gives up if its caller gets a signal meanwhile.
fn a_signal_keeps_no_window_open(pair: &Pair<'_>) -> Result<()> {
    let before = open_windows(pair)?;
    let borrowed = pair.borrow()?;
    ensure!(
        open_windows(pair)? != before,
        "no window was opened for the device"
    );
    let status = pair.lender.sh_ok(&format!(
        "echo '{NVME} force' >/sys/kernel/devlend/lender/reclaim & writer=$!
         while read -r _ _ state _ </proc/$writer/stat && [ $state = R ]; do :; done
         kill $writer; wait $writer; echo $?"
    ))?;
    // 128 and SIGTERM.
    ensure!(
        status.trim() == "143",
        "reclaiming ended with status {}: the signal was too late",
        status.trim()
    );
    borrowed.wait_gone(LIMIT)?;
    let (lent, open) = (pair.lending().offers()?, open_windows(pair)?);
    ensure!(lent.is_empty(), "still lent: {lent:?}");
    ensure!(
        open == before,
        "before the lease the borrower's windows showed {before}, now {open}"
    );
    pair.lender.wait_bound(NVME, LIMIT)
}

/// What of the lender's memory and devices the borrower's windows show.
fn open_windows(pair: &Pair<'_>) -> Result<String> {
    let state = pair.bed.emulator().state()?;
    let windows = &state["ntb0"]["ends"]["borrower"]["windows"];
    let windows = windows.as_array().context("no such link")?;
    let open = windows.iter().map(|window| window["open"].to_string());
    Ok(open.collect::<Vec<_>>().join(" "))
}
