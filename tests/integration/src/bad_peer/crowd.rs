// SPDX-License-Identifier: GPL-2.0

//! A lender with an honest borrower on one side and a bad one on the other.

use super::*;
use crate::pair::SPARE;
use devlend_bed::{Family, HostOptions, LinkOptions};

/// The lender's second NVMe, for the bad one.
const SECOND: &str = "0000:00:06.0";
/// The link to the bad one.
const SIDE: &str = "east";

/// The lender in the middle, with two NVMes.
pub fn options() -> Result<Options> {
    let family = Family::Amd;
    let mut options = Options {
        hosts: ["left", "middle", "right"].map(HostOptions::new).into(),
        links: vec![
            LinkOptions::new("west", family, ["left", "middle"]),
            LinkOptions::new(SIDE, family, ["middle", "right"]),
        ],
        ..Options::default()
    };
    options.host_mut("right")?.append = SPARE.into();
    let middle = options.host_mut("middle")?;
    middle.nvme = Some(64 << 20);
    middle.args = [
        "-drive",
        "driver=null-co,size=32M,read-zeroes=on,if=none,id=second",
        "-device",
        "nvme,serial=second,drive=second,addr=0x6",
    ]
    .map(String::from)
    .to_vec();
    Ok(options)
}

/// The honest one goes on using what it has, and gets back what it has written.
pub fn beside_an_honest_one(bed: &Bed) -> Result<()> {
    let (left, middle, right) = (bed.host("left")?, bed.host("middle")?, bed.host("right")?);
    middle.modprobe("nvme")?;
    left.modprobe("nvme")?;
    let lending = Lender(middle);
    for device in [NVME, SECOND] {
        middle.wait_nvme(device, LIMIT)?;
    }
    middle.load(Role::Lender)?;
    left.load(Role::Borrower)?;
    let west = bed.link_at("middle", "west")?;
    lending.lend(&format!("{NVME} unsafe for={}", west.name()))?;
    lending.lend(&format!("{SECOND} unsafe"))?;
    let at_left = bed.link_at("left", "west")?;
    at_left.wait_state("up", LIMIT)?;
    let local = at_left.offer(NVME).borrow()?;
    let disk = left.wait_nvme(&local, LIMIT)?;
    let before = middle.dmesg()?.lines().count();
    let bad = Bad::new(right, NTB)?;

    left.sh_ok(&format!(
        "(until [ -e /tmp/stop ]; do head -c 1048576 /dev/urandom >/tmp/data; \
          dd if=/tmp/data of={disk} bs=64k oflag=direct status=none || exit; \
          dd if={disk} of=/tmp/seen bs=64k count=16 iflag=direct status=none || exit; \
          cmp /tmp/data /tmp/seen || exit; echo >>/tmp/rounds; done; touch /tmp/ended) >/tmp/loop.out 2>&1 &"
    ))?;
    let epoch = lending.value(NVME, "epoch")?;
    let excluded = format!("--device {NVME} --epoch {epoch} excluded");
    let scenarios = [
        "early",
        "requests",
        "lease",
        "overrun",
        "handshake",
        "noise",
    ]
    .map(|scenario| format!("--device {SECOND} {scenario}"));
    for scenario in [excluded].into_iter().chain(scenarios) {
        wait_rounds(left, 1)?;
        bad.borrow(&scenario)
            .and_then(|_| wait_rounds(left, 1))
            .context(scenario)?;
        ensure!(lending.value(NVME, "state")? == "lent");
        ensure!(at_left.value("state")? == "up");
    }
    // It ends because it is told to.
    left.sh_ok("touch /tmp/stop")?;
    until("the honest one to stop", LIMIT, || {
        Ok(if left.sh("[ -e /tmp/ended ]")?.ok() {
            Seen::Yes(())
        } else {
            Seen::NotYet(left.read("/tmp/loop.out")?)
        })
    })?;
    let log = middle.dmesg()?;
    ensure!(
        log.lines()
            .skip(before)
            .any(|line| line.contains("peer overran the request ring")),
        "the lender did not complain"
    );

    // An honest one in the bad one's place borrows the second.
    bad.leave()?;
    right.modprobe("nvme")?;
    right.load(Role::Borrower)?;
    let at_right = bed.link_at("right", SIDE)?;
    at_right.wait_state("up", LIMIT)?;
    let other = at_right.offer(SECOND).borrow()?;
    let other = right.wait_nvme(&other, LIMIT)?;
    right.sh_ok(&format!(
        "dd if={other} of=/dev/null bs=64k count=64 iflag=direct status=none"
    ))?;
    at_right.offer(SECOND).give_back()?;
    at_left.offer(NVME).give_back()?;
    for device in [NVME, SECOND] {
        lending.reclaim(device)?;
    }
    Ok(())
}

/// Waits until the honest one has written and read so many more times, and got what it wrote.
fn wait_rounds(host: &Host, more: u64) -> Result<()> {
    let rounds = || -> Result<u64> {
        let count = host.sh_ok("touch /tmp/rounds; wc -l </tmp/rounds")?;
        Ok(count.trim().parse()?)
    };
    let before = rounds()?;
    until("the honest one to go on", LIMIT, || {
        let now = rounds()?;
        Ok(if now >= before + more {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{now} rounds; {}", host.read("/tmp/loop.out")?))
        })
    })
}
