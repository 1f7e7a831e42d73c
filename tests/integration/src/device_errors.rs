// SPDX-License-Identifier: GPL-2.0

//! Errors that the PCI core of the lender recovers a lent device from: Advanced Error Reporting of the port above it.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Options, Seen};

use crate::cases;
use crate::pair::{finally, options, Pair};
use crate::runner::Case;
use crate::unplug::check_gone;

pub const CASES: &[Case] = cases![
    Own(below_a_port, reach_the_borrower),
    Own(beside_a_neighbour, of_a_neighbour),
];

/// The port and the disk's controller below it, by their ids for QEMU.
const PORT: &str = "rp1";
/// Where the controller is: the ports' buses are numbered in their order.
const DISK: &str = "0000:02:00.0";
const NEIGHBOUR: &str = "0000:02:00.1";
const LIMIT: Duration = Duration::from_secs(60);

/// A disk below a port that can report errors, which QEMU's own endpoints cannot.
fn below_a_port() -> Result<Options> {
    port_with(&[&format!("nvme,serial=second,drive=second,bus={PORT}")])
}

/// The same, and another function beside it, which is not lent.
fn beside_a_neighbour() -> Result<Options> {
    port_with(&[
        &format!("nvme,serial=second,drive=second,bus={PORT},multifunction=on,addr=0.0"),
        &format!("e1000e,bus={PORT},addr=0.1"),
    ])
}

fn port_with(devices: &[&str]) -> Result<Options> {
    let mut options = options()?;
    let lender = options.host_mut("lender")?;
    // This firmware leaves error reporting only to a kernel that has ASPM as well, which the test kernel has not.
    lender.append = "pcie_ports=native".into();
    // A port of QEMU's tells whether its link is up only if it, and not ACPI, is what tells of devices that come and go.
    let port = format!("pcie-root-port,id={PORT},chassis=2,slot=2,addr=0x6");
    lender.args.extend(
        [
            "-global",
            "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
            "-device",
            &port,
            "-drive",
            "driver=null-co,size=64M,read-zeroes=on,if=none,id=second",
        ]
        .map(String::from),
    );
    for device in devices {
        lender.args.extend(["-device", device].map(String::from));
    }
    Ok(options)
}

fn use_it(pair: &Pair<'_>, local: &str) -> Result<()> {
    let disk = pair.borrower.wait_nvme(local, LIMIT)?;
    let read = format!("dd if={disk} of=/dev/null bs=16k count=64 iflag=direct status=none");
    pair.borrower.sh_ok(&read).map(drop)
}

fn reach_the_borrower(pair: &Pair<'_>) -> Result<()> {
    pair.lender.wait_nvme(DISK, LIMIT)?;
    pair.lending().lend(&format!("{DISK} unsafe"))?;
    let body = (|| {
        let offer = pair.at_borrower.offer(DISK);
        let local = offer.borrow()?;
        use_it(pair, &local)?;

        // It works on: so does the borrower.
        pair.lender.inject_error(PORT, "POISON_TLP")?;
        until("the borrower to hear of an error", LIMIT, || {
            Ok(match pair.at_borrower.number("device_errors")? {
                0 => Seen::NotYet("none".into()),
                _ => Seen::Yes(()),
            })
        })?;
        ensure!(
            pair.lending().value(DISK, "state")? == "lent",
            "the lease has ended"
        );
        use_it(pair, &local)?;
        let log = pair.borrower.dmesg()?;
        ensure!(
            log.contains(&format!("{DISK} has reported an error to the lender")),
            "{log}"
        );

        // Its link is down by surprise: it is cut off, reset, and offered again.
        pair.lender.inject_error(PORT, "SDN")?;
        pair.wait_left(&local, LIMIT)?;
        check_gone(pair, &local)?;
        let log = pair.lender.dmesg()?;
        ensure!(log.contains("(device error)"), "{log}");
        pair.lending().wait_state(DISK, "offered", LIMIT)?;
        let errors = pair
            .lender
            .read("/sys/kernel/devlend/lender/device_errors")?;
        ensure!(errors == "2", "the lender has counted {errors}");

        let local = offer.borrow()?;
        use_it(pair, &local)?;
        offer.give_back()
    })();
    finally(body, || pair.lending().reclaim(DISK))
}

/// The neighbour's driver wants a reset after an error that the disk would not mind: the borrower does not know of it, and would
/// go on with a device that is no longer set up.
fn of_a_neighbour(pair: &Pair<'_>) -> Result<()> {
    pair.lender.sh_ok("modprobe e1000e")?;
    pair.lender.wait_bound(NEIGHBOUR, LIMIT)?;
    pair.lender.wait_nvme(DISK, LIMIT)?;
    pair.lending().lend(&format!("{DISK} unsafe"))?;
    let body = (|| {
        let offer = pair.at_borrower.offer(DISK);
        let local = offer.borrow()?;
        use_it(pair, &local)?;
        pair.lender.inject_error(PORT, "POISON_TLP")?;
        pair.wait_left(&local, LIMIT)?;
        check_gone(pair, &local)?;
        pair.lending().wait_state(DISK, "offered", LIMIT)?;
        let local = offer.borrow()?;
        use_it(pair, &local)?;
        offer.give_back()
    })();
    finally(body, || pair.lending().reclaim(DISK))
}
