// SPDX-License-Identifier: GPL-2.0

//! Many devices over one link: of many kinds at once, as many as there is room for, and both ways at the same time.

use std::thread;
use std::time::Duration;

use anyhow::{anyhow, ensure, Context, Result};
use devlend_bed::devlend::{Lender, Role};
use devlend_bed::{Bed, Options};
use devlend_integration::devices::row::{Device, Place, Slot, Used};
use devlend_integration::devices::setting::PLAIN;
use devlend_integration::devices::{disk, ethernet, registers, Field, LIMIT};

use crate::cases;
use crate::pair::{family, finally, Pair, NVME};
use crate::runner::{running, Case};

pub const CASES: &[Case] = cases![
    Alone(of_many_kinds),
    Alone(sixteen_disks),
    Hosts(two_with_disks, both_ways),
];

/// A borrowed device.
struct Borrowed<'a> {
    device: &'a Device,
    slot: &'a Slot,
    lent: String,
    address: String,
}

/// Lends all devices, then borrows all; waits for their drivers.
fn borrow_all<'a>(
    pair: &Pair<'_>,
    devices: &[&'a Device],
    slots: &'a [Slot],
) -> Result<Vec<Borrowed<'a>>> {
    let mut lent = Vec::new();
    for (device, slot) in devices.iter().zip(slots) {
        let address = slot.address(device.place, pair.lender)?;
        pair.lending().lend(&format!("{address} unsafe"))?;
        device.load_driver(pair.borrower)?;
        lent.push(address);
    }
    for address in &lent {
        pair.at_borrower
            .offer(address)
            .wait_state("available", LIMIT)?;
        // Without a pause: they are all added at about the same time.
        pair.borrower
            .write(&pair.at_borrower.path("borrow"), address)?;
    }
    let mut borrowed = Vec::new();
    for ((device, slot), lent) in devices.iter().zip(slots).zip(lent) {
        let values = pair
            .at_borrower
            .offer(&lent)
            .wait_state("borrowed", LIMIT)?;
        let address = values.get("local_address").context("no local address")?;
        device.wait_driver(pair.borrower, address)?;
        borrowed.push(Borrowed {
            device,
            slot,
            lent,
            address: address.clone(),
        });
    }
    Ok(borrowed)
}

/// Uses all of them at the same time.
fn use_all(pair: &Pair<'_>, borrowed: &[Borrowed<'_>]) -> Result<()> {
    thread::scope(|scope| {
        let users: Vec<_> = borrowed
            .iter()
            .map(|one| {
                let used = move || {
                    (one.device.works)(&Used {
                        pair,
                        slot: one.slot,
                        lent: &one.lent,
                        address: &one.address,
                    })
                    .with_context(|| format!("{} at {}", one.device.name, one.lent))
                };
                scope.spawn(used)
            })
            .collect();
        let results = users.into_iter().map(thread::ScopedJoinHandle::join);
        // All are waited for, and the first error counts.
        let results: Vec<_> = results.collect();
        results
            .into_iter()
            .try_for_each(|result| result.map_err(|_| anyhow!("a thread panicked"))?.map(drop))
    })
}

fn return_all(pair: &Pair<'_>, borrowed: &[Borrowed<'_>]) -> Result<()> {
    borrowed.iter().try_for_each(|one| {
        pair.at_borrower.offer(&one.lent).give_back()?;
        ensure!(!pair.borrower.has_device(&one.address)?);
        Ok(())
    })
}

fn reclaim_all(pair: &Pair<'_>) -> Result<()> {
    pair.lending().offers()?.iter().try_for_each(|address| {
        let answer = pair.lending().try_reclaim(&format!("{address} force"))?;
        ensure!(answer.is_ok(), "taking {address} back gave {answer:?}");
        Ok(())
    })
}

