// SPDX-License-Identifier: GPL-2.0

//! A device of several functions, lent one by one; and what is shown of the configuration space of each.

mod views;

use std::time::Duration;

use anyhow::{bail, ensure, Result};
use devlend_bed::Options;

use crate::cases;
use crate::job::Job;
use crate::pair::{finally, options, Pair};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Own(two_functions, beside_one_that_the_lender_uses),
    Own(views::many_capabilities, views::config_space_in_both_views),
];

/// A disk and a network card in one device.
const DISK: &str = "0000:00:08.0";
const CARD: &str = "0000:00:08.1";
const LIMIT: Duration = Duration::from_secs(60);

/// The disk keeps what is written, in a file that QEMU makes and forgets.
fn two_functions() -> Result<Options> {
    let mut options = options()?;
    options.host_mut("lender")?.args.extend(
        [
            "-drive",
            "if=none,id=second,file=null-co://,file.size=64M,file.read-zeroes=on,snapshot=on",
            "-device",
            "nvme,serial=second,drive=second,addr=0x8.0,multifunction=on",
            "-netdev",
            "user,id=net0",
            "-device",
            "e1000e,netdev=net0,addr=0x8.1",
        ]
        .map(String::from),
    );
    Ok(options)
}

/// Borrows the card, and waits until QEMU's gateway answers.
fn borrow_card(pair: &Pair<'_>) -> Result<String> {
    pair.borrower.sh_ok("modprobe e1000e")?;
    let address = pair.at_borrower.offer(CARD).borrow()?;
    pair.borrower.sh_ok(&format!(
        "net=$(ls /sys/bus/pci/devices/{address}/net) && ip link set $net up && ip addr add 10.0.2.15/24 dev $net && \
         timeout 60 sh -c 'until ping -c 1 -W 1 10.0.2.2; do :; done'"
    ))?;
    Ok(address)
}

fn ping(pair: &Pair<'_>) -> Result<()> {
    pair.borrower
        .sh_ok("timeout 60 sh -c 'until ping -c 1 -W 1 10.0.2.2; do :; done'")
        .map(drop)
}

fn reclaim_all(pair: &Pair<'_>) -> Result<()> {
    for address in pair.lending().offers()? {
        if let Err(errno) = pair.lending().try_reclaim(&format!("{address} force"))? {
            bail!("taking {address} back gave {errno}");
        }
    }
    Ok(())
}

fn beside_one_that_the_lender_uses(pair: &Pair<'_>) -> Result<()> {
    finally(one_and_both(pair), || reclaim_all(pair))
}

fn one_and_both(pair: &Pair<'_>) -> Result<()> {
    pair.lender.sh_ok("modprobe e1000e")?;
    pair.lender.wait_bound(CARD, LIMIT)?;
    let own = pair.lender.wait_nvme(DISK, LIMIT)?;

    // The lender reads and writes its function and compares, while the other one is taken, used, reset, lost and given back.
    let job = Job::fio(pair.lender, &own, "--time_based --runtime=600")?;
    pair.lending().lend(&format!("{CARD} unsafe"))?;
    let address = borrow_card(pair)?;
    let reset = format!("/sys/bus/pci/devices/{address}/reset");
    // A function that cannot be reset alone is not reset, whoever asks for it.
    if pair.borrower.sh(&format!("[ -e {reset} ]"))?.ok() {
        pair.borrower.write(&reset, "1")?;
        ping(pair)?;
    }
    pair.at_borrower.offer(CARD).give_back()?;
    borrow_card(pair)?;
    if let Err(errno) = pair.lending().try_reclaim(&format!("{CARD} force"))? {
        bail!("taking the card back gave {errno}");
    }
    pair.lender.wait_bound(CARD, LIMIT)?;
    job.stop()?;
    let said = pair
        .lender
        .sh_ok(&format!("dmesg | grep -c 'nvme.*{DISK}.*reset' || true"))?;
    ensure!(said == "0", "the lender's function was reset");

    // Both at once.
    for function in [DISK, CARD] {
        pair.lending().lend(&format!("{function} unsafe"))?;
    }
    let disk = pair.at_borrower.offer(DISK).borrow()?;
    let disk = pair.borrower.wait_nvme(&disk, LIMIT)?;
    let job = Job::fio(pair.borrower, &disk, "--time_based --runtime=600")?;
    borrow_card(pair)?;
    pair.at_borrower.offer(CARD).give_back()?;
    job.stop()?;
    pair.at_borrower.offer(DISK).give_back()?;
    for function in [DISK, CARD] {
        pair.lending().reclaim(function)?;
    }
    Ok(())
}
