// SPDX-License-Identifier: GPL-2.0

//! All that was measured, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::control::Control;
use crate::counts::Count;
use crate::speed::Compared;

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the hosts were like.
    pub setting: Setting,
    /// Rounds of what is compared.
    pub rounds: u32,
    /// What moves for a block.
    pub counts: Vec<Count>,
    /// Borrowed against local.
    pub speed: Vec<Compared>,
    /// Lending and borrowing.
    pub control: Control,
}

/// The hosts.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// Release of both kernels.
    pub kernel: String,
    /// How QEMU ran them.
    pub accelerator: String,
    /// Families of the emulated NTBs.
    pub ntb: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nWhat moves for a block (must be 0: messages between the modules, copied bytes):\n"
        )?;
        writeln!(
            f,
            "{:<30} {:>8} {:>7} {:>8} {:>8} {:>8} {:>10} {:>8}",
            "", "messages", "copied", "writes", "reads", "MSI", "interrupts", "local"
        )?;
        for count in &self.counts {
            writeln!(
                f,
                "{:<30} {:>8} {:>7} {:>8.3} {:>8.3} {:>8.3} {:>10.3} {:>8.3}",
                count.job,
                count.control_messages,
                count.bounced_bytes,
                count.register_writes,
                count.register_reads,
                count.messages,
                count.interrupts,
                count.local_interrupts
            )?;
        }
        writeln!(
            f,
            "\nBorrowed over local, medians of {} rounds (and the middle half):\n",
            self.rounds
        )?;
        writeln!(
            f,
            "{:<34} {:<24} {:<24} {:<24}",
            "", "blocks a second", "median latency", "99th percentile"
        )?;
        for compared in &self.speed {
            writeln!(
                f,
                "{:<34} {:<24} {:<24} {:<24}",
                compared.job,
                compared.rate_ratio.to_string(),
                compared.median_latency_ratio.to_string(),
                compared.p99_latency_ratio.to_string()
            )?;
        }
        let control = &self.control;
        writeln!(
            f,
            "\nMilliseconds in the hosts, medians (and the middle half):\n"
        )?;
        for (what, figure) in [
            ("lend", control.lend_ms),
            ("borrow, until there is a disk", control.borrow_ms),
            (
                "(bind in the lender, until there is a disk)",
                control.bind_ms,
            ),
            ("return, until it is available", control.return_ms),
            ("reclaim", control.reclaim_ms),
        ] {
            writeln!(f, "{what:<46} {figure:.0}")?;
        }
        Ok(())
    }
}
