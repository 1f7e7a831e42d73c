// SPDX-License-Identifier: GPL-2.0

//! The rows of the table.

use devlend_bed::Errno;

use super::row::{Expected, Row};
use super::{disk, ethernet, registers, setting, virtio};

/// Kinds of interrupts, as the table begins with them.
pub const MSIX: &str = "MSI-X:";
const MSI: &str = "MSI:";
const INTX: &str = "INTx:";

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
            (&registers::EDU, "none"),
            (&ethernet::E1000E, MSIX),
            (&ethernet::E1000E_TESTED, MSIX),
            // It tries a message and takes INTx if none has come within 50 ms: that depends on how busy the machine is.
            (&ethernet::E1000E_MSI, ""),
            (&ethernet::E1000E_INTX, INTX),
            (&ethernet::E1000, INTX),
            (&ethernet::IGB, MSIX),
            (&disk::XHCI_MSI, MSI),
            (&registers::TESTDEV, "none"),
            (&ethernet::E1000E_MOVED, MSIX),
            (&disk::NVME, MSIX),
            (&disk::XHCI, MSIX),
            (&disk::VIRTIO_BLK, MSIX),
            (&disk::VIRTIO_BLK_INTX, INTX),
            (&ethernet::VIRTIO_NET, MSIX),
            (&virtio::RNG, MSIX),
        ]
        .map(|(device, interrupts)| Row::works(device, interrupts, &setting::PLAIN)),
    );
    rows.extend([
        // With the NTB's registers between its own.
        Row::refused(
            &disk::VIRTIO_BLK,
            &setting::SCATTERED,
            NotBorrowed(Errno::ENOSPC, "do not fit the MMIO window"),
        ),
        Row::works(&disk::NVME, MSIX, &setting::SMALL_WINDOW),
        Row::works(&ethernet::IGB, MSIX, &setting::SMALL_WINDOW),
        Row::works(&disk::NVME, MSIX, &setting::LENDER_IOMMU),
        Row::works(&ethernet::E1000E, MSIX, &setting::LENDER_IOMMU),
        Row::refused(
            &disk::NVME,
            &setting::LENDER_NO_REMAPPING,
            NotLent(Errno::EPERM, "no IOMMU keeps the device"),
        ),
        Row::works(&disk::NVME, MSIX, &setting::LENDER_NO_REMAPPING_UNSAFE),
        Row::works(&disk::NVME, MSIX, &setting::BORROWER_REMAPPING),
        Row::works(&ethernet::E1000E_MOVED, MSIX, &setting::BORROWER_REMAPPING),
        Row::works(&disk::NVME, MSIX, &setting::BORROWER_NO_REMAPPING),
        Row::works(&disk::NVME, MSIX, &setting::BOTH_REMAPPING),
        Row::works(&disk::NVME, MSIX, &setting::BOTH_TRANSLATE),
        Row::refused(
            &disk::NVME,
            &setting::BORROWER_TRANSLATES,
            NotBorrowed(Errno::EINVAL, "iommu=pt"),
        ),
    ]);
    rows
}
