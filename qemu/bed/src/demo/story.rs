// SPDX-License-Identifier: GPL-2.0

//! The steps: lend, borrow, use, return, compare.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::devlend::{Lender, Link};
use devlend_bed::{kernel_log, Bed, Host, LinkOptions, Snapshot};

use super::report::{Check, Report, Setting, Windows};
use super::{fio, Progress};

/// Where the bed puts the NVMe of the lender.
const DEVICE: &str = "0000:00:03.0";
const DIRECTORY: &str = "/mnt/borrowed";
const FILE_MEGABYTES: u64 = 16;

/// Plays the whole story on a bed that has just been started.
pub fn tell(bed: &Bed, fio_megabytes: u32, progress: &mut Progress) -> Result<Report> {
    let lender = bed.host("lender")?;
    let borrower = bed.host("borrower")?;

    progress.step("lender: its own nvme driver takes the disk");
    lender.modprobe("nvme")?;
    lender.wait_nvme(DEVICE, Duration::from_secs(30))?;
    let lender_lspci = lspci(lender, DEVICE)?;
    let own_driver = driver(lender, DEVICE)?;

    progress.step("both: loading the modules, waiting for the link");
    let (at_lender, at_borrower) = bed.bring_up()?;
    let links = [&at_lender, &at_borrower];
    let windows = windows(bed, &at_lender, &at_borrower)?;

    progress.step(format!(
        "lender: lending {DEVICE} (without an IOMMU: 'unsafe')"
    ));
    Lender(lender).lend(&format!("{DEVICE} unsafe"))?;
    let isolation = Lender(lender).value(DEVICE, "isolation")?;

    progress.step(format!("borrower: borrowing {DEVICE}"));
    borrower.modprobe("nvme")?;
    let offer = at_borrower.offer(DEVICE);
    let address = offer.borrow()?;
    let disk = borrower.wait_nvme(&address, Duration::from_secs(60))?;
    let borrower_lspci = lspci(borrower, &address)?;
    let borrower_driver = driver(borrower, &address)?;
    let values = offer.values()?;
    let dma_mode = values
        .get("dma_mode")
        .context("the offer has no dma_mode")?
        .clone();

    progress.step(format!(
        "borrower: ext4 on {disk}, a random file of {FILE_MEGABYTES} MiB"
    ));
    borrower.sh_ok(&format!(
        "mkdir -p {DIRECTORY} && mkfs.ext4 -q -F {disk} && mount {disk} {DIRECTORY} && \
         dd if=/dev/urandom of={DIRECTORY}/file bs=1M count={FILE_MEGABYTES} status=none && sync && \
         echo 3 >/proc/sys/vm/drop_caches"
    ))?;
    let sha256_borrower = sha256(borrower)?;

    progress.step(format!(
        "borrower: fio, random reads and writes over {fio_megabytes} MiB, verified"
    ));
    let before = Snapshot::take(bed, borrower, &address, links)?;
    let fio = fio::run(borrower, DIRECTORY, fio_megabytes)?;
    let traffic = before.since(bed, borrower, &address, links)?;

    progress.step("borrower: unmounting and returning the device");
    borrower.sh_ok(&format!("umount {DIRECTORY}"))?;
    offer.give_back()?;
    let gone = !borrower.has_device(&address)?;

    progress.step("lender: taking the device back, its own driver binds again");
    Lender(lender).reclaim(DEVICE)?;
    let returned_driver = driver(lender, DEVICE)?;
    let returned_lspci = lspci(lender, DEVICE)?;
    let disk_again = lender.wait_nvme(DEVICE, Duration::from_secs(60))?;

    progress.step("lender: mounting the same file system, comparing the file");
    lender.sh_ok(&format!(
        "mkdir -p {DIRECTORY} && mount -o ro {disk_again} {DIRECTORY}"
    ))?;
    let sha256_lender = sha256(lender)?;
    lender.sh_ok(&format!("umount {DIRECTORY}"))?;

    progress.step("both: unloading the modules, reading the kernel's logs");
    borrower.unload()?;
    lender.unload()?;

    let mut checks = vec![
        check(
            "the borrower's own nvme driver is bound",
            borrower_driver == "nvme",
            &borrower_driver,
        ),
        check(
            "the file is the same in both hosts",
            sha256_borrower == sha256_lender,
            &sha256_lender,
        ),
        check(
            "fio found every block as it was written",
            fio.error == 0 && fio.writes > 0,
            format!(
                "error {}, {} blocks written, {} read",
                fio.error, fio.writes, fio.reads
            ),
        ),
        check(
            "interrupts of the borrowed device arrived",
            traffic.all_interrupts() > 0,
            format!(
                "{} ({} vectors used)",
                traffic.all_interrupts(),
                traffic.interrupts.len()
            ),
        ),
        check(
            "no control message was sent during fio",
            traffic.control_messages == 0,
            traffic.control_messages,
        ),
        check(
            "no byte was bounced",
            traffic.bounced_bytes.unwrap_or(0) == 0,
            super::report::bounced(&traffic),
        ),
        check(
            "the device is gone from the borrower",
            gone,
            if gone {
                "no such device"
            } else {
                "still there"
            },
        ),
        check(
            "the lender's previous driver is back",
            returned_driver == own_driver,
            &returned_driver,
        ),
    ];
    for host in [lender, borrower] {
        let log = host.dmesg()?;
        let complaints = kernel_log::complaints(&log);
        checks.push(check(
            &format!("the {}'s kernel log is clean", host.name()),
            complaints.is_empty(),
            if complaints.is_empty() {
                "no complaint".into()
            } else {
                complaints.join("; ")
            },
        ));
    }

    Ok(Report {
        setting: setting(bed, lender)?,
        lender_lspci,
        lender_address: DEVICE.into(),
        borrower_lspci,
        borrower_address: address.clone(),
        dma_mode,
        windows,
        isolation,
        disk,
        file_bytes: FILE_MEGABYTES << 20,
        sha256_borrower,
        sha256_lender,
        returned_lspci,
        fio,
        traffic,
        checks,
    })
}

