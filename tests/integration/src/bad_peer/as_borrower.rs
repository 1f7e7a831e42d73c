// SPDX-License-Identifier: GPL-2.0

//! A bad borrower against an honest lender. What the lender has to answer, the bad peer itself checks.

use super::*;
use crate::keys;

/// Runs a scenario that ends by itself; the lender's kernel has to say this.
fn scenario(bed: &Bed, name: &str, said: &[&str]) -> Result<()> {
    against_lender(bed, |honest, bad| play(honest, bad, name, said))
}

/// The scenario itself.
fn play(honest: &Honest<'_>, bad: &Bad<'_>, name: &str, said: &[&str]) -> Result<()> {
    let refused = honest.link.number("refused")?;
    bad.borrow(name)?;
    ensure!(
        honest.link.number("refused")? > refused,
        "nothing was refused"
    );
    honest.check_log(said)
}

pub fn asks_before_it_may(bed: &Bed) -> Result<()> {
    let said = [
        "peer speaks protocol versions 2-65535",
        "peer has slots of 0 bytes",
        "link up",
    ];
    scenario(bed, "early", &said)
}

pub fn sends_requests_that_are_none(bed: &Bed) -> Result<()> {
    let said = ["malformed message from the peer: tag 0x10 names no reply slot"];
    scenario(bed, "requests", &said)
}

/// What the configuration space of the NVMe has to be after it was misused: base addresses, ROM, interrupt line.
fn header(host: &Host) -> Result<String> {
    host.sh_ok(&format!(
        "setpci -s {NVME} 10.l 14.l 18.l 1c.l 20.l 24.l 30.l 3c.b"
    ))
}

pub fn misuses_a_lease(bed: &Bed) -> Result<()> {
    against_lender(bed, |honest, bad| {
        let before = header(honest.host)?;
        bad.borrow("lease")?;
        honest.check_log(&[
            "lent over link",
            "ended: it is opened anew",
            "ended: returned",
        ])?;
        let after = header(honest.host)?;
        ensure!(before == after, "its header was {before}, is {after}");
        let command = honest.host.sh_ok(&format!("setpci -s {NVME} COMMAND"))?;
        ensure!(
            u32::from_str_radix(&command, 16)? & 4 == 0,
            "it masters the bus: command {command}"
        );
        Ok(())
    })
}

/// While the ring is kept full and the doorbells ring, everything else goes on.
pub fn floods(bed: &Bed) -> Result<()> {
    against_lender(bed, |honest, bad| {
        bad.start("borrower flood")?;
        let lending = Lender(honest.host);
        for _ in 0..3 {
            wait_more(honest, bad, "requests_received", 400)?;
            lending.reclaim(NVME)?;
            let disk = honest.host.wait_nvme(NVME, LIMIT)?;
            honest.host.sh_ok(&format!(
                "dd if={disk} of=/dev/null bs=64k count=64 iflag=direct status=none"
            ))?;
            lending.lend(&format!("{NVME} unsafe"))?;
        }
        ensure!(honest.link.value("state")? == "up");
        bad.tell("stop")?;
        bad.wait_end()?;
        let output = bad.output()?;
        ensure!(output.contains("sent "), "the bad peer failed: {output}");
        honest.check_log(&[])
    })
}

/// There is no room to tell it that its device was taken: it hears of it when there is, or loses its session.
pub fn does_not_listen(bed: &Bed) -> Result<()> {
    against_lender(bed, |honest, bad| {
        let lending = Lender(honest.host);
        for (scenario, said) in [
            ("full", "taken from the borrower"),
            ("deaf", "no room to hear that a device was taken"),
        ] {
            bad.start(&format!("borrower {scenario}"))?;
            until("its ring to be full", SCENARIO, || {
                bad.check()?;
                let output = bad.output()?;
                Ok(if output.contains("full after") {
                    Seen::Yes(())
                } else {
                    Seen::NotYet(output)
                })
            })?;
            lending.reclaim(&format!("{NVME} force"))?;
            bad.wait_end()?;
            let output = bad.output()?;
            ensure!(!output.contains("Error"), "the bad peer failed: {output}");
            honest.check_log(&[said])?;
            lending.lend(&format!("{NVME} unsafe"))?;
        }
        Ok(())
    })
}

pub fn has_a_key_all_at_once(bed: &Bed) -> Result<()> {
    let said = ["no session with the peer: the peer has a key, this host has none"];
    scenario(bed, "changeling", &said)
}

pub fn overruns_the_ring(bed: &Bed) -> Result<()> {
    let said = ["peer overran the request ring", "closing the session"];
    scenario(bed, "overrun", &said)
}

pub fn announces_lies(bed: &Bed) -> Result<()> {
    against_lender(bed, |honest, bad| {
        let second = "the peer's announcement is no good: generation is 0";
        play(
            honest,
            bad,
            "handshake",
            &[second, "no session with the peer"],
        )?;
        // The first one was announced once, and the doorbell rung fifty times.
        let log = honest.log()?;
        let before = log.iter().take_while(|line| !line.contains(second));
        let first = before.filter(|line| line.contains("reserved bits 0x44 are set"));
        let times = first.count();
        ensure!(times == 1, "it complained {times} times about one lie");
        Ok(())
    })
}

pub fn makes_noise(bed: &Bed) -> Result<()> {
    scenario(bed, "noise", &["malformed message from the peer"])
}

pub fn has_no_key(bed: &Bed) -> Result<()> {
    against_lender(bed, |honest, bad| {
        let begun = || honest.host.read("/sys/kernel/devlend/lender/leases_begun");
        let before = begun()?;
        let body = keys::add(honest.host, "logon", keys::NAME, keys::SECRET)
            .and_then(|_| keys::set(&honest.link, keys::NAME))
            .and_then(|()| bad.borrow("stranger"))
            .and_then(|_| {
                let (state, version) = (honest.link.value("state")?, honest.link.value("version")?);
                ensure!(
                    state != "up" && version.is_empty(),
                    "the link is {state}, version '{version}'"
                );
                ensure!(begun()? == before, "it was lent a device");
                honest.check_log(&[
                    "this host has a key, the peer has none that it may use",
                    "the peer's requests are out of order",
                    "the peer has another key",
                ])
            });
        finally(body, || {
            keys::set(&honest.link, "")?;
            honest.host.sh_ok("keyctl clear @u").map(drop)
        })
    })
}
