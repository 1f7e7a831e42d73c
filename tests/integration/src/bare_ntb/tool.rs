// SPDX-License-Identifier: GPL-2.0

//! The kernel's `ntb_tool`: each register and window of the bridge by hand, from both sides.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::{until, Bed, Host, Seen};

use super::unload;
use crate::pair::{finally, NTB};

/// Doorbells that `ntb_hw_amd` leaves to clients.
const DOORBELLS: u32 = 0x7fff;
/// Bytes of a window that the tests open.
const OPEN: usize = 16384;

/// Loads `ntb_tool` in both hosts for the time of `test`, which is given both ways to look at them.
fn with_tool(bed: &Bed, test: impl Fn(&Host, &Host) -> Result<()>) -> Result<()> {
    let (lender, borrower) = (bed.host("lender")?, bed.host("borrower")?);
    let body = || {
        for host in bed.hosts() {
            host.load_ntb_drivers()?;
            host.sh_ok("modprobe ntb_tool")?;
        }
        for host in bed.hosts() {
            host.write(&file("peer0/link_event"), "Y")?;
        }
        for (one, other) in [(lender, borrower), (borrower, lender)] {
            test(one, other).with_context(|| format!("from the {}", one.name()))?;
        }
        Ok(())
    };
    finally(body(), || unload(bed, "ntb_tool"))
}

/// A file of `ntb_tool`'s.
fn file(name: &str) -> String {
    format!("/sys/kernel/debug/ntb_tool/{NTB}/{name}")
}

/// What one host writes into the other's scratchpads is there, each in its own, and nowhere else.
pub fn scratchpads(bed: &Bed) -> Result<()> {
    with_tool(bed, |one, other| {
        let (peers, own) = (file("peer0/spad"), file("spad"));
        // Writes are posted: reading on the same side makes sure that they have arrived.
        other.sh_ok(&format!(
            "for i in {{0..7}}; do echo 1 >{own}$i; done; cat {own}[0-7]"
        ))?;
        let seen = one.sh_ok(&format!(
            "for i in {{0..7}}; do echo 2 >{own}$i; echo $((0xabcd0000 + i)) >{peers}$i; done; cat {peers}[0-7]"
        ))?;
        let written: Vec<String> = (0..8)
            .map(|i| format!("{:#x}", 0xabcd_0000_u32 + i))
            .collect();
        ensure!(seen.lines().eq(&written), "the peer's are {seen}");
        let seen = other.sh_ok(&format!("cat {own}[0-7]"))?;
        ensure!(seen.lines().eq(&written), "the {} has {seen}", other.name());
        let seen = one.sh_ok(&format!("cat {own}[0-7]"))?;
        ensure!(
            seen.lines().all(|value| value == "0x2"),
            "its own are {seen}"
        );
        Ok(())
    })
}

/// Doorbells add up in the other host, can be cleared one by one, and are not heard here.
pub fn doorbells(bed: &Bed) -> Result<()> {
    with_tool(bed, |one, other| {
        for host in [one, other] {
            clear(host)?;
        }
        one.write(&file("peer_db"), "s 0x5")?;
        one.write(&file("peer_db"), "s 0x4002")?;
        // A doorbell is a posted write: the command that rang it may end before it arrives.
        until_doorbells(other, "0x4007")?;
        other.write(&file("db"), "c 0x6")?;
        until_doorbells(other, "0x4001")?;
        ensure!(one.read(&file("db"))? == "0x0", "it heard its own");
        clear(other)
    })
}

/// Clears a host's doorbells, and sees that they are clear.
fn clear(host: &Host) -> Result<()> {
    host.write(&file("db"), &format!("c {DOORBELLS:#x}"))?;
    until_doorbells(host, "0x0")
}

fn until_doorbells(host: &Host, wanted: &str) -> Result<()> {
    until("the doorbells", Duration::from_secs(60), || {
        let seen = host.read(&file("db"))?;
        Ok(if seen == wanted {
            Seen::Yes(())
        } else {
            Seen::NotYet(seen)
        })
    })
}

/// A doorbell that is masked is seen and does not interrupt; unmasking it does.
pub fn doorbell_masks(bed: &Bed) -> Result<()> {
    with_tool(bed, |one, other| {
        other.write(&file("db_mask"), &format!("s {DOORBELLS:#x}"))?;
        clear(other)?;
        let before = interrupts(other)?;
        one.write(&file("peer_db"), "s 0x18")?;
        until_doorbells(other, "0x18")?;
        ensure!(
            interrupts(other)? == before,
            "a masked doorbell interrupted"
        );

        other.write(&file("db_mask"), "c 0x8")?;
        until("doorbell 3 to interrupt", Duration::from_secs(60), || {
            let seen = interrupts(other)?;
            Ok(if seen[3] == before[3] + 1 {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{seen:?}"))
            })
        })?;
        ensure!(
            interrupts(other)?[4] == before[4],
            "doorbell 4, which is masked, interrupted"
        );
        clear(other)?;
        other.write(&file("db_mask"), &format!("s {DOORBELLS:#x}"))
    })
}

/// How often each of the NTB's vectors has interrupted.
fn interrupts(host: &Host) -> Result<Vec<u64>> {
    let text = host.sh_ok(&format!(
        "awk '/PCI-MSIX-{NTB}/ {{ print $2 }}' /proc/interrupts"
    ))?;
    let counts: Vec<u64> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(counts.len() == 24, "{} vectors: {text}", counts.len());
    Ok(counts)
}

/// Data goes through the windows in both directions; above the limit there is nothing.
pub fn windows(bed: &Bed) -> Result<()> {
    with_tool(bed, |one, other| {
        // The last window is the direct one: it cannot be set.
        for window in 0..2 {
            let (inside, through) = (
                file(&format!("peer0/mw{window}")),
                file(&format!("peer0/peer_mw{window}")),
            );
            let translation = file(&format!("peer0/mw_trans{window}"));
            let outbound = file(&format!("peer0/peer_mw_trans{window}"));
            // The outer side's own idea of the size reaches beyond the limit.
            other.sh_ok(&format!("echo {OPEN} >{translation}"))?;
            one.sh_ok(&format!("echo 0:{} >{outbound}", OPEN + 4096))?;
            let checked = || {
                let written = one.sh_ok(&format!(
                    "head -c {OPEN} /dev/urandom >/tmp/data; dd if=/tmp/data of={through} bs={OPEN} status=none; \
                     sha256sum </tmp/data"
                ))?;
                // Reading through the window makes sure that what was written has arrived.
                let read = one.sh_ok(&format!("head -c {OPEN} {through} | sha256sum"))?;
                ensure!(read == written, "window {window} gives back other data");
                let arrived = other.sh_ok(&format!("sha256sum <{inside}"))?;
                ensure!(arrived == written, "other data arrived in window {window}");
                let above = one.sh_ok(&format!(
                    "dd if={through} bs=4096 skip={} count=1 status=none | od -An -v -tx1 -w1 | sort -u",
                    OPEN / 4096
                ))?;
                ensure!(
                    above.trim() == "ff",
                    "above window {window}'s limit there is {above}"
                );
                Ok(())
            };
            // ntb_tool must not be unloaded with a window set: Linux 7.2 removes its file twice.
            finally(checked(), || {
                one.sh_ok(&format!("echo 0:0 >{outbound}"))?;
                other.sh_ok(&format!("echo 0 >{translation}"))?;
                Ok(())
            })?;
        }
        Ok(())
    })
}
