// SPDX-License-Identifier: GPL-2.0

//! What user space is told, and what is counted.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Fault, Host, Seen};

use crate::cases;
use crate::faults::with_faults;
use crate::pair::{finally, Pair, NTB, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(uevents_of_a_lease),
    Pair(uevents_of_a_loss),
    Pair(leases_are_counted),
];

/// Writes the kernel's uevents with a devlend variable to a file, one a line, until it is killed.
const LISTENER: &str = r#"
use Socket;
socket(my $s, 16, SOCK_DGRAM, 15) or die "socket: $!";
bind($s, pack("SSLL", 16, 0, 0, 1)) or die "bind: $!";
open(my $out, ">", "/tmp/uevents") or die; select($out); $| = 1;
while (1) {
    recv($s, my $event, 8192, 0);
    next unless $event =~ /DEVLEND_/;
    my ($at, @variables) = split(/\0/, $event);
    $at =~ s/.*\///;
    print join(" ", $at, sort grep { /^DEVLEND_/ } @variables), "\n";
}
"#;

/// The uevents of a host while it lives.
pub struct Listener<'a>(&'a Host);

impl<'a> Listener<'a> {
    /// Starts to listen.
    pub fn start(host: &'a Host) -> Result<Self> {
        host.write("/tmp/listener", LISTENER)?;
        host.sh_ok(
            "rm -f /tmp/uevents; perl /tmp/listener >/tmp/listener.log 2>&1 & echo $! >/tmp/listener.pid",
        )?;
        until("the listener to listen", Duration::from_secs(10), || {
            Ok(if host.sh("[ -e /tmp/uevents ]")?.ok() {
                Seen::Yes(())
            } else {
                Seen::NotYet(host.read("/tmp/listener.log")?)
            })
        })?;
        Ok(Self(host))
    }

    /// Waits for an event that begins and ends so.
    pub fn wait(&self, begin: &str, end: &str) -> Result<()> {
        until(
            &format!("the event '{begin} ... {end}' on the {}", self.0.name()),
            Duration::from_secs(20),
            || {
                let seen = self.0.read("/tmp/uevents")?;
                let is_there = seen
                    .lines()
                    .any(|line| line.starts_with(begin) && line.ends_with(end));
                Ok(if is_there {
                    Seen::Yes(())
                } else {
                    Seen::NotYet(seen)
                })
            },
        )
    }

    /// Stops listening.
    pub fn stop(&self) -> Result<()> {
        self.0.sh_ok("kill $(cat /tmp/listener.pid)").map(drop)
    }
}

fn uevents_of_a_lease(pair: &Pair<'_>) -> Result<()> {
    let (lender, borrower) = (
        Listener::start(pair.lender)?,
        Listener::start(pair.borrower)?,
    );
    let body = (|| {
        let borrowed = pair.borrow()?;
        let epoch = pair.lending().value(NVME, "epoch")?;
        let of = |at: &str, event: &str, epoch: Option<&str>| {
            let epoch = epoch.map_or_else(String::new, |epoch| format!(" DEVLEND_EPOCH={epoch}"));
            format!("{at} DEVLEND_DEVICE={NVME}{epoch} DEVLEND_EVENT={event}")
        };
        let epoch = Some(epoch.as_str());
        lender.wait(&of(NVME, "offer-added", None), "DEVLEND_ROLE=lender")?;
        lender.wait(
            &of(NVME, "lease-begun", epoch),
            &format!("DEVLEND_LINK={NTB} DEVLEND_ROLE=lender"),
        )?;
        borrower.wait(&of(NTB, "offer-added", None), "DEVLEND_ROLE=borrower")?;
        borrower.wait(&of(NTB, "lease-begun", epoch), "DEVLEND_ROLE=borrower")?;

        pair.lending().reclaim(&format!("{NVME} deadline=300"))?;
        lender.wait(&of(NVME, "take-back", epoch), "DEVLEND_SECONDS=300")?;
        borrower.wait(
            &of(NTB, "take-back", epoch),
            "DEVLEND_ROLE=borrower DEVLEND_SECONDS=300",
        )?;
        borrower.wait(
            &of(NTB, "lease-ended", epoch),
            "DEVLEND_REASON=asked for DEVLEND_ROLE=borrower",
        )?;
        lender.wait(
            &of(NVME, "lease-ended", epoch),
            "DEVLEND_REASON=returned DEVLEND_ROLE=lender",
        )?;
        lender.wait(&of(NVME, "offer-gone", None), "DEVLEND_ROLE=lender")?;
        borrower.wait(&of(NTB, "offer-gone", None), "DEVLEND_ROLE=borrower")?;
        borrowed.wait_gone(Duration::from_secs(30))?;

        // The link's own.
        pair.lender.unload()?;
        borrower.wait(
            &format!("{NTB} DEVLEND_EVENT=link-down DEVLEND_LINK={NTB}"),
            "",
        )?;
        pair.bed.bring_up()?;
        borrower.wait(
            &format!("{NTB} DEVLEND_EVENT=link-up DEVLEND_LINK={NTB}"),
            "",
        )
    })();
    finally(body, || lender.stop().and_then(|()| borrower.stop()))
}

