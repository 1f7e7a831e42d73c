// SPDX-License-Identifier: GPL-2.0

//! Devices that interrupt with INTx: the lender relays each interrupt.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use devlend_bed::Options;

use crate::cases;
use crate::pair::{finally, options, Pair, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Own(card_and_adapter, two_devices_on_one_line),
    Own(card_and_adapter, lender_killed),
];

/// Below ports whose pins lead to the same line: there the registers of neither lie between those of the other, nor the NTB's between
/// them.
const NIC: &str = "0000:01:00.0";
const SAS: &str = "0000:02:00.0";
const LIMIT: Duration = Duration::from_secs(60);

/// A user's network: a host that answers pings, and one that sends back what it gets.
const NETWORK: &str = "user,id=net,guestfwd=tcp:10.0.2.100:7-cmd:cat";

fn with(mut options: Options, args: &[&str]) -> Result<Options> {
    let lender = options.host_mut("lender")?;
    lender.args.extend(args.iter().map(|arg| arg.to_string()));
    Ok(options)
}

fn card_and_adapter() -> Result<Options> {
    with(
        options()?,
        &[
            "-netdev",
            NETWORK,
            "-device",
            "e1000e,netdev=net,bus=rp0",
            "-device",
            "pcie-root-port,id=rp1,chassis=2,slot=2,addr=0x8",
            "-device",
            "mptsas1068,bus=rp1",
        ],
    )
}

/// Lends both, so that the window is laid over both.
fn lend_both(pair: &Pair<'_>) -> Result<()> {
    for address in [NIC, SAS] {
        pair.lending().lend(&format!("{address} unsafe"))?;
    }
    Ok(())
}

/// Takes back what is lent, if the test did not come to it.
fn reclaim_all(pair: &Pair<'_>) -> Result<()> {
    for address in pair.lending().offers()? {
        if let Err(errno) = pair.lending().try_reclaim(&format!("{address} force"))? {
            bail!("taking {address} back gave {errno}");
        }
    }
    // Nobody listens on the line any more.
    let lines = pair.lender.sh_ok("grep devlend$ /proc/interrupts; true")?;
    ensure!(lines.is_empty(), "the lender still listens: {lines}");
    Ok(())
}

/// The network interface of a device in the borrower, set up and up.
fn interface(pair: &Pair<'_>, local: &str) -> Result<String> {
    let device = format!("/sys/bus/pci/devices/{local}/net");
    let name = pair.borrower.sh_ok(&format!("ls {device}"))?;
    pair.borrower.sh_ok(&format!(
        "ip addr add 10.0.2.15/24 dev {name} && ip link set {name} up && \
         for i in $(seq 100); do [ $(cat {device}/{name}/carrier) = 1 ] && exit; sleep 0.1; done; exit 1"
    ))?;
    Ok(name)
}

/// Bytes there and back over the network, and whether they are the same.
fn echo(kilobytes: u32) -> String {
    format!(
        "dd if=/dev/urandom of=/tmp/sent bs=1k count={kilobytes} status=none && \
         socat -t 30 - TCP:10.0.2.100:7 </tmp/sent >/tmp/received && cmp /tmp/sent /tmp/received"
    )
}

/// How often the lender says that it has relayed, the borrower that it has got, and the borrower's kernel that it has seen
/// an interrupt of a device.
fn relayed(pair: &Pair<'_>, address: &str, local: &str) -> Result<[u64; 3]> {
    let lender = pair.lending().value(address, "interrupts_relayed")?;
    let borrower = pair
        .at_borrower
        .number(&format!("offers/{address}/interrupts_relayed"))?;
    let seen = pair.borrower.sh_ok(&format!(
        "awk -v irq=$(cat /sys/bus/pci/devices/{local}/irq): '$1 == irq && /devlend-intx/ {{ print $2 }}' /proc/interrupts"
    ))?;
    Ok([
        lender.parse()?,
        borrower,
        seen.parse().context("no line of ours")?,
    ])
}

