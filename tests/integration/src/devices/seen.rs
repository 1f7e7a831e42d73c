// SPDX-License-Identifier: GPL-2.0

//! What the running hosts say about a device: nothing here is taken from how they were set up.

use anyhow::{ensure, Context, Result};
use devlend_bed::Host;

use super::report::Line;
use super::row::{Driver, Row, Used};
use crate::pair::{Pair, NTB};

/// The line of a device that was not borrowed.
pub fn unborrowed(row: &Row, pair: &Pair<'_>, lent: &str, why: &str) -> Result<Line> {
    Ok(Line {
        device: row.device.name.into(),
        driver: "-".into(),
        interrupts: "-".into(),
        dma: "-".into(),
        lender: iommu(pair.lender, lent)?,
        borrower: iommu(pair.borrower, NTB)?,
        result: format!("refused: {why}"),
        passed: true,
    })
}

/// The line of a device that is borrowed, and has taken so many interrupts while it was used.
pub fn borrowed(row: &Row, used: &Used<'_>, result: &str, taken: u64) -> Result<Line> {
    let Used {
        pair,
        lent,
        address,
        ..
    } = *used;
    let values = pair.at_borrower.offer(lent).values()?;
    let value = |name: &str| {
        let value = values.get(name).cloned();
        value.with_context(|| format!("the offer has no file {name}"))
    };
    let isolation = pair.lending().value(lent, "isolation")?;
    ensure!(
        value("isolation")? == isolation,
        "the lender says isolation is {isolation}, the borrower {:?}",
        values.get("isolation")
    );
    let driver = pair.borrower.driver(address)?;
    if let Driver::None = row.device.driver {
        ensure!(driver.is_none(), "it has the driver {driver:?}");
    }
    Ok(Line {
        device: row.device.name.into(),
        driver: driver.unwrap_or_else(|| "none".into()),
        interrupts: interrupts(pair.borrower, address, taken)?,
        dma: value("dma_mode")?,
        lender: format!("{} ({isolation})", iommu(pair.lender, lent)?),
        // Requests of the device come in the NTB's name.
        borrower: iommu(pair.borrower, NTB)?,
        result: result.into(),
        passed: true,
    })
}

/// How a host's IOMMU treats a device, and whether interrupts are remapped.
fn iommu(host: &Host, address: &str) -> Result<String> {
    // The NTB's vectors are there in each setting, and the interrupt chip's name says what is above it.
    let text = host.sh_ok(&format!(
        "cat /sys/bus/pci/devices/{address}/iommu_group/type 2>/dev/null || echo none; \
         grep -c ' IR-PCI-MSI.*{NTB}' /proc/interrupts; true"
    ))?;
    let (kind, remapped) = text.split_once('\n').context("no answer about IOMMUs")?;
    Ok(match (kind, remapped) {
        (kind, "0") => kind.to_string(),
        (kind, _) => format!("{kind}, remapping"),
    })
}

/// Interrupts that a device's driver has taken so far, by message or by pin.
pub fn interrupts_taken(host: &Host, address: &str) -> Result<u64> {
    let messages: u64 = host.interrupts(address)?.values().sum();
    if messages > 0 {
        return Ok(messages);
    }
    let text = host.sh_ok(&format!(
        "irq=$(cat /sys/bus/pci/devices/{address}/irq); \
         [ $irq = 0 ] || sed -n \"s/^ *$irq://p\" /proc/interrupts"
    ))?;
    Ok(text
        .split_whitespace()
        .map_while(|word| word.parse::<u64>().ok())
        .sum())
}

/// Which kind of interrupts a device's driver has set up, and how many came.
fn interrupts(host: &Host, address: &str, taken: u64) -> Result<String> {
    let text = host.sh_ok(&format!(
        "cd /sys/bus/pci/devices/{address}; cat msi_irqs/* 2>/dev/null | sort | uniq -c; echo $(cat irq)"
    ))?;
    let mut lines: Vec<&str> = text.lines().collect();
    let pin = lines.pop().unwrap_or("0");
    let messages = lines.first().and_then(|line| line.trim().split_once(' '));
    Ok(match messages {
        Some((count, "msix")) => format!("MSI-X: {count} vectors, {taken} taken"),
        Some((count, "msi")) => format!("MSI: {count} vectors, {taken} taken"),
        Some((_, other)) => other.to_string(),
        None if pin != "0" => format!("INTx: {taken} taken"),
        None => "none".into(),
    })
}
