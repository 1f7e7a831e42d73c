// SPDX-License-Identifier: GPL-2.0

//! What a person does to a PCI device, done to a borrowed one.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use devlend_bed::Host;

use crate::cases;
use crate::pair::{finally, Borrowed, Pair, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(unbind_and_bind),
    Pair(reset),
    Pair(reset_by_the_lender),
    Pair(power_states),
    Pair(remove_and_rescan),
    Pair(driver_reloaded),
    Pair(nvme_controller_reset),
    Pair(lspci_and_config_space),
    Pair(config_space_all_the_time),
    Pair(again_and_again),
    Pair(taken_back_by_force),
    Pair(modules_unload_and_load),
];

/// Borrows, does something to the device, and sees whether it still works, before and after.
fn with_borrowed(pair: &Pair<'_>, act: impl FnOnce(&Borrowed<'_>) -> Result<()>) -> Result<()> {
    let borrowed = pair.borrow()?;
    let body = (|| {
        borrowed.check_disk()?;
        act(&borrowed)?;
        pair.borrower
            .wait_bound(&borrowed.address, Duration::from_secs(60))?;
        borrowed.check_disk().map(drop)
    })();
    finally(body, || borrowed.end())
}

fn unbind_and_bind(pair: &Pair<'_>) -> Result<()> {
    with_borrowed(pair, |borrowed| {
        for _ in 0..2 {
            let address = &borrowed.address;
            pair.borrower
                .write("/sys/bus/pci/drivers/nvme/unbind", address)?;
            ensure!(
                pair.borrower.driver(address)?.is_none(),
                "it is still bound"
            );
            pair.borrower
                .write("/sys/bus/pci/drivers/nvme/bind", address)?;
        }
        Ok(())
    })
}

/// It is the device that is reset, by its own host.
fn reset(pair: &Pair<'_>) -> Result<()> {
    let resets = || -> Result<u64> {
        let file = "/sys/kernel/devlend/lender/device_resets";
        Ok(pair.lender.read(file)?.trim().parse()?)
    };
    with_borrowed(pair, |borrowed| {
        let before = resets()?;
        pair.borrower.write(&borrowed.file("reset"), "1")?;
        let after = resets()?;
        ensure!(
            after == before + 1,
            "the lender has reset it {} times",
            after - before
        );
        Ok(())
    })
}

/// Somebody in the lender resets what is lent: it is set up for its borrower as before, whose driver has only to begin anew.
fn reset_by_the_lender(pair: &Pair<'_>) -> Result<()> {
    let set_up = || {
        pair.lender
            .sh_ok(&format!("setpci -s {NVME} COMMAND CAP_MSIX+2.w"))
    };
    with_borrowed(pair, |borrowed| {
        let before = set_up()?;
        let enabled: Vec<u16> = before.lines().map(hex).collect::<Result<_>>()?;
        ensure!(
            matches!(*enabled, [command, msix] if command & 4 != 0 && msix & 0x8000 != 0),
            "before, Command and MSI-X Control are {before}"
        );
        pair.lender
            .write(&format!("/sys/bus/pci/devices/{NVME}/reset"), "1")?;
        let after = set_up()?;
        ensure!(
            before == after,
            "Command and MSI-X Control were {before}, are {after}"
        );
        pair.borrower.sh_ok(&format!(
            "for file in {}/nvme*/reset_controller; do echo 1 >$file || exit; done",
            borrowed.file("nvme")
        ))?;
        Ok(())
    })
}

/// The borrower sees the state it asks for, the device stays awake.
fn power_states(pair: &Pair<'_>) -> Result<()> {
    with_borrowed(pair, |borrowed| {
        let address = &borrowed.address;
        let state =
            |host: &Host, device: &str| host.sh_ok(&format!("setpci -s {device} CAP_PM+4.b"));
        pair.borrower
            .write("/sys/bus/pci/drivers/nvme/unbind", address)?;
        pair.borrower
            .sh_ok(&format!("setpci -s {address} CAP_PM+4.b=3:3"))?;
        let (seen, real) = (state(pair.borrower, address)?, state(pair.lender, NVME)?);
        ensure!(
            hex(&seen)? & 3 == 3 && hex(&real)? & 3 == 0,
            "the borrower sees {seen}, the device is in {real}"
        );
        // The kernel's own way back to D0.
        pair.borrower
            .write("/sys/bus/pci/drivers/nvme/bind", address)?;
        let seen = state(pair.borrower, address)?;
        ensure!(hex(&seen)? & 3 == 0, "the borrower sees {seen}");
        // Allowed to sleep or not, it works.
        pair.borrower.write(&borrowed.file("power/control"), "auto")
    })
}

