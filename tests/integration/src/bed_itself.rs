// SPDX-License-Identifier: GPL-2.0

//! The bed's own promises, which every other test leans on.

use std::time::Duration;

use anyhow::{bail, ensure, Result};
use devlend_bed::{Bed, Errno};

use crate::cases;
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Bed(status_and_output),
    Bed(binary_both_ways),
    Bed(a_long_command_is_killed),
    Bed(commands_interleave),
    Bed(refusals_have_numbers),
];

fn status_and_output(bed: &Bed) -> Result<()> {
    for host in bed.hosts() {
        ensure!(host.sh_ok("hostname")? == host.name());
        let output = host.sh("echo out; echo err >&2; exit 42")?;
        ensure!(output.status == 42, "status {}", output.status);
        ensure!(output.text() == "out" && output.error_text() == "err");
        ensure!(host.sh("kill -9 $$")?.status == 128 + 9);
        ensure!(host.sh_ok("exit 1").is_err());
    }
    Ok(())
}

fn binary_both_ways(bed: &Bed) -> Result<()> {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let output =
        bed.host("borrower")?
            .sh_with("cat", Some(bytes.clone()), Duration::from_secs(60), None)?;
    ensure!(
        output.stdout == bytes,
        "{} bytes came back",
        output.stdout.len()
    );
    Ok(())
}

fn a_long_command_is_killed(bed: &Bed) -> Result<()> {
    let host = bed.host("borrower")?;
    let error = match host.sh_within(Duration::from_secs(1), "sleep 4711; true") {
        Ok(output) => bail!("it ended with {}", output.status),
        Err(error) => format!("{error:#}"),
    };
    ensure!(error.contains("more than"), "{error}");
    devlend_bed::until("the command to be gone", Duration::from_secs(10), || {
        let left = host.sh("pgrep -x -a sleep | grep 4711")?;
        Ok(if left.ok() {
            devlend_bed::Seen::NotYet(left.text().into_owned())
        } else {
            devlend_bed::Seen::Yes(())
        })
    })
}

/// A command that ends when another one, given later, lets it.
fn commands_interleave(bed: &Bed) -> Result<()> {
    let host = bed.host("lender")?;
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            host.sh_ok("touch /tmp/slow; until [ -e /tmp/go ]; do sleep 0.1; done; echo slow")
        });
        devlend_bed::until("the slow command to run", Duration::from_secs(60), || {
            Ok(if host.sh("[ -e /tmp/slow ]")?.ok() {
                devlend_bed::Seen::Yes(())
            } else {
                devlend_bed::Seen::NotYet("it does not".into())
            })
        })?;
        ensure!(!slow.is_finished(), "it did not wait");
        host.sh_ok("touch /tmp/go")?;
        match slow.join() {
            Ok(text) => ensure!(text? == "slow"),
            Err(_) => bail!("the slow command's thread died"),
        }
        host.sh_ok("rm /tmp/slow /tmp/go").map(drop)
    })
}

fn refusals_have_numbers(bed: &Bed) -> Result<()> {
    let host = bed.host("lender")?;
    ensure!(host.try_write("/proc/sys/kernel/hostname", "lender")? == Ok(()));
    ensure!(host.try_write("/nowhere/file", "x")? == Err(Errno::ENOENT));
    let read_only = "/sys/bus/pci/devices/0000:00:01.0/vendor";
    ensure!(host.try_write(read_only, "1")? == Err(Errno::EACCES));
    ensure!(host.try_write("/proc/sys/kernel/panic", "many words")? == Err(Errno::EINVAL));
    Ok(())
}