/// Checks that a device has interrupted so often at least, by all three counts: each is read a moment after the other.
fn has_interrupted(pair: &Pair<'_>, address: &str, local: &str, least: u64) -> Result<()> {
    let counts = relayed(pair, address, local)?;
    ensure!(
        counts.iter().all(|&count| count >= least),
        "interrupts of {address}: {counts:?}"
    );
    let uses = pair
        .at_borrower
        .value(&format!("offers/{address}/interrupts"))?;
    ensure!(uses == "intx (slow)", "{address} uses {uses}");
    Ok(())
}

fn two_devices_on_one_line(pair: &Pair<'_>) -> Result<()> {
    pair.borrower
        .sh_ok("modprobe e1000e IntMode=0 && modprobe mptsas")?;
    let body = (|| {
        lend_both(pair)?;
        let nic = pair.at_borrower.offer(NIC).borrow()?;
        let adapter = pair.at_borrower.offer(SAS).borrow()?;
        let lines = [NIC, SAS].map(|address| {
            pair.lender
                .read(&format!("/sys/bus/pci/devices/{address}/irq"))
        });
        let [Ok(one), Ok(other)] = &lines else {
            bail!("{lines:?}");
        };
        ensure!(one == other, "the devices have the lines {one} and {other}");

        interface(pair, &nic)?;
        pair.borrower.sh_ok("ping -c 3 10.0.2.2")?;
        pair.borrower.sh_ok(&echo(256))?;
        has_interrupted(pair, NIC, &nic, 20)?;
        // The adapter's driver asks its firmware for its configuration, and waits for each answer's interrupt.
        has_interrupted(pair, SAS, &adapter, 10)?;

        // The network goes by force while it is in use, and nothing of the other device.
        pair.borrower
            .sh_ok("ping -f 10.0.2.2 >/dev/null 2>&1 & sleep 1")?;
        if let Err(errno) = pair.lending().try_reclaim(&format!("{NIC} force"))? {
            bail!("taking it back gave {errno}");
        }
        pair.wait_left(&nic, LIMIT)?;
        let driver = "/sys/bus/pci/drivers/mptsas";
        pair.borrower.sh_ok(&format!(
            "echo {adapter} >{driver}/unbind && echo {adapter} >{driver}/bind"
        ))?;
        has_interrupted(pair, SAS, &adapter, 20)?;

        // Message interrupts are not relayed. (The window that shows what is below the ports does not show this one.)
        pair.at_borrower.offer(SAS).give_back()?;
        pair.lend()?;
        let disk = pair.borrow_lent()?;
        disk.check_disk()?;
        let values = pair.at_borrower.offer(NVME).values()?;
        for (file, value) in [("interrupts", "msi-x"), ("interrupts_relayed", "0")] {
            let seen = values.get(file).map(String::as_str);
            ensure!(seen == Some(value), "{file} is {seen:?}");
        }
        disk.end()
    })();
    finally(body, || reclaim_all(pair))
}

/// The device is lost while it is in use, an interrupt outstanding or not.
fn lender_killed(pair: &Pair<'_>) -> Result<()> {
    pair.borrower.sh_ok("modprobe e1000e IntMode=0")?;
    lend_both(pair)?;
    let nic = pair.at_borrower.offer(NIC).borrow()?;
    interface(pair, &nic)?;
    pair.borrower.sh_ok("ping -c 3 10.0.2.2")?;
    has_interrupted(pair, NIC, &nic, 3)?;
    pair.borrower
        .sh_ok("ping -f 10.0.2.2 >/dev/null 2>&1 & sleep 1")?;
    pair.lender.kill()?;
    pair.wait_left(&nic, LIMIT)?;
    let lines = pair
        .borrower
        .sh_ok("grep devlend-intx /proc/interrupts; true")?;
    ensure!(lines.is_empty(), "the line is left: {lines}");
    Ok(())
}
