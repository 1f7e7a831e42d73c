// SPDX-License-Identifier: GPL-2.0

//! Virtual functions of an NVMe: secondary controllers of a subsystem, whose disk they share with the lender.

use anyhow::{bail, ensure, Result};
use devlend_bed::{Errno, Options};

use super::{reclaim_all, Physical, LIMIT};
use crate::job::Job;
use crate::pair::{self, finally, refused, Pair};

/// A subsystem with a disk, which keeps what is written, and a controller of it with two virtual functions.
pub fn options() -> Result<Options> {
    let mut options = pair::options()?;
    options.host_mut("lender")?.args.extend(
        [
            "-device",
            "nvme-subsys,id=subsys0",
            "-device",
            "nvme,id=physical,serial=physical,subsys=subsys0,bus=rp0,max_ioqpairs=8,msix_qsize=9,\
             sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=4",
            "-drive",
            "if=none,id=shared,file=null-co://,file.size=64M,file.read-zeroes=on,snapshot=on",
            "-device",
            "nvme-ns,drive=shared,bus=physical,nsid=1",
        ]
        .map(String::from),
    );
    Ok(options)
}

pub fn of_an_nvme(pair: &Pair<'_>) -> Result<()> {
    let physical = Physical::find(pair.lender, "nvme")?;
    finally(with_nvme(pair, &physical), || reclaim_all(pair.lender))
}

/// Gives each virtual function two queue pairs and two vectors, as `nvme virt-mgmt` of the physical one has it, and turns it on.
fn provide(physical: &Physical<'_>) -> Result<[String; 2]> {
    physical.host.wait_nvme(&physical.address, LIMIT)?;
    let controller = physical
        .host
        .sh_ok(&format!("ls {}", physical.file("nvme")))?;
    let manage = format!("nvme virt-mgmt /dev/{controller}");
    // From the physical function, which lets go of them when it is reset.
    physical.host.sh_ok(&format!(
        "{manage} -c 0 -r 1 -a 1 -n 0 && {manage} -c 0 -r 0 -a 1 -n 0 && nvme reset /dev/{controller}"
    ))?;
    let functions = physical.enable()?;
    for id in 1..=functions.len() {
        physical.host.sh_ok(&format!(
            "{manage} -c {id} -r 1 -a 8 -n 2 && {manage} -c {id} -r 0 -a 8 -n 2 && {manage} -c {id} -r 0 -a 9 -n 0"
        ))?;
    }
    Ok(functions)
}

fn with_nvme(pair: &Pair<'_>, physical: &Physical<'_>) -> Result<()> {
    let lender = pair.lending();
    let functions = provide(physical)?;
    refused(
        lender.try_lend(&format!("{} unsafe", physical.address))?,
        &[Errno::EBUSY],
        "a physical function",
    )?;
    let mut disks = Vec::new();
    // Both before one is borrowed: the window is laid over what is lent then.
    for function in &functions {
        lender.lend(&format!("{function} unsafe"))?;
    }
    for function in &functions {
        let address = pair.at_borrower.offer(function).borrow()?;
        disks.push((address.clone(), pair.borrower.wait_nvme(&address, LIMIT)?));
    }
    let [(first_address, first), (_, second)] = disks.as_slice() else {
        bail!("{disks:?}");
    };

    // It is one disk: what goes in through one comes out of the other, and of the lender's own.
    let own = pair.lender.wait_nvme(&physical.address, LIMIT)?;
    let sums = pair.borrower.sh_ok(&format!(
        "head -c 2M /dev/urandom >/tmp/data && sha256sum </tmp/data && \
         dd if=/tmp/data of={first} bs=64k oflag=direct status=none && \
         for disk in {first} {second}; do dd if=$disk bs=64k count=32 iflag=direct status=none | sha256sum; done"
    ))?;
    let there = pair.lender.sh_ok(&format!(
        "dd if={own} bs=64k count=32 iflag=direct status=none | sha256sum"
    ))?;
    ensure!(
        sums.lines().count() == 3 && sums.lines().all(|sum| sum == there),
        "{sums}, and in the lender {there}"
    );

    refused(
        physical.try_disable()?,
        &[Errno::EPERM, Errno::EBUSY],
        "disabling them",
    )?;

    // One is reset, then lost; the other reads, writes and compares all the time.
    let job = Job::fio(pair.borrower, second, "--time_based --runtime=600")?;
    pair.borrower
        .write(&format!("/sys/bus/pci/devices/{first_address}/reset"), "1")?;
    pair.borrower.sh_ok(&format!(
        "dd if={first} bs=64k count=32 iflag=direct status=none | cmp - /tmp/data"
    ))?;
    if let Err(errno) = lender.try_reclaim(&format!("{} force", functions[0]))? {
        bail!("taking one back gave {errno}");
    }
    pair.wait_left(first_address, LIMIT)?;
    job.stop()?;

    pair.at_borrower.offer(&functions[1]).give_back()?;
    if let Err(errno) = lender.try_reclaim(&functions[1])? {
        bail!("taking the other one back gave {errno}");
    }
    if let Err(errno) = physical.try_disable()? {
        bail!("disabling what is not lent any more gave {errno}");
    }
    ensure!(physical.enabled()? == "0");
    Ok(())
}
