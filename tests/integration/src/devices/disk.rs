// SPDX-License-Identifier: GPL-2.0

//! Disks of all kinds: what is written arrives in the image, and what is read is what was written.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};
use devlend_bed::{until, Host, Seen, DEFAULT_LIMIT};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::row::{Device, Driver, Place, Used};
use super::{virtio, LIMIT};

/// Bytes that are written.
const LENGTH: usize = 1 << 20;
/// Where: beyond what is looked at for partitions.
const OFFSET: u64 = 4 << 20;

/// A disk of its own.
macro_rules! disk {
    ($name:ident, $text:literal, $qemu:literal, $modules:expr) => {
        disk!($name, $text, $qemu, $modules, Place::Slot);
    };
    ($name:ident, $text:literal, $qemu:literal, $modules:expr, $place:expr) => {
        #[doc = concat!("A disk behind ", $text, ".")]
        pub static $name: Device = Device {
            name: $text,
            qemu: concat!("-drive if=none,id={id}d,file={image},format=raw ", $qemu),
            place: $place,
            driver: Driver::Stock($modules),
            works,
        };
    };
}

disk!(
    NVME,
    "nvme",
    "-device nvme,{pci},serial={id},drive={id}d",
    &["nvme"]
);
disk!(
    XHCI,
    "qemu-xhci, usb-storage",
    "-device qemu-xhci,{pci} -device usb-storage,bus={id}.0,drive={id}d",
    &["xhci_pci", "usb_storage"]
);
disk!(
    XHCI_MSI,
    "qemu-xhci with MSI only, usb-storage",
    "-device qemu-xhci,{pci},msi=on,msix=off -device usb-storage,bus={id}.0,drive={id}d",
    &["xhci_pci", "usb_storage"]
);
disk!(
    VIRTIO_BLK,
    "virtio-blk-pci, iommu_platform=on",
    "-device virtio-blk-pci,{pci},drive={id}d,iommu_platform=on,disable-legacy=on",
    &[],
    virtio::PLACE
);
disk!(
    VIRTIO_BLK_INTX,
    "virtio-blk-pci without MSI-X, iommu_platform=on",
    "-device virtio-blk-pci,{pci},drive={id}d,iommu_platform=on,disable-legacy=on,vectors=0",
    &[],
    virtio::PLACE
);
disk!(
    VIRTIO_BLK_RAW,
    "virtio-blk-pci without MSI-X",
    // Its one register range finds room in the window for registers wherever it is, so that it can be borrowed.
    "-device virtio-blk-pci,{pci},drive={id}d,disable-legacy=on,vectors=0",
    &[]
);

/// The disk of a function: its device file.
pub(super) fn of(host: &Host, address: &str) -> Result<String> {
    let list = format!(
        "for disk in /sys/block/*; do case $(readlink -f $disk) in */{address}/*) echo ${{disk##*/}};; esac; done"
    );
    until(&format!("a disk of {address}"), LIMIT, || {
        let found = host.sh_ok(&list)?;
        Ok(match found.lines().next() {
            Some(name) => Seen::Yes(format!("/dev/{name}")),
            None => Seen::NotYet("there is none".into()),
        })
    })
}

fn works(used: &Used<'_>) -> Result<String> {
    let host = used.host();
    let disk = of(host, used.address)?;
    let mut data = vec![0; LENGTH];
    ChaCha8Rng::seed_from_u64(used.number().into()).fill_bytes(&mut data);
    // Others may be used at the same time.
    let n = used.number();
    let block = 64 << 10;
    let (seek, count) = (OFFSET / block, LENGTH as u64 / block);
    let write = format!(
        "cat >/tmp/data{n} && dd if=/tmp/data{n} of={disk} bs={block} seek={seek} oflag=direct conv=fsync status=none && \
         dd if={disk} of=/tmp/back{n} bs={block} skip={seek} count={count} iflag=direct status=none && \
         cmp /tmp/data{n} /tmp/back{n}"
    );
    let output = host.sh_with(&write, Some(data.clone()), DEFAULT_LIMIT, None)?;
    ensure!(
        output.ok(),
        "writing and reading {disk}: {}{}",
        output.error_text(),
        output.text()
    );
    let image = &used.slot.image;
    let mut there = vec![0; LENGTH];
    File::open(image)
        .and_then(|file| file.read_exact_at(&mut there, OFFSET))
        .with_context(|| format!("reading {}", image.display()))?;
    ensure!(there == data, "the image holds other data than was written");
    Ok("wrote 1 MiB, read it back, image compared".into())
}
