// SPDX-License-Identifier: GPL-2.0

//! Rows of the table of devices that are short and stand for others; `make test-devices` runs all.

use anyhow::{ensure, Result};
use devlend_integration::devices::row::{Expected, Row};
use devlend_integration::devices::{self, disk, rows, setting, virtio};

use crate::cases;
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Alone(drivers_that_leave_out_the_dma_api),
    Alone(both_hosts_remap_interrupts),
];

fn pass(rows: &[Row]) -> Result<()> {
    let report = devices::run(rows);
    ensure!(
        report.failed() == 0 && report.lines.len() == rows.len(),
        "\n{report}"
    );
    Ok(())
}

/// They would write into the lender.
fn drivers_that_leave_out_the_dma_api() -> Result<()> {
    pass(&[Row::refused(
        &disk::VIRTIO_BLK_RAW,
        &setting::PLAIN,
        Expected::NotUsed(virtio::BYPASSES),
    )])
}

fn both_hosts_remap_interrupts() -> Result<()> {
    pass(&[Row::works(
        &disk::NVME,
        rows::MSIX,
        &setting::BOTH_REMAPPING,
    )])
}
