// SPDX-License-Identifier: GPL-2.0

//! How a borrowed device reaches the borrower's memory: all of it, or a part that the rest is copied through.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::{until, Access, AccessKind, Errno, Family, Host, Options, Seen, Window};

use crate::cases;
use crate::pair::{finally, logged, options_with, refused, Pair, NTB, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(the_mode_that_is_asked_for),
    Own(high_memory, memory_above_the_window_is_copied),
    Own(no_buffers, nothing_to_copy_through),
    Own(two_iommus, an_iommu_shows_what_is_mapped),
];

const LIMIT: Duration = Duration::from_secs(60);

/// An Ethernet function of the lender's whose driver addresses 32 bits.
const NARROW: &str = "0000:00:06.0";

/// The memory that is not the kernel's in a test's hosts (`SPARE`), which the windows show, too.
const PLACE: u64 = 0x1000_0000;

/// What is there in a host.
fn word(host: &Host) -> Result<String> {
    host.sh_ok(&format!(
        "dd if=/dev/mem bs=4 skip={} count=1 status=none | od -An -tx4",
        PLACE / 4
    ))
}

/// The lender writes there in the borrower, through AMD's third window, and reads it again; returns how often it has read all
/// ones.
fn poke(pair: &Pair<'_>, value: u32) -> Result<u64> {
    let access = |name: &str, kind| Access {
        name: name.into(),
        device: NTB.into(),
        bar: 4,
        offset: PLACE,
        kind,
    };
    let accesses = [
        access("write", AccessKind::Write4(value)),
        access("read", AccessKind::Read4),
    ];
    let done = pair.lender.mmio(1, &accesses)?;
    Ok(done.get("read").context("no result")?.ones)
}

/// What the borrower says of a borrowed device.
fn value(pair: &Pair<'_>, name: &str) -> Result<String> {
    let values = pair.at_borrower.offer(NVME).values()?;
    values
        .get(name)
        .cloned()
        .with_context(|| format!("the offer has no {name}"))
}

fn the_mode_that_is_asked_for(pair: &Pair<'_>) -> Result<()> {
    let needed = pair.at_borrower.number("dma_needed")?;
    pair.lend()?;
    let body = (|| {
        let offer = pair.at_borrower.offer(NVME);
        offer.wait_state("available", LIMIT)?;
        // There is no IOMMU here.
        for (request, says) in [
            ("dma=iommu", "no IOMMU of this host"),
            ("dma=fast", "no DMA mode"),
            ("dma=linear dma=bounce", "given twice"),
        ] {
            let answer = logged(
                pair.borrower,
                || pair.at_borrower.try_borrow(&format!("{NVME} {request}")),
                |line| line.contains(says),
                says,
            )?;
            refused(answer, &[Errno::EINVAL], request)?;
        }
        ensure!(value(pair, "dma_mode")?.is_empty());
        for (request, mode) in [
            ("", "linear"),
            (" dma=linear", "linear"),
            // All of this host's memory is low: what may be copied through is all there is.
            (" dma=bounce", "bounce"),
        ] {
            offer.wait_state("available", LIMIT)?;
            let answer = pair.at_borrower.try_borrow(&format!("{NVME}{request}"))?;
            ensure!(answer.is_ok(), "{request}: {answer:?}");
            let borrowed = pair.borrowed_now()?;
            let seen = value(pair, "dma_mode")?;
            ensure!(seen == mode, "borrowed{request}, the mode is {seen}");
            let size: u64 = value(pair, "dma_size")?.parse()?;
            ensure!(size >= needed, "{size} bytes are reached, {needed} needed");
            borrowed.check_disk()?;
            offer.give_back()?;
        }
        Ok(())
    })();
    finally(body, || pair.end())
}

/// A borrower with 2 GiB of memory below 4 GiB and one above, and 1 MiB of bounce buffers; the window shows what is below. The
/// lender has an Ethernet function, too.
fn high_memory() -> Result<Options> {
    let mut options = options_with(Family::Amd)?;
    let borrower = options.host_mut("borrower")?;
    borrower.memory = 3 << 30;
    borrower.bounce_slots = 512;
    let lender = options.host_mut("lender")?;
    lender.args.extend(
        [
            "-netdev",
            "user,id=narrow",
            "-device",
            "e1000,netdev=narrow,addr=0x6",
        ]
        .map(String::from),
    );
    for link in &mut options.links {
        if let Some(memory) = link.windows.last_mut() {
            *memory = Window {
                size: 2 << 30,
                direct: true,
            };
        }
    }
    Ok(options)
}