fn check(what: &str, ok: bool, seen: impl ToString) -> Check {
    Check {
        what: what.into(),
        ok,
        seen: seen.to_string(),
    }
}

fn lspci(host: &Host, address: &str) -> Result<String> {
    let text = host.sh_ok(&format!("lspci -D -k -s {address}"))?;
    ensure!(
        !text.is_empty(),
        "lspci finds no {address} on the {}",
        host.name()
    );
    Ok(text)
}

fn driver(host: &Host, address: &str) -> Result<String> {
    host.driver(address)?
        .with_context(|| format!("{address} has no driver on the {}", host.name()))
}

fn sha256(host: &Host) -> Result<String> {
    let text = host.sh_ok(&format!("sha256sum {DIRECTORY}/file"))?;
    let (sum, _) = text.split_once(' ').context("sha256sum printed no sum")?;
    Ok(sum.into())
}

/// A host's link says what its *peer's* windows show of it.
fn windows(bed: &Bed, at_lender: &Link<'_>, at_borrower: &Link<'_>) -> Result<Windows> {
    let index = |link: &Link<'_>, file: &str| -> Result<usize> {
        usize::try_from(link.number(file)?).context("a window's number")
    };
    let memory = index(at_borrower, "memory_window")?;
    let direct = |link: &LinkOptions| link.windows.get(memory).is_some_and(|window| window.direct);
    Ok(Windows {
        registers: index(at_lender, "mmio_window")?,
        memory,
        memory_direct: bed.options().links.first().is_some_and(direct),
        interrupts: index(at_borrower, "msi_window")?,
    })
}

fn setting(bed: &Bed, host: &Host) -> Result<Setting> {
    let options = bed.options();
    let families = options.links.iter().map(|link| link.family.name());
    Ok(Setting {
        kernel: host.sh_ok("uname -r")?,
        accel: options.accel.clone(),
        memory: options.hosts.iter().map(|host| host.memory).collect(),
        ntb: families.collect::<Vec<_>>().join(", "),
        windows: options
            .links
            .iter()
            .flat_map(|link| &link.windows)
            .map(ToString::to_string)
            .collect(),
    })
}
