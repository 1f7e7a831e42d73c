// SPDX-License-Identifier: GPL-2.0

//! Three hosts in a row, the middle one with an NTB to either side: links do not mix.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::devlend::{Lender, Link, Role};
use devlend_bed::{Bed, Host, HostOptions, LinkOptions, Options};

use crate::cases;
use crate::pair::{family, NVME};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Hosts(row, one_lender_two_borrowers),
    Hosts(row, one_borrower_two_lenders),
    Hosts(row, a_host_lends_and_borrows),
];

/// A second NVMe of the middle host's.
pub const SECOND: &str = "0000:00:06.0";
pub const LIMIT: Duration = Duration::from_secs(60);

/// Each host with an NVMe, the one in the middle with two.
pub fn row() -> Result<Options> {
    let host = |name| HostOptions {
        nvme: Some(64 << 20),
        ..HostOptions::new(name)
    };
    let family = family()?;
    let mut options = Options {
        hosts: ["left", "middle", "right"].map(host).into(),
        links: vec![
            LinkOptions::new("west", family, ["left", "middle"]),
            LinkOptions::new("east", family, ["middle", "right"]),
        ],
        ..Options::default()
    };
    options.host_mut("middle")?.args = [
        "-drive",
        "driver=null-co,size=32M,read-zeroes=on,if=none,id=second",
        "-device",
        "nvme,serial=second,drive=second,addr=0x6",
    ]
    .map(String::from)
    .to_vec();
    Ok(options)
}

/// The hosts with both roles loaded, and the four ends of the links.
pub struct Row<'a> {
    pub left: &'a Host,
    pub middle: &'a Host,
    pub right: &'a Host,
    pub at_left: Link<'a>,
    pub to_left: Link<'a>,
    pub to_right: Link<'a>,
    pub at_right: Link<'a>,
}

impl<'a> Row<'a> {
    pub fn bring_up(bed: &'a Bed) -> Result<Self> {
        for host in bed.hosts() {
            host.modprobe("nvme")?;
            host.wait_nvme(NVME, LIMIT)?;
            host.load(Role::Lender)?;
            host.load(Role::Borrower)?;
        }
        let row = Self {
            left: bed.host("left")?,
            middle: bed.host("middle")?,
            right: bed.host("right")?,
            at_left: bed.link_at("left", "west")?,
            to_left: bed.link_at("middle", "west")?,
            to_right: bed.link_at("middle", "east")?,
            at_right: bed.link_at("right", "east")?,
        };
        for link in [&row.at_left, &row.to_left, &row.to_right, &row.at_right] {
            link.wait_state("up", LIMIT)?;
        }
        Ok(row)
    }
}

/// Borrows a device that is lent; returns its address and its disk in the borrower.
pub fn borrow(link: &Link<'_>, address: &str) -> Result<(String, String)> {
    let local = link.offer(address).borrow()?;
    let disk = link.host().wait_nvme(&local, LIMIT)?;
    Ok((local, disk))
}

fn lend(host: &Host, address: &str) -> Result<()> {
    Lender(host).lend(&format!("{address} unsafe"))
}

/// Returns a device and takes it back in its lender.
pub fn end(link: &Link<'_>, lender: &Host, address: &str) -> Result<()> {
    link.offer(address).give_back()?;
    Lender(lender).reclaim(address)
}

/// A command that fills a disk's first megabytes with a word and reads them back past the cache.
pub fn fill(disk: &str, word: &str) -> String {
    format!(
        "yes {word} | head -c 1048576 >/tmp/{word} && \
         dd if=/tmp/{word} of={disk} bs=64k oflag=direct status=none && \
         dd if={disk} bs=64k count=16 iflag=direct status=none | cmp - /tmp/{word}"
    )
}

/// Whether a host's own disk begins with what [`fill`] wrote.
fn holds(host: &Host, word: &str) -> Result<()> {
    let disk = host.wait_nvme(NVME, LIMIT)?;
    host.sh_ok(&format!(
        "yes {word} | head -c 1048576 >/tmp/seen && dd if={disk} bs=64k count=16 iflag=direct status=none | cmp - /tmp/seen"
    ))
    .map(drop)
}

