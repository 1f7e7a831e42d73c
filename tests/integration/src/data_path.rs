// SPDX-License-Identifier: GPL-2.0

//! What carries the data of a borrowed device: the bridge, and no software of ours.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::cases;
use crate::pair::{finally, Pair, NVME};
use crate::runner::Case;

const LIMIT: Duration = Duration::from_secs(60);

pub const CASES: &[Case] = cases![
    Pair(no_messages_no_copies),
    Pair(a_first_look_asks_nobody),
    Pair(a_file_system_moves_over),
    Pair(small_and_odd_reads),
];

fn no_messages_no_copies(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let body = (|| {
        let messages =
            || Ok::<_, anyhow::Error>(pair.at_lender.messages()? + pair.at_borrower.messages()?);
        let interrupts = || {
            Ok::<u64, anyhow::Error>(pair.borrower.interrupts(&borrowed.address)?.values().sum())
        };
        pair.borrower.reset_bounced()?;
        let (messages_before, interrupts_before) = (messages()?, interrupts()?);
        for _ in 0..3 {
            borrowed.check_disk()?;
        }
        ensure!(interrupts()? > interrupts_before, "no interrupt arrived");
        ensure!(
            messages()? == messages_before,
            "control messages were sent during I/O"
        );
        let bounced = pair.borrower.bounced()?;
        ensure!(
            bounced.is_some(),
            "the test's kernel has no bounce buffers: nothing is shown"
        );
        ensure!(bounced == Some((0, 0)), "bounced (now, most): {bounced:?}");
        Ok(())
    })();
    finally(body, || borrowed.end())
}

/// What the kernel reads while it finds the device is in the image; what it and others read later may have changed.
fn a_first_look_asks_nobody(pair: &Pair<'_>) -> Result<()> {
    const PROBE: &str = "/sys/bus/pci/drivers_autoprobe";
    pair.borrower.write(PROBE, "0")?;
    let body = (|| {
        pair.lend()?;
        let offer = pair.at_borrower.offer(NVME);
        offer.wait_state("available", LIMIT)?;
        let answer = pair.at_borrower.try_borrow(NVME)?;
        ensure!(answer.is_ok(), "borrowing it gave {answer:?}");
        let values = offer.wait_state("borrowed", LIMIT)?;
        let address = values.get("local_address").context("no local address")?;
        let asked = || {
            pair.at_borrower
                .number(&format!("offers/{NVME}/config_reads_peer"))
        };
        let before = asked()?;
        // Once for the last thing that the kernel does with a new device.
        ensure!(before <= 2, "the lender was asked {before} times");
        pair.borrower
            .sh_ok(&format!("setpci -s {address} STATUS"))?;
        ensure!(asked()? > before, "the status is not the device's");
        offer.give_back()?;
        pair.lending().reclaim(NVME)
    })();
    finally(body, || pair.borrower.write(PROBE, "1"))
}

fn a_file_system_moves_over(pair: &Pair<'_>) -> Result<()> {
    const FILE: &str = "/mnt/moved/file";
    let borrowed = pair.borrow()?;
    let disk = &borrowed.disk;
    let there = pair.borrower.sh_ok(&format!(
        "mkdir -p /mnt/moved && mkfs.ext4 -q -F {disk} && mount {disk} /mnt/moved && \
         dd if=/dev/urandom of={FILE} bs=1M count=4 status=none && sync && sha256sum {FILE} && umount /mnt/moved"
    ))?;
    borrowed.end()?;
    let disk = pair.lender_disk()?;
    let here = pair.lender.sh_ok(&format!(
        "mkdir -p /mnt/moved && mount -o ro {disk} /mnt/moved && sha256sum {FILE} && umount /mnt/moved"
    ))?;
    ensure!(
        here == there,
        "the lender reads {here}, the borrower wrote {there}"
    );
    Ok(())
}

/// Transfers that end inside a page, on memory that is not page-aligned, and large ones with many segments.
fn small_and_odd_reads(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let body = (|| {
        let disk = &borrowed.disk;
        for (size, count) in [
            ("512", 64),
            ("1536", 64),
            ("4096", 64),
            ("128k", 16),
            ("1M", 4),
        ] {
            pair.borrower.sh_ok(&format!(
                "dd if=/dev/urandom of=/tmp/odd bs={size} count={count} status=none && \
                 dd if=/tmp/odd of={disk} bs={size} oflag=direct status=none && \
                 dd if={disk} of=/tmp/back bs={size} count={count} iflag=direct status=none && cmp /tmp/odd /tmp/back"
            ))?;
        }
        Ok(())
    })();
    finally(body, || borrowed.end())
}