/// Behind ports, where one window reaches all of them.
fn of_many_kinds() -> Result<()> {
    let devices = [
        &disk::NVME,
        &disk::NVME,
        &disk::XHCI,
        &disk::XHCI_MSI,
        &disk::VIRTIO_BLK,
        &ethernet::E1000E,
        &ethernet::E1000,
        &ethernet::IGB,
        &registers::EDU,
    ]
    .map(|device| Device {
        place: Place::Port,
        ..*device
    });
    let devices = devices.each_ref();
    let mut field = Field::start((PLAIN.options)()?, &devices)?;
    field.judge(running(), |pair, slots| {
        let body = || {
            let borrowed = borrow_all(pair, &devices, slots)?;
            use_all(pair, &borrowed)?;
            return_all(pair, &borrowed)
        };
        finally(body(), || reclaim_all(pair))
    })
}

/// As many as one link has requests under way at once; all added at the same time, and all of them used by one program at once.
fn sixteen_disks() -> Result<()> {
    let devices = [&disk::NVME; 16];
    let mut field = Field::start((PLAIN.options)()?, &devices)?;
    field.judge(running(), |pair, slots| {
        let body = || {
            let borrowed = borrow_all(pair, &devices, slots)?;
            let disks: Vec<String> = borrowed
                .iter()
                .map(|one| pair.borrower.wait_nvme(&one.address, LIMIT))
                .collect::<Result<_>>()?;
            let output = pair
                .borrower
                .sh_within(Duration::from_secs(240), &fio(&disks.join(":"), 16, 0))?;
            ensure!(output.ok(), "fio: {}{}", output.error_text(), output.text());
            // Each disk has its own data and its own interrupts.
            for one in &borrowed {
                let taken = pair.borrower.interrupts(&one.address)?;
                ensure!(
                    taken.values().sum::<u64>() > 16,
                    "{} has interrupts {taken:?}",
                    one.lent
                );
            }
            return_all(pair, &borrowed)
        };
        finally(body(), || reclaim_all(pair))
    })
}

/// Writes a part of some disks and reads it back, all at the same time.
fn fio(disks: &str, depth: u32, seconds: u32) -> String {
    let time = if seconds == 0 {
        String::new()
    } else {
        format!("--time_based --runtime={seconds}")
    };
    format!(
        "cd /tmp && fio --name=many --filename={disks} --rw=randrw --bs=16k --size=64m --io_size=8m --direct=1 \
         --ioengine=libaio --iodepth={depth} --verify=crc32c --verify_fatal=1 --verify_backlog=64 --allow_file_create=0 {time}"
    )
}

/// Two hosts that each have a disk to lend.
fn two_with_disks() -> Result<Options> {
    let mut options = Options::pair(family()?);
    for host in &mut options.hosts {
        host.nvme = Some(64 << 20);
        host.smp = 2;
    }
    Ok(options)
}

/// Each host uses the other's disk, both over the same link, at the same time.
fn both_ways(bed: &Bed) -> Result<()> {
    let hosts = [bed.host("lender")?, bed.host("borrower")?];
    for host in hosts {
        host.modprobe("nvme")?;
        host.wait_nvme(NVME, LIMIT)?;
    }
    let (first, second) = bed.bring_up()?;
    hosts[0].load(Role::Borrower)?;
    hosts[1].load(Role::Lender)?;
    for host in hosts {
        Lender(host).lend(&format!("{NVME} unsafe"))?;
    }
    let mut disks = Vec::new();
    // One after the other: what a driver reads in its probe must not cross what the other host reads.
    for link in [&first, &second] {
        let address = link.offer(NVME).borrow()?;
        disks.push((link, link.host().wait_nvme(&address, LIMIT)?));
    }
    thread::scope(|scope| {
        let users: Vec<_> = disks
            .iter()
            .map(|(link, disk)| {
                scope.spawn(move || {
                    let host = link.host();
                    let output = host.sh_within(Duration::from_secs(240), &fio(disk, 8, 5))?;
                    ensure!(
                        output.ok(),
                        "fio on the {}: {}{}",
                        host.name(),
                        output.error_text(),
                        output.text()
                    );
                    Ok(())
                })
            })
            .collect();
        let results: Vec<_> = users
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        results
            .into_iter()
            .try_for_each(|result| result.map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    for (link, _) in &disks {
        link.offer(NVME).give_back()?;
    }
    hosts.iter().try_for_each(|host| Lender(host).reclaim(NVME))
}