/// The middle host's NVMes go one to each side and are used at the same time; then one borrower dies.
fn one_lender_two_borrowers(bed: &Bed) -> Result<()> {
    let row = Row::bring_up(bed)?;
    row.middle.wait_nvme(SECOND, LIMIT)?;
    lend(row.middle, NVME)?;
    lend(row.middle, SECOND)?;
    let (_, left_disk) = borrow(&row.at_left, NVME)?;
    row.at_right.offer(NVME).wait_state("taken", LIMIT)?;
    let (_, right_disk) = borrow(&row.at_right, SECOND)?;
    for (host, disk, size) in [
        (row.left, &left_disk, 64 << 20),
        (row.right, &right_disk, 32 << 20),
    ] {
        let seen = host.sh_ok(&format!("blockdev --getsize64 {disk}"))?;
        ensure!(seen.parse() == Ok(size), "{disk} has {seen} bytes");
    }

    // The right one reads all the time: while the left one writes, and after it has died.
    row.right.sh_ok(&format!(
        "(while dd if={right_disk} of=/dev/null bs=16k count=64 iflag=direct; do :; done; touch /tmp/ended) >/dev/null 2>&1 &"
    ))?;
    row.left.sh_ok(&fill(&left_disk, "left"))?;
    row.left.kill()?;
    Lender(row.middle).wait_state(NVME, "offered", LIMIT)?;
    row.right.sh_ok(&format!(
        "[ ! -e /tmp/ended ] && dd if={right_disk} of=/dev/null bs=16k count=64 iflag=direct status=none"
    ))?;
    ensure!(Lender(row.middle).value(SECOND, "state")? == "lent");
    ensure!(row.at_right.value("state")? == "up");

    // What the dead one left can be borrowed by the other.
    row.at_right.offer(NVME).wait_state("available", LIMIT)?;
    let (_, disk) = borrow(&row.at_right, NVME)?;
    row.right.sh_ok(&fill(&disk, "right"))?;
    for address in [NVME, SECOND] {
        end(&row.at_right, row.middle, address)?;
    }
    holds(row.middle, "right")
}

/// The middle host borrows from both sides and copies from one disk to the other.
fn one_borrower_two_lenders(bed: &Bed) -> Result<()> {
    let row = Row::bring_up(bed)?;
    lend(row.left, NVME)?;
    lend(row.right, NVME)?;
    let (left_address, left_disk) = borrow(&row.to_left, NVME)?;
    let (right_address, right_disk) = borrow(&row.to_right, NVME)?;
    ensure!(
        left_address.split(':').next() != right_address.split(':').next(),
        "two links, two PCI domains: {left_address} and {right_address}"
    );
    let (left, right) = (fill(&left_disk, "left"), fill(&right_disk, "right"));
    row.middle
        .sh_ok(&format!("({left}) & one=$!; ({right}) && wait $one"))?;
    row.middle.sh_ok(&format!(
        "dd if={left_disk} of={right_disk} bs=64k count=16 iflag=direct oflag=direct status=none"
    ))?;

    // One lender's end leaves the other's device alone.
    end(&row.to_left, row.left, NVME)?;
    row.middle.sh_ok(&format!(
        "dd if={right_disk} of=/dev/null bs=64k count=16 iflag=direct status=none"
    ))?;
    end(&row.to_right, row.right, NVME)?;
    holds(row.left, "left")?;
    holds(row.right, "left")
}

/// The middle host lends to the left what it owns while it borrows what the right one owns; and both neighbours of a link
/// lend to each other.
fn a_host_lends_and_borrows(bed: &Bed) -> Result<()> {
    let row = Row::bring_up(bed)?;
    lend(row.middle, NVME)?;
    lend(row.right, NVME)?;
    lend(row.left, NVME)?;
    let (_, at_left) = borrow(&row.at_left, NVME)?;
    let (_, from_right) = borrow(&row.to_right, NVME)?;
    let (_, from_left) = borrow(&row.to_left, NVME)?;
    row.left.sh_ok(&format!(
        "(until [ -e /tmp/stop ]; do dd if={at_left} of=/dev/null bs=16k count=64 iflag=direct || exit; done; \
          touch /tmp/stopped) >/dev/null 2>&1 &"
    ))?;
    row.middle.sh_ok(&fill(&from_right, "east"))?;
    row.middle.sh_ok(&fill(&from_left, "west"))?;
    row.left.sh_ok(&fill(&at_left, "centre"))?;
    // It stops because it is told to, not because a read has failed.
    row.left.sh_ok(
        "touch /tmp/stop; timeout 30 sh -c 'until [ -e /tmp/stopped ]; do sleep 0.1; done'",
    )?;
    end(&row.to_right, row.right, NVME)?;
    end(&row.to_left, row.left, NVME)?;
    end(&row.at_left, row.middle, NVME)?;
    holds(row.right, "east")?;
    holds(row.left, "west")?;
    holds(row.middle, "centre")
}
