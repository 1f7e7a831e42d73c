// SPDX-License-Identifier: GPL-2.0

//! Offers that are for some links only.

use anyhow::{ensure, Result};
use devlend_bed::devlend::{Lender, Link};
use devlend_bed::{until, Bed, Errno, Seen};

use crate::cases;
use crate::pair::{finally, logged, refused, Pair, NTB, NVME};
use crate::runner::Case;
use crate::three_hosts::{borrow, end, fill, row, Row, LIMIT, SECOND};

pub const CASES: &[Case] = cases![
    Pair(words_that_are_wrong),
    Pair(the_only_link),
    Hosts(row, one_of_two_borrowers),
];

fn words_that_are_wrong(pair: &Pair<'_>) -> Result<()> {
    for (words, errno, says) in [
        ("for=", Errno::EINVAL, "is no PCI address of an NTB"),
        ("for=east", Errno::EINVAL, "is no PCI address of an NTB"),
        (
            "for=0000:00:1b.0,",
            Errno::EINVAL,
            "is no PCI address of an NTB",
        ),
        ("for=00:1b.0,0000:00:1b.0", Errno::EINVAL, "named twice"),
        ("for=00:1b.0 for=00:1b.0", Errno::EINVAL, "given twice"),
        (
            "for=0000:00:03.0",
            Errno::ENXIO,
            "there is no link 0000:00:03.0",
        ),
        (
            "for=00:1b.0,0000:00:0a.0",
            Errno::ENXIO,
            "there is no link 0000:00:0a.0",
        ),
    ] {
        let request = format!("{NVME} unsafe {words}");
        let answer = logged(
            pair.lender,
            || pair.lending().try_lend(&request),
            |line| line.contains(says),
            says,
        )?;
        refused(answer, &[errno], &request)?;
        ensure!(pair.lending().offers()?.is_empty());
        let driver = pair.lender.driver(NVME)?;
        ensure!(driver.as_deref() == Some("nvme"), "{driver:?}");
    }
    Ok(())
}

fn the_only_link(pair: &Pair<'_>) -> Result<()> {
    for (words, shown) in [("", "all"), (&format!(" for={NTB}") as &str, NTB)] {
        pair.lending().lend(&format!("{NVME} unsafe{words}"))?;
        let body = (|| {
            let seen = pair.lending().value(NVME, "for")?;
            ensure!(seen == shown, "it is for {seen}");
            let borrowed = pair.borrow_lent()?;
            borrowed.check_disk()?;
            pair.at_borrower.offer(NVME).give_back()
        })();
        finally(body, || pair.end())?;
    }
    Ok(())
}

/// What a host has received, and what it has refused.
fn heard(link: &Link<'_>) -> Result<u64> {
    link.number("requests_received")
}

/// The middle host's first NVMe is for the right host only, the second for both: the left one sees and hears nothing of the
/// first, whatever is done with it, and is answered as if it were not there.
fn one_of_two_borrowers(bed: &Bed) -> Result<()> {
    let row = Row::bring_up(bed)?;
    row.middle.wait_nvme(SECOND, LIMIT)?;
    let east = row.to_right.name();
    let before = heard(&row.at_left)?;
    Lender(row.middle).lend(&format!("{NVME} unsafe for={east}"))?;
    ensure!(Lender(row.middle).value(NVME, "for")? == east);

    let (_, disk) = borrow(&row.at_right, NVME)?;
    row.right.sh_ok(&fill(&disk, "right"))?;
    for address in [NVME, SECOND, "0000:00:0a.0"] {
        let answer = row.at_left.try_borrow(address)?;
        refused(answer, &[Errno::ENOENT], address)?;
    }
    row.at_right.offer(NVME).give_back()?;
    // Neither the offer, nor its being borrowed and returned, was news to the left.
    let after = heard(&row.at_left)?;
    ensure!(
        after == before,
        "the left host has heard {} times",
        after - before
    );
    ensure!(row.at_left.offers()?.is_empty());

    Lender(row.middle).lend(&format!("{SECOND} unsafe"))?;
    row.at_left.offer(SECOND).wait_state("available", LIMIT)?;
    row.at_right.offer(SECOND).wait_state("available", LIMIT)?;
    let offers = row.at_left.offers()?;
    ensure!(offers == [SECOND], "the left host sees {offers:?}");
    let answer = row.at_left.try_borrow(NVME)?;
    refused(answer, &[Errno::ENOENT], "what is for the right host")?;
    let (_, left_disk) = borrow(&row.at_left, SECOND)?;
    let (_, right_disk) = borrow(&row.at_right, NVME)?;
    // What is written to that one is not kept.
    row.left.sh_ok(&format!(
        "dd if={left_disk} of=/dev/null bs=64k count=64 iflag=direct status=none"
    ))?;
    row.right.sh_ok(&fill(&right_disk, "right"))?;
    end(&row.at_left, row.middle, SECOND)?;
    end(&row.at_right, row.middle, NVME)?;

    // The next time it is for the other one.
    let west = row.to_left.name();
    Lender(row.middle).lend(&format!("{NVME} unsafe for={west}"))?;
    let (_, disk) = borrow(&row.at_left, NVME)?;
    row.left.sh_ok(&fill(&disk, "left"))?;
    until("the right host to see nothing", LIMIT, || {
        let offers = row.at_right.offers()?;
        Ok(if offers.is_empty() {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{offers:?}"))
        })
    })?;
    end(&row.at_left, row.middle, NVME)
}
