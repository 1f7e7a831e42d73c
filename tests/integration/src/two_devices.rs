// SPDX-License-Identifier: GPL-2.0

//! Two devices over one link at once: neither is taken for the other, and one's end is not the other's.

use std::time::Duration;

use anyhow::{bail, ensure, Result};
use devlend_bed::Options;

use crate::cases;
use crate::pair::{finally, ntb_driver, options, Pair, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Own(two_disks, one_after_the_other),
    Own(two_disks, link_lost_with_both),
];

/// A second NVMe of the lender's.
const SECOND: &str = "0000:00:06.0";
const BOTH: [&str; 2] = [NVME, SECOND];
const LIMIT: Duration = Duration::from_secs(60);

/// A disk whose contents nobody needs afterwards, and another controller for it.
fn two_disks() -> Result<Options> {
    let mut options = options()?;
    options.host_mut("lender")?.args.extend(
        [
            "-drive",
            "driver=null-co,size=64M,read-zeroes=on,if=none,id=second",
            "-device",
            "nvme,serial=second,drive=second,addr=0x6",
        ]
        .map(String::from),
    );
    Ok(options)
}

/// Lends and borrows both; returns their disks in the borrower.
fn borrow_both(pair: &Pair<'_>) -> Result<[String; 2]> {
    pair.lender.wait_nvme(SECOND, LIMIT)?;
    for address in BOTH {
        pair.lending().lend(&format!("{address} unsafe"))?;
    }
    let [first, second] = BOTH.map(|address| {
        let local = pair.at_borrower.offer(address).borrow()?;
        pair.borrower.wait_nvme(&local, LIMIT)
    });
    Ok([first?, second?])
}

/// Takes back what is lent, if the test did not come to it.
fn reclaim_both(pair: &Pair<'_>) -> Result<()> {
    for address in pair.lending().offers()? {
        if let Err(errno) = pair.lending().try_reclaim(&format!("{address} force"))? {
            bail!("taking {address} back gave {errno}");
        }
    }
    for address in BOTH {
        pair.lender.wait_bound(address, LIMIT)?;
    }
    Ok(())
}

/// Reads a disk for a while, past the cache.
fn read(disk: &str) -> String {
    format!("dd if={disk} of=/dev/null bs=16k count=256 iflag=direct status=none")
}

fn epoch(pair: &Pair<'_>, address: &str) -> Result<u64> {
    Ok(pair.lending().value(address, "epoch")?.parse()?)
}

fn one_after_the_other(pair: &Pair<'_>) -> Result<()> {
    let body = (|| {
        let [first, second] = borrow_both(pair)?;
        // Which is which: they differ in size.
        for (disk, size) in [(&first, 256 << 20), (&second, 64 << 20)] {
            let seen: u64 = pair
                .borrower
                .sh_ok(&format!("blockdev --getsize64 {disk}"))?
                .parse()?;
            ensure!(seen == size, "{disk} has {seen} bytes");
        }
        let epochs = [epoch(pair, NVME)?, epoch(pair, SECOND)?];
        ensure!(
            epochs[0] != 0 && epochs[1] != 0 && epochs[0] != epochs[1],
            "epochs {epochs:?}"
        );
        let (a, b) = (read(&first), read(&second));
        pair.borrower.sh_ok(&format!("{a} & {b} && wait $!"))?;

        // The first goes while the second works.
        pair.borrower.sh_ok(&format!(
            "(while :; do {b} || break; done; touch /tmp/ended) >/dev/null 2>&1 &"
        ))?;
        pair.at_borrower.offer(NVME).give_back()?;
        pair.borrower
            .sh_ok(&format!("sleep 1; [ ! -e /tmp/ended ] && {b}"))?;
        ensure!(epoch(pair, SECOND)? == epochs[1]);
        ensure!(pair.lending().value(NVME, "state")? == "offered");

        // And comes back, with an epoch of its own, while the second works; the second is lost by force.
        let local = pair.at_borrower.offer(NVME).borrow()?;
        let first = pair.borrower.wait_nvme(&local, LIMIT)?;
        let later = epoch(pair, NVME)?;
        ensure!(!epochs.contains(&later), "{epochs:?}, then {later}");
        if let Err(errno) = pair.lending().try_reclaim(&format!("{SECOND} force"))? {
            bail!("taking the second back by force gave {errno}");
        }
        pair.lender.wait_bound(SECOND, LIMIT)?;
        pair.at_borrower.offer(SECOND).wait_gone(LIMIT)?;
        pair.borrower.sh_ok(&read(&first))?;
        ensure!(epoch(pair, NVME)? == later);
        pair.at_borrower.offer(NVME).give_back()
    })();
    finally(body, || reclaim_both(pair))
}

/// The borrower's end of the link goes while both are in use.
fn link_lost_with_both(pair: &Pair<'_>) -> Result<()> {
    let driver = ntb_driver(pair.borrower)?;
    let body = (|| {
        let disks = borrow_both(pair)?;
        for disk in &disks {
            pair.borrower.sh_ok(&format!(
                "dd if={disk} of=/dev/null bs=64k iflag=direct >/dev/null 2>&1 &"
            ))?;
        }
        let ntb = crate::pair::NTB;
        pair.borrower
            .sh_ok(&format!("echo {ntb} > {driver}/unbind"))?;
        for address in BOTH {
            pair.lending().wait_state(address, "offered", LIMIT)?;
            // Bus mastering is off: nothing of it reaches memory that was the borrower's.
            let command = pair
                .lender
                .sh_ok(&format!("setpci -s {address} COMMAND.w"))?;
            let command = u16::from_str_radix(&command, 16)?;
            ensure!(command & 4 == 0, "{address} has COMMAND {command:#06x}");
        }

        pair.borrower
            .sh_ok(&format!("echo {ntb} > {driver}/bind"))?;
        pair.at_borrower.wait_state("up", LIMIT)?;
        for address in BOTH {
            pair.at_borrower
                .offer(address)
                .wait_state("available", LIMIT)?;
            let local = pair.at_borrower.offer(address).borrow()?;
            let disk = pair.borrower.wait_nvme(&local, LIMIT)?;
            pair.borrower.sh_ok(&read(&disk))?;
        }
        for address in BOTH {
            pair.at_borrower.offer(address).give_back()?;
        }
        Ok(())
    })();
    finally(body, || reclaim_both(pair))
}
