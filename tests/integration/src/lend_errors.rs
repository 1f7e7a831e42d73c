// SPDX-License-Identifier: GPL-2.0

//! Lending what cannot be lent: a clear error, and nothing has changed.

use anyhow::{bail, ensure, Result};
use devlend_bed::Errno;

use crate::cases;
use crate::pair::{finally, logged, refused, Pair, BIG, NTB, NVME, PORTS, ROOT_PORT};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(no_such_device),
    Pair(malformed),
    Pair(needs_unsafe_without_iommu),
    Pair(bridges_and_the_ntb),
    Pair(nothing_but_io_ports),
    Pair(io_ports_beside_memory),
    Pair(mounted),
    Pair(open),
    Pair(open_with_force),
    Pair(the_root_disk),
    Pair(twice),
    Pair(reclaim_what_is_not_lent),
];

fn no_such_device(pair: &Pair<'_>) -> Result<()> {
    for address in ["0000:00:0a.0", "0000:77:00.0", "00:1b.7", "0001:00:03.0"] {
        let answer = pair.lending().try_lend(&format!("{address} unsafe"))?;
        refused(answer, &[Errno::ENODEV], address)?;
    }
    Ok(())
}

fn malformed(pair: &Pair<'_>) -> Result<()> {
    let long = "0".repeat(3000);
    for request in [
        "",
        " ",
        "nvme",
        "0000:00:03",
        "0000:00:03.",
        "0000:00:03.8",
        "0000:00:20.0",
        "0000:100:03.0",
        "0000:00:03.0.0",
        "0000:00:-3.0",
        "0000:00:03.0 safe",
        "0000:00:03.0 unsafe unsafer",
        "0000:00:03.0unsafe",
        "unsafe 0000:00:03.0",
        long.as_str(),
    ] {
        let answer = pair.lending().try_lend(request)?;
        refused(answer, &[Errno::EINVAL], &format!("{:.40?}", request))?;
    }
    Ok(())
}

fn needs_unsafe_without_iommu(pair: &Pair<'_>) -> Result<()> {
    let answer = logged(
        pair.lender,
        || pair.lending().try_lend(NVME),
        |line| line.contains(NVME) && line.contains("unsafe"),
        "what to do about it",
    )?;
    refused(
        answer,
        &[Errno::EPERM],
        "a lend without an IOMMU and without 'unsafe'",
    )
}

fn bridges_and_the_ntb(pair: &Pair<'_>) -> Result<()> {
    // A host bridge, a root port, an ISA bridge, the NTB.
    for address in ["0000:00:00.0", ROOT_PORT, "0000:00:1f.0", NTB] {
        let before = pair.lender.driver(address)?;
        for words in ["unsafe", "unsafe force"] {
            let answer = pair.lending().try_lend(&format!("{address} {words}"))?;
            refused(
                answer,
                &[Errno::EPERM, Errno::EINVAL],
                &format!("{address} {words}"),
            )?;
        }
        ensure!(
            pair.lender.driver(address)? == before,
            "{address} has another driver now"
        );
    }
    Ok(())
}

/// It is refused before it is taken from its driver.
fn nothing_but_io_ports(pair: &Pair<'_>) -> Result<()> {
    let device = format!("/sys/bus/pci/devices/{PORTS}");
    pair.lender.sh_ok(&format!(
        "modprobe uio_pci_generic && echo uio_pci_generic >{device}/driver_override && echo {PORTS} >/sys/bus/pci/drivers_probe"
    ))?;
    let body = (|| {
        let since = pair.lender.sh_ok(&format!("stat -c %Z {device}/uio/*"))?;
        for words in ["unsafe", "unsafe force"] {
            let answer = logged(
                pair.lender,
                || pair.lending().try_lend(&format!("{PORTS} {words}")),
                |line| line.contains(PORTS) && line.contains("no memory BAR"),
                "why not",
            )?;
            refused(answer, &[Errno::EOPNOTSUPP], "a device without memory BARs")?;
        }
        let driver = pair.lender.driver(PORTS)?;
        ensure!(
            driver.as_deref() == Some("uio_pci_generic"),
            "it has the driver {driver:?}"
        );
        let still = pair.lender.sh_ok(&format!("stat -c %Z {device}/uio/*"))?;
        ensure!(since == still, "its driver was bound anew");
        let only = pair.lender.read(&format!("{device}/driver_override"))?;
        ensure!(
            only == "uio_pci_generic",
            "its driver_override is now '{only}'"
        );
        Ok(())
    })();
    finally(body, || {
        pair.lender
            .sh_ok(&format!(
                "echo {PORTS} >/sys/bus/pci/drivers/uio_pci_generic/unbind; echo >{device}/driver_override"
            ))
            .map(drop)
    })
}

