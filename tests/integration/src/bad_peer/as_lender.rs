// SPDX-License-Identifier: GPL-2.0

//! A bad lender against an honest borrower.

use anyhow::bail;
use devlend_bed::Errno;

use super::*;

/// The device that most scenarios offer.
const FAKE: &str = "0001:00:00.0";

/// Most offers of a peer that are believed.
const MOST: usize = 256;

pub fn offers_nonsense(bed: &Bed) -> Result<()> {
    against_borrower(bed, "offers", |honest, bad| {
        let mut most = 0;
        for _ in 0..4 {
            wait_more(honest, bad, "requests_sent", 300)?;
            most = most.max(honest.link.offers()?.len());
            let answer = honest.link.try_borrow("ffff:fe:1f.7")?;
            ensure!(answer.is_err(), "what is nonsense was borrowed");
            ensure!(honest.link.value("state")? == "up");
        }
        ensure!((2..=MOST).contains(&most), "{most} offers");
        honest.check_log(&["peer offers"])
    })
}

/// What has to come of a lie.
enum Outcome {
    /// The write to `borrow` is refused so.
    Refused(Errno),
    /// The write is accepted, and it turns out at the bus that there is nothing.
    Useless,
    /// It can be borrowed, and returned.
    Borrowed,
    /// Random: whatever it is, it can be returned.
    Any,
}

use Outcome::{Any, Borrowed, Refused, Useless};

fn outcome(lie: &str) -> Outcome {
    match lie {
        "truth" | "dma-anywhere" | "msi-anywhere" | "many-functions" | "bars-of-its-own" => {
            Borrowed
        }
        "class-of-a-bridge" | "class-of-a-screen" | "class-of-an-interrupt-controller" => Borrowed,
        "many-vectors" | "vectors-nowhere" => Borrowed,
        lie if lie.starts_with("capabilit") || lie.starts_with("extended") => Borrowed,
        "addresses-wrap" => Any,
        "image-of-zeros" | "bars-overlap" | "bars-nested" => Useless,
        "dma-small" | "status-no-room" => Refused(Errno::ENOSPC),
        "no-bars" => Refused(Errno::ENODEV),
        "status-taken" => Refused(Errno::EBUSY),
        "status-not-found" => Refused(Errno::ENOENT),
        "silence" | "another-number" | "image-bit-by-bit" => Refused(Errno::ETIMEDOUT),
        lie if lie.starts_with("noise") => Any,
        _ => Refused(Errno::EPROTO),
    }
}

pub fn grants_leases_that_are_lies(bed: &Bed) -> Result<()> {
    against_borrower(bed, "leases", |honest, bad| {
        let lies = until("the bad peer to say what it offers", LIMIT, || {
            let output = bad.output()?;
            Ok(if output.contains(" noise-4") {
                Seen::Yes(output)
            } else {
                Seen::NotYet(output)
            })
        })?;
        for (address, lie) in lies.lines().filter_map(|line| line.split_once(' ')) {
            try_lie(honest, address, outcome(lie)).with_context(|| lie.to_owned())?;
        }
        ensure!(honest.link.value("state")? == "up");
        honest.check_log(&["the lender's answer makes no sense: BAR outside the MMIO window"])
    })
}

fn try_lie(honest: &Honest<'_>, address: &str, wanted: Outcome) -> Result<()> {
    let offer = honest.link.offer(address);
    offer.wait_state("available", LIMIT)?;
    let answer = honest.link.try_borrow(address)?;
    match (wanted, answer) {
        (Refused(wanted), Err(errno)) if errno == wanted => {}
        (Any, Err(_)) => {}
        (Useless, Ok(())) => {
            offer.wait_state("available", LIMIT)?;
        }
        (Borrowed, Ok(())) => {
            offer.wait_state("borrowed", LIMIT)?;
            honest.host.sh_ok("lspci -vvxxxx >/dev/null")?;
            offer.give_back()?;
        }
        (Any, Ok(())) => give_back(honest, address)?,
        (_, answer) => bail!("borrowing it gave {answer:?}"),
    }
    let devices = honest.host.sh_ok("ls /sys/bus/pci/devices")?;
    ensure!(
        devices.lines().all(|name| name.starts_with("0000")),
        "a device is left behind"
    );
    Ok(())
}

/// Returns a device that may be there or not, or be about to.
fn give_back(honest: &Honest<'_>, address: &str) -> Result<()> {
    let offer = honest.link.offer(address);
    until("the device to be found or not", SCENARIO, || {
        let values = offer.values()?;
        let state = values.get("state").map_or("none", String::as_str);
        Ok(if state == "borrowing" {
            Seen::NotYet(state.into())
        } else {
            Seen::Yes(())
        })
    })?;
    // Lost or useless ones go by themselves.
    let _ = honest.link.try_return(address)?;
    offer.wait_state("available", SCENARIO).map(drop)
}

pub fn sends_events_about_nothing(bed: &Bed) -> Result<()> {
    against_borrower(bed, "events", |honest, bad| {
        let offer = honest.link.offer(FAKE);
        let begun = || honest.link.number("leases_begun");
        // Nothing that is said about others touches the one that is there.
        offer.wait_state("available", LIMIT)?;
        honest.host.write(&honest.link.path("borrow"), FAKE)?;
        offer.wait_state("borrowed", LIMIT)?;
        wait_more(honest, bad, "requests_received", 2000)?;
        offer.wait_state("borrowed", Duration::ZERO)?;
        ensure!(begun()? == 1 && honest.link.number("take_backs_asked")? == 0);
        // Asked for more than once, it goes once.
        bad.tell("wanted")?;
        offer.wait_state("available", LIMIT)?;
        wait_more(honest, bad, "requests_received", 500)?;
        ensure!(honest.link.number("leases_ended")? == 1);
        let asked = honest.link.number("take_backs_asked")?;
        ensure!(asked == 1, "{asked} requests to give it back were obeyed");
        honest.check_log(&["giving it back"])
    })
}
