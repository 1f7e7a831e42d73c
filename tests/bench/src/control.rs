// SPDX-License-Identifier: GPL-2.0

//! How long it takes to lend, borrow and return a disk, by the clock of the host that is told to.

use anyhow::{Context, Result};
use devlend_bed::Host;
use serde::Serialize;

use crate::figures::Figure;
use crate::hosts::{Hosts, NVME};

/// Milliseconds of each step.
#[derive(Debug, Serialize)]
pub struct Control {
    /// `lend`: from the write until it returns.
    pub lend_ms: Figure,
    /// `borrow`: from the write until there is a disk.
    pub borrow_ms: Figure,
    /// The same device in the lender, from the write to `bind` until there is a disk.
    pub bind_ms: Figure,
    /// `return`: from the write until the device can be borrowed again.
    pub return_ms: Figure,
    /// `reclaim`: from the write until it returns.
    pub reclaim_ms: Figure,
}

/// Does it again and again.
pub fn measure(hosts: &Hosts<'_>, rounds: u32) -> Result<Control> {
    let lender = hosts.at_lender.host();
    let borrower = hosts.borrower();
    let at = |file: &str| hosts.at_borrower.path(file);
    let state = at(&format!("offers/{NVME}/state"));
    let address = at(&format!("offers/{NVME}/local_address"));
    let until = |state_is: &str| format!("until [ \"$(<{state})\" = {state_is} ]; do :; done");
    let disk =
        "until compgen -G /sys/bus/pci/devices/$a/nvme/nvme*/nvme*n1 >/tmp/found; do :; done";

    let [mut lend, mut borrow, mut bind, mut give_back, mut reclaim] = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        bind.push(took(
            lender,
            &format!("echo {NVME} >/sys/bus/pci/drivers/nvme/unbind"),
            &format!("a={NVME}; echo $a >/sys/bus/pci/drivers/nvme/bind; {disk}"),
        )?);
        lend.push(took(
            lender,
            ":",
            &format!("echo '{NVME} unsafe' >/sys/kernel/devlend/lender/lend"),
        )?);
        hosts
            .offer()
            .wait_state("available", std::time::Duration::from_secs(60))?;
        borrow.push(took(
            borrower,
            ":",
            &format!(
                "echo {NVME} >{}; {}; a=$(<{address}); {disk}",
                at("borrow"),
                until("borrowed")
            ),
        )?);
        give_back.push(took(
            borrower,
            ":",
            &format!("echo {NVME} >{}; {}", at("return"), until("available")),
        )?);
        reclaim.push(took(
            lender,
            ":",
            &format!("echo {NVME} >/sys/kernel/devlend/lender/reclaim"),
        )?);
    }
    Ok(Control {
        lend_ms: Figure::of(&lend),
        borrow_ms: Figure::of(&borrow),
        bind_ms: Figure::of(&bind),
        return_ms: Figure::of(&give_back),
        reclaim_ms: Figure::of(&reclaim),
    })
}

/// Milliseconds that a command takes in a host, after another one.
fn took(host: &Host, first: &str, command: &str) -> Result<f64> {
    let text = host.sh_ok(&format!(
        "set -e; {first}; s=$EPOCHREALTIME; {command}; e=$EPOCHREALTIME; echo $(( ${{e/./}} - ${{s/./}} ))"
    ))?;
    let microseconds: f64 = text
        .parse()
        .with_context(|| format!("'{text}' is no number of microseconds"))?;
    Ok(microseconds / 1000.0)
}
