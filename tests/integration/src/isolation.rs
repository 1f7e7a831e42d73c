// SPDX-License-Identifier: GPL-2.0

//! What a lent device reaches of its lender: with an IOMMU the NTB's windows and nothing else; without, all memory, which is why
//! that has to be asked for with the word `unsafe`.
//!
//! A program in the borrower has a borrowed `edu` write to an address of the lender's RAM. The second test is how we know that the
//! first one can fail: it does the same without the IOMMU, and there the lender's memory must have changed.

use anyhow::{ensure, Result};
use devlend_integration::devices::registers::{
    fill_spare, spare_bytes, Direction, Registers, COPIED, EDU, SPARE_ADDRESS,
};
use devlend_integration::devices::setting::{LENDER_IOMMU, PLAIN};
use devlend_integration::devices::{Field, LIMIT};

use crate::cases;
use crate::pair::{finally, refused, Pair};
use crate::runner::{running, Case};

pub const CASES: &[Case] = cases![
    Alone(an_iommu_blocks_dma_into_the_lender),
    Alone(without_one_it_is_unsafe),
];

/// What the page of the lender's memory holds, in octal, and what edu would write there.
const BEFORE: &str = "245";
const AFTER: &str = "000";

/// Memory that the lender leaves alone, too, where the device does not see the borrower's: behind the window's 512 MiB, which the
/// IOMMU shows it from address 0.
const BEYOND: u64 = 0x3000_0000;

/// Lends and borrows edu, and has it write to a page of the lender's. Returns what is in the page then, and what the
/// lender's kernel has logged since.
fn attack(pair: &Pair<'_>, edu: &str, isolation: &str, at: u64) -> Result<(String, String)> {
    let (lender, borrower) = (pair.lender, pair.borrower);
    let words = if isolation == "unsafe" { " unsafe" } else { "" };
    pair.lending().lend(&format!("{edu}{words}"))?;
    let body = || {
        let offer = pair.at_borrower.offer(edu);
        let values = offer.wait_state("available", LIMIT)?;
        let listed = [
            pair.lending().value(edu, "isolation")?,
            values.get("isolation").cloned().unwrap_or_default(),
        ];
        ensure!(
            listed == [isolation, isolation],
            "isolation is listed as {listed:?} by lender and borrower"
        );
        borrower.write(&pair.at_borrower.path("borrow"), edu)?;
        let values = offer.wait_state("borrowed", LIMIT)?;
        let address = values.get("local_address").cloned().unwrap_or_default();
        let registers = Registers::of(borrower, &address)?;

        let page = (at - SPARE_ADDRESS) / COPIED;
        fill_spare(lender, page, BEFORE)?;
        let before = lender.dmesg()?.lines().count();
        registers.edu_copy(at, Direction::ToBus)?;
        let log = lender.dmesg()?;
        let log: Vec<&str> = log.lines().skip(before).collect();
        let seen = (spare_bytes(lender, page)?, log.join("\n"));
        offer.give_back()?;
        Ok(seen)
    };
    let mut seen = None;
    finally(body().map(|value| seen = Some(value)), || {
        let answer = pair.lending().try_reclaim(&format!("{edu} force"))?;
        ensure!(answer.is_ok(), "taking it back gave {answer:?}");
        Ok(())
    })?;
    Ok(seen.unwrap_or_default())
}

fn an_iommu_blocks_dma_into_the_lender() -> Result<()> {
    let mut options = (LENDER_IOMMU.options)()?;
    let lender = options.host_mut("lender")?;
    lender.memory = 1 << 30;
    lender.append += &format!(" memmap=1M${BEYOND:#x}");
    let mut field = Field::start(options, &[&EDU])?;
    let address = field.slots[0].address(EDU.place, field.hosts.bed.host("lender")?)?;
    let fault = format!("Request device [{address}] fault addr {BEYOND:#x}");
    field.hosts.provoke(&fault);
    field.judge(running(), |pair, _| {
        let (bytes, log) = attack(pair, &address, "iommu", BEYOND)?;
        ensure!(
            bytes == BEFORE,
            "the lender's memory holds {bytes}, not {BEFORE}"
        );
        ensure!(
            log.contains(&fault),
            "the lender's kernel has reported no fault, but: {log}"
        );
        Ok(())
    })
}

fn without_one_it_is_unsafe() -> Result<()> {
    let mut field = Field::start((PLAIN.options)()?, &[&EDU])?;
    field.judge(running(), |pair, slots| {
        let address = slots[0].address(EDU.place, pair.lender)?;
        let answer = pair.lending().try_lend(&address)?;
        refused(answer, &[devlend_bed::Errno::EPERM], "lending without `unsafe`")?;
        let (bytes, _) = attack(pair, &address, "unsafe", SPARE_ADDRESS)?;
        ensure!(
            bytes == AFTER,
            "the lender's memory holds {bytes}: edu does not write, and the other test would find nothing"
        );
        Ok(())
    })
}