/// It is lent without them, and the log says so once.
fn io_ports_beside_memory(pair: &Pair<'_>) -> Result<()> {
    let before = pair.lender.dmesg()?.lines().count();
    pair.lending().lend(&format!("{BIG} unsafe"))?;
    let body = (|| {
        let log = pair.lender.dmesg()?;
        let hidden: Vec<&str> = log
            .lines()
            .skip(before)
            .filter(|line| line.contains(BIG) && line.contains("hidden"))
            .collect();
        ensure!(
            hidden.len() == 1 && hidden[0].contains("BAR 1") && hidden[0].contains("I/O ports"),
            "{hidden:?}"
        );
        // The register is there, and empty.
        let offer = format!("/sys/kernel/devlend/lender/offers/{BIG}");
        let register = |file: &str| {
            pair.lender
                .sh_ok(&format!("od -An -tx4 -j20 -N4 {offer}/{file}"))
        };
        let (real, shown) = (register("config_raw")?, register("config_emulated")?);
        ensure!(
            real.trim().ends_with('1') && shown.trim() == "00000000",
            "BAR 1 is {real}, and shown as {shown}"
        );
        Ok(())
    })();
    finally(body, || {
        if let Err(errno) = pair.lending().try_reclaim(BIG)? {
            bail!("taking it back gave {errno}");
        }
        Ok(())
    })
}

fn mounted(pair: &Pair<'_>) -> Result<()> {
    let disk = pair.lender_disk()?;
    pair.lender.sh_ok(&format!(
        "mkdir -p /mnt/own && mkfs.ext4 -q -F {disk} && mount {disk} /mnt/own && echo mine >/mnt/own/file && sync"
    ))?;
    let body = (|| {
        let answer = logged(
            pair.lender,
            || pair.lending().try_lend(&format!("{NVME} unsafe")),
            |line| line.contains(NVME) && line.contains("in use"),
            "why not",
        )?;
        refused(answer, &[Errno::EBUSY], "a mounted disk")?;
        pair.lender.sh_ok("echo 3 >/proc/sys/vm/drop_caches")?;
        let text = pair
            .lender
            .sh_ok("cat /mnt/own/file && echo more >>/mnt/own/file && sync")?;
        ensure!(text == "mine", "the file holds '{text}'");
        Ok(())
    })();
    finally(body, || pair.lender.sh_ok("umount /mnt/own").map(drop))
}

/// Calls `act` while a process of the lender's has the NVMe's disk open.
fn held_open(pair: &Pair<'_>, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let disk = pair.lender_disk()?;
    pair.lender.sh_ok(&format!(
        "sleep 1000 <{disk} >/dev/null 2>&1 & echo $! >/tmp/holder"
    ))?;
    finally(act(), || {
        pair.lender
            .sh_ok("kill $(cat /tmp/holder); while [ -d /proc/$(cat /tmp/holder) ]; do sleep 0.1; done")
            .map(drop)
    })
}

fn open(pair: &Pair<'_>) -> Result<()> {
    held_open(pair, || {
        let answer = pair.lending().try_lend(&format!("{NVME} unsafe"))?;
        refused(answer, &[Errno::EBUSY], "a disk that a process has open")
    })
}

fn open_with_force(pair: &Pair<'_>) -> Result<()> {
    held_open(pair, || {
        pair.lending().lend(&format!("{NVME} unsafe force"))
    })?;
    let borrowed = pair.borrow_lent()?;
    finally(borrowed.check_disk().map(drop), || borrowed.end())
}

/// The disk that the host runs from, behind virtio: two layers above the PCI device.
fn the_root_disk(pair: &Pair<'_>) -> Result<()> {
    let address = "0000:00:01.0";
    let answer = pair.lending().try_lend(&format!("{address} unsafe"))?;
    // A virtio device that bypasses the DMA API may be refused for that, too.
    refused(answer, &[Errno::EBUSY, Errno::EPERM], "the root disk")?;
    pair.lender
        .sh_ok("echo 3 >/proc/sys/vm/drop_caches; ls -R /etc >/dev/null")
        .map(drop)
}

fn twice(pair: &Pair<'_>) -> Result<()> {
    pair.lend()?;
    let body = (|| {
        let answer = pair.lending().try_lend(&format!("{NVME} unsafe"))?;
        refused(answer, &[Errno::EBUSY], "a device that is lent already")?;
        let state = pair.lending().value(NVME, "state")?;
        ensure!(state == "offered", "its state is {state}");
        let isolation = pair.lending().value(NVME, "isolation")?;
        ensure!(isolation == "unsafe", "its isolation is {isolation}");
        let previous = pair.lending().value(NVME, "previous_driver")?;
        ensure!(previous == "nvme", "its previous driver is {previous}");
        Ok(())
    })();
    finally(body, || pair.end())
}

fn reclaim_what_is_not_lent(pair: &Pair<'_>) -> Result<()> {
    let answer = pair.lending().try_reclaim(NVME)?;
    refused(
        answer,
        &[Errno::ENOENT, Errno::ENODEV],
        "a reclaim of what is not lent",
    )?;
    let answer = pair.lending().try_reclaim("nonsense")?;
    refused(answer, &[Errno::EINVAL], "a reclaim of nonsense")
}