/// User space gets memory above 4 GiB first, so that nearly all that is read and written is copied. The buffers are smaller than
/// what is in flight: requests wait for each other.
fn memory_above_the_window_is_copied(pair: &Pair<'_>) -> Result<()> {
    let needed = pair.at_borrower.number("dma_needed")?;
    let available = pair.at_borrower.number("dma_available")?;
    ensure!(
        needed == 5 << 30 && available == 2 << 30,
        "{needed} bytes needed, {available} available"
    );

    pair.lend()?;
    let body = (|| {
        let offer = pair.at_borrower.offer(NVME);
        offer.wait_state("available", LIMIT)?;
        let numbers = [needed.to_string(), available.to_string()];
        let answer = logged(
            pair.borrower,
            || pair.at_borrower.try_borrow(&format!("{NVME} dma=linear")),
            |line| numbers.iter().all(|number| line.contains(number)),
            "the bytes needed and available",
        )?;
        refused(answer, &[Errno::ENOSPC], "linear")?;

        pair.borrower.reset_bounced()?;
        let borrowed = logged(
            pair.borrower,
            || pair.borrow_lent(),
            |line| line.contains("DMA mode bounce"),
            "that it copies",
        )?;
        let (mode, size) = (value(pair, "dma_mode")?, value(pair, "dma_size")?);
        ensure!(mode == "bounce", "the mode is {mode}");
        ensure!(size == numbers[1], "{size} bytes are reached");
        borrowed.check_disk()?;
        // All that the window shows is open to the lender; what an IOMMU makes of that access is tested below.
        ensure!(poke(pair, 0x5eed_0001)? == 0, "the lender has read nothing");
        let found = word(pair.borrower)?;
        ensure!(found.contains("5eed0001"), "there is {found}");
        let (_, most) = pair.borrower.bounced()?.context("no bounce buffers")?;
        ensure!(most > 0, "nothing was copied");

        let disk = &borrowed.disk;
        pair.borrower.sh_ok(&format!(
            "fio --name=high --filename={disk} --size=8M --rw=randrw --bs=512k --iodepth=32 --ioengine=libaio --direct=1 \
             --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --output=/tmp/fio"
        ))?;
        // What the borrower has written is in the lender.
        let written = pair.borrower.sh_ok(&format!(
            "dd if=/dev/urandom of=/tmp/data bs=1M count=16 status=none && \
             dd if=/tmp/data of={disk} bs=1M oflag=direct status=none && sha256sum </tmp/data"
        ))?;
        borrowed.end()?;
        let disk = pair.lender_disk()?;
        let found = pair.lender.sh_ok(&format!(
            "dd if={disk} bs=1M count=16 iflag=direct status=none | sha256sum"
        ))?;
        ensure!(
            found == written,
            "the lender has {found}, the borrower wrote {written}"
        );
        let (now, _) = pair.borrower.bounced()?.context("no bounce buffers")?;
        ensure!(now == 0, "{now} bytes are still in use");
        Ok(())
    })();
    body?;
    too_narrow(pair)
}

/// No driver of the lender's waits for it.
fn take_narrow_back(pair: &Pair<'_>) -> Result<()> {
    match pair.lending().try_reclaim(NARROW)? {
        Ok(()) => Ok(()),
        Err(errno) => bail!("taking {NARROW} back gave {errno}"),
    }
}

/// The window is above 4 GiB in the lender, which has no IOMMU to move it: a driver with 32 bits gets no memory, and the log says
/// why.
fn too_narrow(pair: &Pair<'_>) -> Result<()> {
    pair.borrower.sh_ok("modprobe e1000")?;
    pair.lending().lend(&format!("{NARROW} unsafe"))?;
    let body = (|| {
        let offer = pair.at_borrower.offer(NARROW);
        let address = logged(
            pair.borrower,
            || offer.borrow(),
            |line| line.contains("addresses 32 bits"),
            "that the driver addresses too few bits",
        )?;
        let up = pair.borrower.sh(&format!(
            "ip link set $(ls /sys/bus/pci/devices/{address}/net) up"
        ))?;
        ensure!(
            !up.ok() && up.error_text().contains("Cannot allocate memory"),
            "the interface went up: {}",
            up.error_text()
        );
        offer.give_back()
    })();
    finally(body, || take_narrow_back(pair))
}