/// A loss is told when it happens, and once more when the driver has let go; in the log, too.
fn uevents_of_a_loss(pair: &Pair<'_>) -> Result<()> {
    let (lender, borrower) = (
        Listener::start(pair.lender)?,
        Listener::start(pair.borrower)?,
    );
    let lost = |cause: &dyn Fn() -> Result<()>, there: &str, here: &str| {
        let borrowed = pair.borrow()?;
        let epoch = pair.lending().value(NVME, "epoch")?;
        let of = |at: &str, event: &str| {
            format!("{at} DEVLEND_DEVICE={NVME} DEVLEND_EPOCH={epoch} DEVLEND_EVENT={event}")
        };
        cause()?;
        let end = format!("DEVLEND_REASON={here} DEVLEND_ROLE=borrower");
        borrower.wait(&of(NTB, "lease-lost"), &end)?;
        borrower.wait(&of(NTB, "lease-ended"), &end)?;
        let end = format!("DEVLEND_REASON={there} DEVLEND_ROLE=lender");
        lender.wait(&of(NVME, "lease-ended"), &end)?;
        borrowed.wait_gone(Duration::from_secs(30))?;
        let log = pair.borrower.dmesg()?;
        let position = |text: &str| log.lines().position(|line| line.contains(text));
        let told = position(&format!("{NVME} is lost, epoch {epoch}: {here}"));
        let ended = position(&format!("lease of {NVME}, epoch {epoch} ended: {here}"));
        ensure!(
            told.is_some() && told < ended,
            "the borrower's log has the loss in line {told:?}, the end in {ended:?}"
        );
        anyhow::Ok(())
    };
    let body = (|| {
        let force = || pair.lending().reclaim(&format!("{NVME} force"));
        lost(&force, "reclaimed", "reclaimed")?;
        let pull = || pair.bed.emulator().inject(Fault::Down).map(drop);
        with_faults(pair.bed, || lost(&pull, "the link is lost", "link lost"))?;
        pair.end()
    })();
    finally(body, || lender.stop().and_then(|()| borrower.stop()))
}

fn leases_are_counted(pair: &Pair<'_>) -> Result<()> {
    const LENDER: [&str; 5] = [
        "leases_begun",
        "leases_ended",
        "leases_lost",
        "take_backs_asked",
        "take_backs_forced",
    ];
    let counts = || -> Result<(Vec<i64>, Vec<i64>)> {
        let read = |host: &Host, directory: &str, names: &[&str]| -> Result<Vec<i64>> {
            let text = host.sh_ok(&format!("cd {directory} && cat {}", names.join(" ")))?;
            Ok(text
                .lines()
                .map(|line| line.parse().unwrap_or(-1))
                .collect())
        };
        Ok((
            read(pair.lender, "/sys/kernel/devlend/lender", &LENDER)?,
            read(pair.borrower, &pair.at_borrower.path("."), &LENDER[..4])?,
        ))
    };
    let more = |before: &[i64], after: &[i64]| -> Vec<i64> {
        before.iter().zip(after).map(|(a, b)| b - a).collect()
    };
    for (how, lender, borrower) in [
        ("", [1, 1, 0, 1, 0], [1, 1, 0, 1]),
        (" force", [1, 1, 0, 0, 1], [1, 1, 1, 0]),
    ] {
        let before = counts()?;
        let borrowed = pair.borrow()?;
        pair.lending().reclaim(&format!("{NVME}{how}"))?;
        borrowed.wait_gone(Duration::from_secs(30))?;
        pair.at_borrower
            .offer(NVME)
            .wait_gone(Duration::from_secs(30))?;
        let after = counts()?;
        let seen = (more(&before.0, &after.0), more(&before.1, &after.1));
        ensure!(
            seen == (lender.to_vec(), borrower.to_vec()),
            "counted for 'reclaim{how}': {seen:?}"
        );
    }
    Ok(())
}
