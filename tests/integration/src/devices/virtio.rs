// SPDX-License-Identifier: GPL-2.0

//! A source of random numbers.

use anyhow::{ensure, Result};
use devlend_bed::{until, Seen};

use super::row::{Device, Driver, Place, Used};
use super::LIMIT;

/// What a virtio device says that puts raw addresses on the bus, or rather the kernel of the borrower about it.
pub const BYPASSES: &str = "device must provide VIRTIO_F_ACCESS_PLATFORM";

/// The registers of a function that has MSI-X are in two pieces, which the firmware puts far from each other. Behind a port the
/// NTB's registers are not between them.
pub const PLACE: Place = Place::Port;

/// A source of random numbers that keeps to the DMA API.
pub static RNG: Device = Device {
    name: "virtio-rng-pci, iommu_platform=on",
    qemu: "-object rng-random,id={id}r,filename=/dev/urandom \
           -device virtio-rng-pci,{pci},rng={id}r,iommu_platform=on,disable-legacy=on",
    place: PLACE,
    driver: Driver::Stock(&["virtio_rng"]),
    works,
};

fn works(used: &Used<'_>) -> Result<String> {
    let host = used.host();
    until("the kernel to use the source", LIMIT, || {
        let current = host.read("/sys/class/misc/hw_random/rng_current")?;
        Ok(if current.starts_with("virtio_rng") {
            Seen::Yes(())
        } else {
            Seen::NotYet(current)
        })
    })?;
    // Two pieces that are neither empty nor the same.
    let sums = host.sh_ok(
        "for i in 1 2; do dd if=/dev/hwrng bs=4k count=16 iflag=fullblock status=none | sha256sum; done; \
         head -c 64k /dev/zero | sha256sum",
    )?;
    let mut sums: Vec<&str> = sums.lines().collect();
    sums.sort_unstable();
    sums.dedup();
    ensure!(sums.len() == 3, "{sums:?}");
    Ok("two times 64 KiB of random bytes, which differ".into())
}
