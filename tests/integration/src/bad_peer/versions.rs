// SPDX-License-Identifier: GPL-2.0

//! A peer of another version than the host, which does nothing wrong.

use std::thread::sleep;

use super::as_lender::FAKE;
use super::*;

/// Borrows its device, and returns it.
fn works(honest: &Honest<'_>) -> Result<()> {
    let offer = honest.link.offer(FAKE);
    offer.wait_state("available", LIMIT)?;
    honest.host.write(&honest.link.path("borrow"), FAKE)?;
    offer.wait_state("borrowed", LIMIT)?;
    honest.host.write(&honest.link.path("return"), FAKE)?;
    offer.wait_state("available", LIMIT).map(drop)
}

/// It has none of the features, above all no beats: it may be silent for as long as it likes.
pub fn has_no_features(bed: &Bed) -> Result<()> {
    against_borrower_as(bed, "--features 0", "honest", |honest, bad| {
        works(honest)?;
        let timeout = honest.link.path("keepalive_timeout");
        honest.host.write(&timeout, "500")?;
        bad.signal("STOP")?;
        sleep(Duration::from_secs(3));
        bad.signal("CONT")?;
        works(honest)?;
        ensure!(honest.link.value("state")? == "up");
        honest.host.write(&timeout, "10000")?;
        let log = honest.log()?;
        let ups = log.iter().filter(|line| line.contains("link up")).count();
        ensure!(ups == 1, "the session has ended: {log:#?}");
        Ok(())
    })
}

/// A borrower that does not know that it can be asked for a device is not asked, nor told of what else it would not understand;
/// the device is taken when the time is over.
pub fn borrows_without_features(bed: &Bed) -> Result<()> {
    against_lender(bed, |honest, bad| {
        let lending = Lender(honest.host);
        bad.start("--features 0 borrower old")?;
        lending.wait_state(NVME, "lent", LIMIT)?;
        lending.reclaim(&format!("{NVME} deadline=3"))?;
        bad.check()?;
        bad.tell("stop")?;
        bad.wait_end()?;
        let output = bad.output()?;
        ensure!(
            output.contains("Revoked") && !output.contains("TakeBack"),
            "{output}"
        );
        honest.check_log(&["the borrower cannot be asked", "(forced)"])?;
        lending.lend(&format!("{NVME} unsafe"))
    })
}

/// `Features::KEYED`: a host that has it asks for a key.
const KEYED: u32 = 1 << 4;

/// It speaks later versions, too, and has features that nobody has thought of yet; but no key.
pub fn is_from_the_future(bed: &Bed) -> Result<()> {
    let dialect = format!("--max 200 --features {}", !KEYED);
    against_borrower_as(bed, &dialect, "honest", |honest, _| {
        works(honest)?;
        honest.check_log(&["link up, protocol version 1"])
    })
}

/// Two hosts without a common version say so, and nothing else.
pub fn has_no_common_version(bed: &Bed) -> Result<()> {
    let (lender, borrower) = (bed.host("lender")?, bed.host("borrower")?);
    borrower.modprobe("nvme")?;
    let bad = Bad::new(lender, NTB)?.with("--min 2 --max 9");
    let honest = Honest::new(borrower, Role::Borrower)?;
    bad.start("lender honest")?;
    let said = "protocol versions 2-9, this host 1-1: load matching devlend modules on both";
    let body = until("the borrower to say why there is no link", LIMIT, || {
        let log = honest.log()?;
        Ok(if log.iter().any(|line| line.contains(said)) {
            Seen::Yes(())
        } else {
            Seen::NotYet(log.join("\n"))
        })
    });
    let body = body.and_then(|()| {
        ensure!(honest.link.value("state")? != "up");
        ensure!(honest.link.offers()?.is_empty());
        honest.check_log(&[])
    });
    finally(body, || bad.leave())?;
    all_is_well(bed).context("with the same version afterwards")
}
