// SPDX-License-Identifier: GPL-2.0

//! Makes a fault happen, and undoes it.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::devlend::{Link, Role};
use devlend_bed::{until, Host, Seen};

use super::plan::{Fault, Kind, Modules, Side};
use crate::pair::{ntb_driver, Pair, NTB, NVME};

const MINUTE: Duration = Duration::from_secs(60);
/// For how long a paused host's peer waits for a sign of life, and for how long otherwise, ms.
const SHORT_SILENCE: &str = "2000";
const SILENCE: &str = "10000";

fn host<'a>(pair: &Pair<'a>, side: Side) -> &'a Host {
    match side {
        Side::Lender => pair.lender,
        Side::Borrower => pair.borrower,
    }
}

/// The end of the link that is not in that host.
fn other_end<'p, 'a>(pair: &'p Pair<'a>, side: Side) -> &'p Link<'a> {
    match side {
        Side::Lender => &pair.at_borrower,
        Side::Borrower => &pair.at_lender,
    }
}

fn silence(link: &Link<'_>, milliseconds: &str) -> Result<()> {
    link.host()
        .write(&link.path("keepalive_timeout"), milliseconds)
}

/// Makes it happen. A fault that does not last is over when this returns.
///
/// # Errors
///
/// It does not happen, or what it does to a host does not end in time.
pub fn strike(pair: &Pair<'_>, fault: &Fault, device: &str) -> Result<()> {
    let emulator = pair.bed.emulator();
    match fault.kind {
        Kind::Kill(side) => host(pair, side).kill(),
        Kind::Reboot(side) => host(pair, side).reboot(),
        Kind::Cable => emulator.inject(devlend_bed::Fault::Down).map(drop),
        Kind::Flap => {
            let (times, period) = fault.flaps;
            emulator.inject(devlend_bed::Fault::Flap { times, period })?;
            until("the cable to come to rest", MINUTE, || {
                let state = emulator.state()?;
                Ok(match &state["ntb0"]["faults"]["flap"] {
                    flap if flap.is_null() => Seen::Yes(()),
                    flap => Seen::NotYet(flap.to_string()),
                })
            })
        }
        Kind::Unload(side, modules) => unload(host(pair, side), side, modules),
        Kind::UnbindNtb(side) => {
            let host = host(pair, side);
            host.write(&format!("{}/unbind", ntb_driver(host)?), NTB)
        }
        Kind::RemoveNtb(side) => {
            let file = format!("/sys/bus/pci/devices/{NTB}/remove");
            host(pair, side).write(&file, "1")
        }
        Kind::Reclaim => pair.lending().reclaim(&format!("{NVME} deadline=60")),
        Kind::ReclaimByForce => pair.lending().reclaim(&format!("{NVME} force")),
        Kind::Reset => {
            let file = format!("/sys/bus/pci/devices/{device}/reset");
            pair.borrower.write(&file, "1")
        }
        Kind::UnbindDriver => {
            let driver = "/sys/bus/pci/drivers/nvme";
            pair.borrower.write(&format!("{driver}/unbind"), device)?;
            pair.borrower.write(&format!("{driver}/bind"), device)
        }
        Kind::Pause(side) => {
            let peer = other_end(pair, side);
            silence(peer, SHORT_SILENCE)?;
            host(pair, side).pause()?;
            peer.wait_state("waiting", MINUTE)
        }
    }
    .with_context(|| format!("making it happen: {}", fault.kind))
}

fn unload(host: &Host, side: Side, modules: Modules) -> Result<()> {
    let role = match side {
        Side::Lender => Role::Lender,
        Side::Borrower => Role::Borrower,
    };
    let rmmod = |modules: &str| {
        let output = host.sh_within(MINUTE, &format!("rmmod {modules}"))?;
        ensure!(output.ok(), "rmmod {modules}: {}", output.error_text());
        Ok(())
    };
    match modules {
        Modules::Role => rmmod(role.module()),
        Modules::Devlend => rmmod(&format!("{} devlend_ntb", role.module())),
        Modules::Hardware => rmmod(host.ntb_drivers().last().copied().unwrap_or_default()),
        Modules::All => host.unload(),
    }
}

/// Undoes it, as far as that is more than loading modules.
///
/// # Errors
///
/// It cannot be undone.
pub fn undo(pair: &Pair<'_>, fault: &Fault) -> Result<()> {
    match fault.kind {
        Kind::Kill(side) => host(pair, side).start(),
        Kind::Cable => pair.bed.emulator().inject(devlend_bed::Fault::Up).map(drop),
        Kind::UnbindNtb(side) => host(pair, side).write("/sys/bus/pci/drivers_probe", NTB),
        Kind::RemoveNtb(side) => host(pair, side).write("/sys/bus/pci/rescan", "1"),
        Kind::Pause(side) => {
            host(pair, side).resume()?;
            silence(other_end(pair, side), SILENCE)
        }
        _ => Ok(()),
    }
    .with_context(|| format!("undoing it: {}", fault.kind))
}
