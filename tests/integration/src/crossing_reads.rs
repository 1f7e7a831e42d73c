// SPDX-License-Identifier: GPL-2.0

//! Two hosts that read each other's device registers at the same time: stock QEMU cannot do that, and ntb-emu must say so.

use std::thread;

use anyhow::{ensure, Context, Result};
use devlend_bed::{Access, AccessKind, Bed, Family, Host, Options};

use crate::cases;
use crate::pair::NTB;
use crate::runner::Case;

pub const CASES: &[Case] = cases![Hosts(with_edu, are_answered_counted_and_named),];

/// A device with a register that is never all-ones.
const EDU: &str = "0000:00:05.0";

fn with_edu() -> Result<Options> {
    let mut options = Options::pair(Family::Amd);
    for host in &mut options.hosts {
        host.args = ["-device", "edu,addr=0x5"].map(String::from).to_vec();
    }
    Ok(options)
}

/// Reads the peer's register 16 times a round; returns how many reads gave all-ones.
fn read(host: &Host, rounds: u32) -> Result<u64> {
    let access = Access {
        name: "edu".into(),
        device: NTB.into(),
        bar: 1,
        offset: 0,
        kind: AccessKind::Read4,
    };
    let seen = host.mmio(rounds, &[access])?;
    Ok(seen.get("edu").context("nothing was read")?.ones)
}

fn are_answered_counted_and_named(bed: &Bed) -> Result<()> {
    let (lender, borrower) = (bed.host("lender")?, bed.host("borrower")?);
    for host in [lender, borrower] {
        host.enable(NTB)?;
        host.enable(EDU)?;
        host.show_by_amd(NTB, 0, host.first_bar(EDU)?, 1 << 20)?;
    }
    // One at a time there is nothing wrong.
    ensure!(read(lender, 20)? == 0 && read(borrower, 20)? == 0);

    let rounds = 200;
    let (at_lender, at_borrower) = thread::scope(|scope| {
        let other = scope.spawn(|| read(borrower, rounds));
        let own = read(lender, rounds);
        (own, other.join())
    });
    let at_borrower = at_borrower.map_err(|_| anyhow::anyhow!("the reading thread panicked"))?;
    let counters = bed.emulator().counters()?;
    let mut total = 0;
    for (host, ones) in [("lender", at_lender?), ("borrower", at_borrower?)] {
        let count = |what: &str| {
            let name = format!("ntb0.{host}.windows.0.{what}");
            counters
                .get(&name)
                .copied()
                .with_context(|| format!("no counter {name}"))
        };
        // Every read that gave all-ones is accounted for, and none was given up after a time-out.
        ensure!(
            count("deadlocks")? == ones && count("timeouts")? == 0,
            "the {host} saw {ones} all-ones, ntb-emu counted {} deadlocks and {} time-outs",
            count("deadlocks")?,
            count("timeouts")?
        );
        total += ones;
    }
    println!("{total} of {} crossing reads failed", 2 * 16 * rounds);
    let log = std::fs::read_to_string(bed.run_dir().join("ntb-emu.log"))?;
    ensure!(
        (total > 0) == log.contains("two QEMUs cannot wait for each other"),
        "{total} reads failed, and ntb-emu's log is: {log}"
    );
    // Neither host is the worse for it.
    ensure!(read(lender, 20)? == 0 && read(borrower, 20)? == 0);
    Ok(())
}
