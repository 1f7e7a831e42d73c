// SPDX-License-Identifier: GPL-2.0

//! The demonstration's result: facts, figures and checks.

use std::fmt::Write as _;

use devlend_bed::Traffic;
use serde::Serialize;

use super::fio::Fio;

/// Everything that was seen.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machines: kernel, QEMU's accelerator, windows.
    pub setting: Setting,
    /// `lspci -k` of the device in the lender, before the lend.
    pub lender_lspci: String,
    /// The device's address in the lender.
    pub lender_address: String,
    /// `lspci -k` of the device in the borrower.
    pub borrower_lspci: String,
    /// The device's address in the borrower.
    pub borrower_address: String,
    /// How the device reaches the borrower's memory.
    pub dma_mode: String,
    /// Which windows are used for what.
    pub windows: Windows,
    /// Whether the lender's side is isolated by an IOMMU.
    pub isolation: String,
    /// The disk's device file in the borrower.
    pub disk: String,
    /// Size of the file that was carried over, in bytes.
    pub file_bytes: u64,
    /// Its SHA-256 in the borrower.
    pub sha256_borrower: String,
    /// Its SHA-256 in the lender, after the return.
    pub sha256_lender: String,
    /// `lspci -k` of the device in the lender, after the return.
    pub returned_lspci: String,
    /// The load.
    pub fio: Fio,
    /// What moved during the load.
    pub traffic: Traffic,
    /// What had to hold.
    pub checks: Vec<Check>,
}

/// Which windows are used for what, by their numbers.
#[derive(Debug, Serialize)]
pub struct Windows {
    /// The borrower's, that shows the device's registers.
    pub registers: usize,
    /// The lender's, that shows the borrower's RAM.
    pub memory: usize,
    /// Whether that RAM is mapped, and accesses to it not counted.
    pub memory_direct: bool,
    /// The lender's, that shows the range of the borrower's message interrupts.
    pub interrupts: usize,
}

/// The machines.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// `uname -r` of both hosts.
    pub kernel: String,
    /// QEMU's accelerator.
    pub accel: String,
    /// RAM of each host in bytes.
    pub memory: Vec<u64>,
    /// The NTB's hardware family.
    pub ntb: String,
    /// The NTB's windows.
    pub windows: Vec<String>,
}

/// One thing that had to hold.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// Whether it did.
    pub ok: bool,
    /// What was seen.
    pub seen: String,
}

impl Report {
    /// Whether all checks held.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let traffic = &self.traffic;
        writeln!(text, "\nLender, before:")?;
        indented(text, &self.lender_lspci)?;
        writeln!(
            text,
            "Borrower, {} with DMA mode {}, isolation {}:",
            self.borrower_address, self.dma_mode, self.isolation
        )?;
        indented(text, &self.borrower_lspci)?;
        writeln!(text, "Lender, after the return:")?;
        indented(text, &self.returned_lspci)?;
        writeln!(
            text,
            "ext4 on {}, a file of {} MiB in it:\n    borrower  {}\n    lender    {}",
            self.disk,
            self.file_bytes >> 20,
            self.sha256_borrower,
            self.sha256_lender
        )?;
        writeln!(
            text,
            "fio, random 4 KiB, depth 8, verified: {} reads ({:.0}/s), {} writes ({:.0}/s), error {}",
            self.fio.reads, self.fio.read_iops, self.fio.writes, self.fio.write_iops, self.fio.error
        )?;
        writeln!(
            text,
            "    meanwhile: {} interrupts ({} vectors used), {} control messages, {} bounced bytes",
            traffic.all_interrupts(),
            traffic.interrupts.len(),
            traffic.control_messages,
            bounced(traffic)
        )?;
        for (name, count) in &traffic.emulator {
            writeln!(text, "    ntb-emu: {name} {count}")?;
        }
        writeln!(text)?;
        for check in &self.checks {
            let verdict = if check.ok { "ok  " } else { "FAIL" };
            writeln!(text, "{verdict}  {}: {}", check.what, check.seen)?;
        }
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        writeln!(
            text,
            "\n{} checks passed, {failed} failed",
            self.checks.len() - failed
        )
    }
}

/// The figure of the bounce buffers, in words.
pub fn bounced(traffic: &Traffic) -> String {
    traffic
        .bounced_bytes
        .map_or_else(|| "0 (no bounce buffers exist)".into(), |n| n.to_string())
}

fn indented(text: &mut String, lines: &str) -> std::fmt::Result {
    lines
        .lines()
        .try_for_each(|line| writeln!(text, "    {line}"))
}