fn no_buffers() -> Result<Options> {
    let mut options = high_memory()?;
    let borrower = options.host_mut("borrower")?;
    borrower.append += " swiotlb=noforce";
    Ok(options)
}

/// The same without bounce buffers would be I/O that never ends: it is refused.
fn nothing_to_copy_through(pair: &Pair<'_>) -> Result<()> {
    ensure!(pair.borrower.bounced()?.is_none_or(|sum| sum == (0, 0)));
    pair.lend()?;
    let body = (|| {
        pair.at_borrower
            .offer(NVME)
            .wait_state("available", LIMIT)?;
        for request in ["", " dma=bounce"] {
            let answer = logged(
                pair.borrower,
                || pair.at_borrower.try_borrow(&format!("{NVME}{request}")),
                |line| line.contains("no bounce buffers") && line.contains("swiotlb"),
                "that there are no bounce buffers",
            )?;
            refused(answer, &[Errno::ENOSPC], "a borrow without buffers")?;
        }
        ensure!(pair.lending().value(NVME, "state")? == "offered");
        Ok(())
    })();
    finally(body, || pair.end())
}

/// Both hosts have an IOMMU, and so no window that is mapped past the borrower's.
fn two_iommus() -> Result<Options> {
    let mut options = high_memory()?;
    for host in &mut options.hosts {
        host.iommu = true;
        host.memory = 512 << 20;
    }
    for link in &mut options.links {
        if let Some(memory) = link.windows.last_mut() {
            *memory = Window {
                size: 512 << 20,
                direct: false,
            };
        }
    }
    Ok(options)
}

fn an_iommu_shows_what_is_mapped(pair: &Pair<'_>) -> Result<()> {
    // The lender's confines the device: nothing is unsafe about lending it.
    pair.lending().lend(NVME)?;
    let body = (|| {
        let isolation = pair.lending().value(NVME, "isolation")?;
        ensure!(isolation == "iommu", "the isolation is {isolation}");
        let offer = pair.at_borrower.offer(NVME);
        offer.wait_state("available", LIMIT)?;
        for mode in ["linear", "bounce"] {
            let answer = pair.at_borrower.try_borrow(&format!("{NVME} dma={mode}"))?;
            refused(answer, &[Errno::EINVAL], mode)?;
        }

        let borrowed = pair.borrow_lent()?;
        let mode = value(pair, "dma_mode")?;
        ensure!(mode == "iommu", "the mode is {mode}");
        // The emulated disk reads the window in words, during which the lender stands still.
        pair.patiently(|| borrowed.check_disk().map(drop))?;
        // The lender writes and reads where no driver has mapped anything. The fault is wanted, and not for the console, by which
        // the kernel is judged.
        let before = word(pair.borrower)?;
        pair.borrower.sh_ok("dmesg -n 1")?;
        let ones = poke(pair, 0x5eed_0002)?;
        let says = format!("fault addr {PLACE:#x}");
        until("the borrower's IOMMU to report the access", LIMIT, || {
            let log = pair.borrower.dmesg()?;
            let fault = log
                .lines()
                .find(|line| line.contains("DMAR") && line.contains(&says));
            Ok(match fault {
                Some(_) => Seen::Yes(()),
                None => Seen::NotYet("it has not".into()),
            })
        })?;
        pair.borrower.sh_ok("dmesg -n 7")?;
        ensure!(ones > 0, "the lender has read something");
        let after = word(pair.borrower)?;
        ensure!(before == after, "there was {before}, and is {after}");

        // The device works on.
        pair.borrower.sh_ok(&format!(
            "dd if={} of=/dev/null bs=64k count=4 iflag=direct status=none",
            borrowed.disk
        ))?;
        offer.give_back()
    })();
    finally(body, || pair.end())?;
    narrow_enough(pair)
}

/// The lender's IOMMU shows the device the window below 4 GiB: a driver with 32 bits gets its memory.
fn narrow_enough(pair: &Pair<'_>) -> Result<()> {
    pair.borrower.sh_ok("modprobe e1000")?;
    pair.lending().lend(NARROW)?;
    let body = (|| {
        let offer = pair.at_borrower.offer(NARROW);
        let address = offer.borrow()?;
        pair.borrower.sh_ok(&format!(
            "ip link set $(ls /sys/bus/pci/devices/{address}/net) up"
        ))?;
        let log = pair.borrower.dmesg()?;
        ensure!(!log.contains("it can do no DMA"), "{log}");
        offer.give_back()
    })();
    finally(body, || take_narrow_back(pair))
}
