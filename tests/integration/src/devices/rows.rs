// SPDX-License-Identifier: GPL-2.0

//! The rows of the table.

use devlend_bed::Errno;

use super::row::{Expected, Row};
use super::{disk, ethernet, registers, setting, virtio};

/// All rows.
#[must_use]
pub fn all() -> Vec<Row> {
    use Expected::{NotBorrowed, NotLent, NotUsed};
    let mut rows = vec![Row::refused(
        &disk::VIRTIO_BLK_RAW,
        &setting::PLAIN,
        NotUsed(virtio::BYPASSES),
    )];
    rows.extend(
        [
            &registers::EDU,
            &ethernet::E1000E,
            &ethernet::E1000E_TESTED,
            &ethernet::E1000E_MSI,
            &ethernet::E1000E_INTX,
            &ethernet::E1000,
            &ethernet::IGB,
            &disk::XHCI_MSI,
            &registers::TESTDEV,
            &ethernet::E1000E_MOVED,
            &disk::NVME,
            &disk::XHCI,
            &disk::VIRTIO_BLK,
            &disk::VIRTIO_BLK_INTX,
            &ethernet::VIRTIO_NET,
            &virtio::RNG,
        ]
        .map(|device| Row::works(device, &setting::PLAIN)),
    );
    rows.extend([
        // With the NTB's registers between its own.
        Row::refused(
            &disk::VIRTIO_BLK,
            &setting::SCATTERED,
            NotBorrowed(Errno::ENOSPC, "do not fit the MMIO window"),
        ),
        Row::works(&disk::NVME, &setting::SMALL_WINDOW),
        Row::works(&ethernet::IGB, &setting::SMALL_WINDOW),
        Row::works(&disk::NVME, &setting::LENDER_IOMMU),
        Row::works(&ethernet::E1000E, &setting::LENDER_IOMMU),
        Row::refused(
            &disk::NVME,
            &setting::LENDER_NO_REMAPPING,
            NotLent(Errno::EPERM, "no IOMMU keeps the device"),
        ),
        Row::works(&disk::NVME, &setting::LENDER_NO_REMAPPING_UNSAFE),
        Row::works(&disk::NVME, &setting::BORROWER_REMAPPING),
        Row::works(&ethernet::E1000E_MOVED, &setting::BORROWER_REMAPPING),
        Row::works(&disk::NVME, &setting::BORROWER_NO_REMAPPING),
        Row::works(&disk::NVME, &setting::BOTH_REMAPPING),
        Row::works(&disk::NVME, &setting::BOTH_TRANSLATE),
        Row::refused(
            &disk::NVME,
            &setting::BORROWER_TRANSLATES,
            NotBorrowed(Errno::EINVAL, "iommu=pt"),
        ),
    ]);
    rows
}