/// Anybody may read a configuration space as often as they like: it takes time from others, but not the device from its borrower.
fn config_space_all_the_time(pair: &Pair<'_>) -> Result<()> {
    // Command and Status, for which the lender is asked each time.
    const READ: &str = r#"
        open(my $f, "<", $ARGV[0]) or die;
        my ($end, $reads) = (time + 15, 0);
        while (time < $end) {
            sysseek($f, 4, 0);
            (sysread($f, my $word, 4) // 0) == 4 or die "read: $!\n";
            $word ne "\xff" x 4 or die "lost after $reads reads\n";
            $reads++;
        }
        print $reads"#;
    with_borrowed(pair, |borrowed| {
        let counter = format!("offers/{NVME}/config_reads_peer");
        let before = pair.at_borrower.number(&counter)?;
        let reads = pair
            .borrower
            .sh_ok(&format!("perl -e '{READ}' {}", borrowed.file("config")))?;
        let asked = pair.at_borrower.number(&counter)? - before;
        ensure!(
            asked >= reads.parse()?,
            "{reads} reads, the lender was asked {asked} times"
        );
        Ok(())
    })
}

fn hex(text: &str) -> Result<u16> {
    u16::from_str_radix(text.trim(), 16).with_context(|| format!("not a number: {text}"))
}

fn remove_and_rescan(pair: &Pair<'_>) -> Result<()> {
    with_borrowed(pair, |borrowed| {
        pair.borrower.write(&borrowed.file("remove"), "1")?;
        ensure!(
            !pair.borrower.has_device(&borrowed.address)?,
            "it is still there"
        );
        pair.borrower.write("/sys/bus/pci/rescan", "1")
    })
}

fn driver_reloaded(pair: &Pair<'_>) -> Result<()> {
    with_borrowed(pair, |_| {
        pair.borrower.sh_ok("rmmod nvme && modprobe nvme").map(drop)
    })
}

fn nvme_controller_reset(pair: &Pair<'_>) -> Result<()> {
    with_borrowed(pair, |borrowed| {
        let controller = pair
            .borrower
            .sh_ok(&format!("ls {}", borrowed.file("nvme")))?;
        pair.borrower
            .sh_ok(&format!("nvme reset /dev/{controller}"))
            .map(drop)
    })
}

fn lspci_and_config_space(pair: &Pair<'_>) -> Result<()> {
    let own = pair.lender.sh_ok(&format!("lspci -n -s {NVME}"))?;
    let ids = own.split_once(' ').map(|(_, ids)| ids.to_string());
    with_borrowed(pair, |borrowed| {
        let address = &borrowed.address;
        let seen = pair.borrower.sh_ok(&format!("lspci -D -n -s {address}"))?;
        ensure!(
            seen.split_once(' ').map(|(_, ids)| ids.to_string()) == ids,
            "{seen} against {own}"
        );
        let text = pair.borrower.sh_ok(&format!("lspci -D -k -s {address}"))?;
        ensure!(text.contains("Kernel driver in use: nvme"), "{text}");
        // As much as the lender itself can reach: 256 bytes, or 4096.
        let size = |host: &Host, file: &str| host.sh_ok(&format!("stat -c %s {file}"));
        let theirs = size(pair.lender, &format!("/sys/bus/pci/devices/{NVME}/config"))?;
        let ours = size(pair.borrower, &borrowed.file("config"))?;
        ensure!(
            ours == theirs,
            "{ours} bytes of configuration space, the lender has {theirs}"
        );
        let dump = pair
            .borrower
            .sh_ok(&format!("lspci -D -vvv -xxxx -s {address}"))?;
        ensure!(dump.contains("MSI-X: Enable+"), "{dump}");
        // A capability list that ends.
        ensure!(
            !dump.contains("<chain looped>") && !dump.contains("access denied"),
            "{dump}"
        );
        // What would make the borrower see more than the device: hidden.
        for hidden in [
            "SR-IOV",
            "Single Root I/O",
            "Address Translation Service",
            "Page Request Interface",
        ] {
            ensure!(!dump.contains(hidden), "{hidden} is shown: {dump}");
        }
        Ok(())
    })
}

fn again_and_again(pair: &Pair<'_>) -> Result<()> {
    let mut addresses = Vec::new();
    for _ in 0..4 {
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        addresses.push(borrowed.address.clone());
        borrowed.end()?;
    }
    addresses.dedup();
    ensure!(
        addresses.len() == 1,
        "the address is not stable: {addresses:?}"
    );
    Ok(())
}

/// The lender wants its device now, whatever the borrower is doing with it.
fn taken_back_by_force(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    let disk = &borrowed.disk;
    // Something is under way on it.
    pair.borrower.sh_ok(&format!(
        "dd if={disk} of=/dev/null bs=64k iflag=direct >/dev/null 2>&1 &"
    ))?;
    if let Err(errno) = pair.lending().try_reclaim(&format!("{NVME} force"))? {
        bail!("taking the device back by force gave {errno}");
    }
    pair.lender.wait_bound(NVME, Duration::from_secs(60))?;
    pair.at_borrower
        .offer(NVME)
        .wait_gone(Duration::from_secs(30))?;
    borrowed.wait_gone(Duration::from_secs(60))?;
    let disk = pair.lender_disk()?;
    pair.lender
        .sh_ok(&format!(
            "dd if={disk} of=/dev/null bs=64k count=16 iflag=direct status=none"
        ))
        .map(drop)
}

fn modules_unload_and_load(pair: &Pair<'_>) -> Result<()> {
    pair.borrow()?.end()?;
    for host in [pair.borrower, pair.lender] {
        host.unload()?;
        let left = host.sh_ok("lsmod | grep -E '^(devlend|ntb)'; true")?;
        ensure!(
            left.is_empty(),
            "still loaded on the {}: {left}",
            host.name()
        );
        ensure!(
            !host.sh("[ -e /sys/kernel/devlend ]")?.ok(),
            "/sys/kernel/devlend is still there"
        );
    }
    // In the other order than before.
    pair.bed.bring_up()?;
    pair.borrow()?.end()
}
