// SPDX-License-Identifier: GPL-2.0

//! What a device is borrowed through goes away, or stops to answer, while the device is in use.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::devlend::Role;
use devlend_bed::Host;

use crate::cases;
use crate::pair::{finally, ntb_driver, Borrowed, Pair, NTB, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(borrower_unloaded_with_a_file_system_mounted),
    Pair(everything_unloaded_under_io),
    Pair(ntb_unbound_under_io),
    Pair(ntb_removed_during_a_return),
    Pair(lender_stalls),
];

const IOMEM: &str = "cat /proc/iomem";

/// Reads from the disk until it fails.
pub fn keep_reading(host: &Host, borrowed: &Borrowed<'_>) -> Result<()> {
    host.sh_ok(&format!(
        "dd if={} of=/dev/null bs=64k iflag=direct >/dev/null 2>&1 & sleep 0.5; kill -0 $!",
        borrowed.disk
    ))
    .map(drop)
}

/// Nothing of the device is left.
pub fn check_gone(pair: &Pair<'_>, address: &str) -> Result<()> {
    ensure!(
        !pair.borrower.has_device(address)?,
        "{address} is still there"
    );
    let iomem = pair.borrower.sh_ok(IOMEM)?;
    ensure!(
        !iomem.contains("devlend"),
        "a window is still claimed: {iomem}"
    );
    Ok(())
}

/// The borrower's driver of the NTB and devlend are there again: so must be the device.
pub fn borrow_again(pair: &Pair<'_>) -> Result<()> {
    for link in pair.ends() {
        link.wait_state("up", Duration::from_secs(30))?;
    }
    pair.at_borrower
        .offer(NVME)
        .wait_state("available", Duration::from_secs(30))?;
    let borrowed = pair.borrow_lent()?;
    borrowed.check_disk()?;
    borrowed.end()
}

fn borrower_unloaded_with_a_file_system_mounted(pair: &Pair<'_>) -> Result<()> {
    let before = pair.borrower.sh_ok(IOMEM)?;
    let borrowed = pair.borrow()?;
    pair.borrower.sh_ok(&format!(
        "mkfs.ext4 -q -F {} && mkdir -p /tmp/mounted && mount {0} /tmp/mounted",
        borrowed.disk
    ))?;
    pair.borrower.sh_ok(
        "(while dd if=/dev/zero of=/tmp/mounted/file bs=64k count=16 conv=fsync; do :; done) >/dev/null 2>&1 & \
         sleep 1; kill -0 $!",
    )?;
    // It is the user's data that is lost, as when a disk is pulled; the kernel goes on.
    let body = pair.borrower.sh_ok("rmmod devlend_borrower");
    pair.borrower.sh_ok("umount /tmp/mounted")?;
    body?;
    check_gone(pair, &borrowed.address)?;
    ensure!(
        pair.borrower.sh_ok(IOMEM)? == before,
        "/proc/iomem is not as before"
    );
    pair.lending()
        .wait_state(NVME, "offered", Duration::from_secs(10))?;
    pair.borrower.load(Role::Borrower)?;
    borrow_again(pair)
}

fn everything_unloaded_under_io(pair: &Pair<'_>) -> Result<()> {
    let before = pair.borrower.sh_ok(IOMEM)?;
    let borrowed = pair.borrow()?;
    keep_reading(pair.borrower, &borrowed)?;
    pair.borrower.unload()?;
    check_gone(pair, &borrowed.address)?;
    pair.lending()
        .wait_state(NVME, "offered", Duration::from_secs(30))?;
    pair.borrower.load(Role::Borrower)?;
    ensure!(
        pair.borrower.sh_ok(IOMEM)? == before,
        "/proc/iomem is not as before"
    );
    borrow_again(pair)
}

fn ntb_unbound_under_io(pair: &Pair<'_>) -> Result<()> {
    let before = pair.borrower.sh_ok(IOMEM)?;
    let borrowed = pair.borrow()?;
    keep_reading(pair.borrower, &borrowed)?;
    let driver = ntb_driver(pair.borrower)?;
    pair.borrower.write(&format!("{driver}/unbind"), NTB)?;
    let body = check_gone(pair, &borrowed.address);
    finally(body, || {
        pair.borrower.write(&format!("{driver}/bind"), NTB)?;
        ensure!(
            pair.borrower.sh_ok(IOMEM)? == before,
            "/proc/iomem is not as before"
        );
        borrow_again(pair)
    })
}

/// Who removes the NTB holds the kernel's lock for that, which a return needs too; each must come to an end, in either
/// order.
fn ntb_removed_during_a_return(pair: &Pair<'_>) -> Result<()> {
    for (first, then) in [("return", "remove"), ("remove", "return")] {
        let borrowed = pair.borrow()?;
        keep_reading(pair.borrower, &borrowed)?;
        let writer = |what: &str| match what {
            "return" => format!("echo {NVME} > {}", pair.at_borrower.path("return")),
            _ => format!("echo 1 > /sys/bus/pci/devices/{NTB}/remove"),
        };
        // `return` ends well or finds its file or the device gone, but it ends.
        pair.borrower.sh_within(
            Duration::from_secs(60),
            &format!(
                "({}) 2>/dev/null & ({}) 2>/dev/null & wait",
                writer(first),
                writer(then)
            ),
        )?;
        check_gone(pair, &borrowed.address)?;
        ensure!(
            !pair.borrower.has_device(NTB)?,
            "the NTB is still there after {first} and {then}"
        );
        // The lender needs not be asked: it sees the link go down.
        pair.lending()
            .wait_state(NVME, "offered", Duration::from_secs(30))?;
        pair.borrower.write("/sys/bus/pci/rescan", "1")?;
        borrow_again(pair)?;
    }
    Ok(())
}

/// A configuration access finds out that the lender does not answer, while the link is up. The lender has to stop the
/// device before the borrower's driver frees the memory it may be writing to.
fn lender_stalls(pair: &Pair<'_>) -> Result<()> {
    let before = pair.lender.dmesg()?.lines().count();
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    let state = pair.at_borrower.path(&format!("offers/{NVME}/state"));
    pair.lender.pause()?;
    let seen = pair.borrower.sh_ok(&format!(
        "setpci -s {address} COMMAND=0006; cat {state} {link}; sleep 1; [ -e {device} ] && echo present",
        address = borrowed.address,
        link = pair.at_borrower.path("state"),
        device = borrowed.file("vendor"),
    ));
    pair.lender.resume()?;
    let seen = seen?;
    ensure!(
        seen.split_whitespace().eq(["lost", "up", "present"]),
        "while the lender stood still: {seen}"
    );

    borrowed.wait_gone(Duration::from_secs(30))?;
    // The lender was told, and got the message when it went on.
    let log = pair.lender.dmesg()?;
    ensure!(
        log.lines()
            .skip(before)
            .any(|line| line.contains("lease over link") && line.ends_with("returned")),
        "{log}"
    );
    borrow_again(pair)
}
