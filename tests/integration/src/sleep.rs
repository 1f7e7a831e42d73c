// SPDX-License-Identifier: GPL-2.0

//! A host that is to sleep: refused with devices lent or borrowed, and survived without.

use std::time::Duration;

use anyhow::Result;
use devlend_bed::devlend::Link;
use devlend_bed::{until, Errno, Host, Seen};

use crate::cases;
use crate::job::Job;
use crate::pair::{logged, ntb_driver, refused, Pair, NTB};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Pair(is_refused_while_a_device_is_borrowed),
    Pair(is_survived_without_leases),
];

const LIMIT: Duration = Duration::from_secs(60);

fn is_refused(host: &Host, complaint: &str) -> Result<()> {
    // With nothing to wake it: if it slept, the test would end there.
    logged(
        host,
        || {
            let answer = host.try_write("/sys/power/state", "freeze")?;
            refused(answer, &[Errno::EBUSY], "to sleep")
        },
        |line| line.contains(complaint),
        complaint,
    )
}

fn is_refused_while_a_device_is_borrowed(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    is_refused(
        pair.borrower,
        "devices are borrowed: the system must not sleep; return them first",
    )?;
    is_refused(
        pair.lender,
        "devices are lent: the system must not sleep; reclaim them first",
    )?;
    borrowed.check_disk()?;
    borrowed.end()?;
    // A refusal does not stay.
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    borrowed.end()
}

/// Sleeps for some seconds (S3), and is awake again. Of the host's own devices the file systems that come from outside would not
/// survive it: virtio's 9P driver does not save its queues.
const SLEEP: &str = r#"
    set -e
    cd /sys/bus/virtio/drivers/9pnet_virtio
    devices=$(echo virtio*)
    umount /devlend /usr/lib/modules
    for device in $devices; do echo $device >unbind; done
    echo 0 >/sys/class/rtc/rtc0/wakealarm
    echo +5 >/sys/class/rtc/rtc0/wakealarm
    echo mem >/sys/power/state
    for device in $devices; do echo $device >bind; done
    mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 devlend /devlend
    mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose modules /usr/lib/modules"#;

fn sleep(link: &Link<'_>) -> Result<()> {
    let host = link.host();
    logged(
        host,
        || {
            host.give("/tmp/sleep", SLEEP.as_bytes())?;
            let job = Job::start(host, "sleep", "bash /tmp/sleep")?;
            // What it is asked while it sleeps has no answer.
            until("the host to be awake", LIMIT, || {
                Ok(match job.status() {
                    Ok(Some(status)) => Seen::Yes(status),
                    status => Seen::NotYet(format!("{status:?}")),
                })
            })?;
            job.end_well(LIMIT)
        },
        |line| line.contains("ACPI: PM: Waking up from system sleep state S3"),
        "that it has slept",
    )?;
    // As docs/lifecycle.md has it for NTB drivers that do not restore their hardware.
    let driver = ntb_driver(host)?;
    host.write(&format!("{driver}/unbind"), NTB)?;
    host.write(&format!("{driver}/bind"), NTB)
}

fn is_survived_without_leases(pair: &Pair<'_>) -> Result<()> {
    for asleep in pair.ends() {
        sleep(asleep)?;
        for link in pair.ends() {
            link.wait_state("up", LIMIT)?;
        }
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        borrowed.end()?;
    }
    Ok(())
}
