// SPDX-License-Identifier: GPL-2.0

//! A bad lender against an honest borrower.

use std::collections::BTreeMap;

use anyhow::bail;
use devlend_bed::Errno;

use super::*;

/// The device that most scenarios offer.
pub const FAKE: &str = "0001:00:00.0";

/// Most offers of a peer that are believed.
const MOST: usize = 256;

pub fn offers_nonsense(bed: &Bed) -> Result<()> {
    against_borrower(bed, "offers", |honest, bad| {
        let mut most = 0;
        for _ in 0..3 {
            wait_more(honest, bad, "requests_sent", 200)?;
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
        let names: BTreeMap<&str, &str> = lies
            .lines()
            .filter_map(|line| line.split_once(' '))
            .collect();
        let addresses: Vec<&str> = names.keys().copied().collect();
        let directory = honest.link.path("");
        let command = format!("perl -e '{TRY}' {directory} {}", addresses.join(" "));
        let tried = honest.host.sh_within(SCENARIO, &command)?;
        ensure!(
            tried.ok(),
            "after\n{}: {}",
            tried.text(),
            tried.error_text()
        );
        for line in tried.text().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [address, errno, state] = words[..] else {
                bail!("it printed '{line}'");
            };
            let lie = names[address];
            let errno = errno.parse()?;
            let is_right = match outcome(lie) {
                Refused(wanted) => (wanted as i32, "refused") == (errno, state),
                Useless => (0, "available") == (errno, state),
                Borrowed => (0, "borrowed") == (errno, state),
                Any => true,
            };
            ensure!(is_right, "{lie}: errno {errno}, {state}");
        }
        ensure!(tried.text().lines().count() == names.len());
        ensure!(honest.link.value("state")? == "up");
        honest.check_log(&["the lender's answer makes no sense: BAR outside the MMIO window"])
    })
}

/// Borrows each offer named, and returns it if it is borrowed; prints the errno of that and the state that came of it.
const TRY: &str = r#"
    my ($dir, @offers) = @ARGV;
    sub state {
        open(my $f, "<", "$dir/offers/$_[0]/state") or return "none";
        my $state = <$f>;
        chomp $state;
        $state;
    }
    sub wait_for {
        my ($at, @wanted) = @_;
        for (1 .. 600) {
            my $state = state($at);
            return $state if grep { $_ eq $state } @wanted;
            select(undef, undef, undef, 0.1);
        }
        die "$at is ", state($at), "\n";
    }
    sub put {
        open(my $f, ">", "$dir/$_[0]") or die "$dir/$_[0]: $!\n";
        defined syswrite($f, "$_[1]\n") ? 0 : $! + 0;
    }
    $| = 1;
    for my $at (@offers) {
        wait_for($at, "available");
        my ($errno, $state) = (put("borrow", $at), "refused");
        if (!$errno) {
            $state = wait_for($at, "borrowed", "available");
            if ($state eq "borrowed") {
                system("lspci -vvxxxx >/dev/null") == 0 or die "lspci\n";
                put("return", $at) == 0 or die "$at is not returned: $!\n";
            }
        }
        wait_for($at, "available");
        die "$at is left behind\n" if glob("/sys/bus/pci/devices/1*");
        print "$at $errno $state\n";
    }
"#;

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

/// Whatever becomes of its requests, the borrower goes on asking, and does nothing else.
pub fn answers_wrongly(bed: &Bed) -> Result<()> {
    against_borrower(bed, "replies", |honest, bad| {
        for _ in 0..4 {
            wait_more(honest, bad, "requests_sent", 25)?;
            if let Ok(()) = honest.link.try_borrow(FAKE)? {
                give_back(honest, FAKE)?;
            }
        }
        honest.check_log(&["cannot list the peer's offers"])
    })
}

pub fn sends_events_about_nothing(bed: &Bed) -> Result<()> {
    against_borrower(bed, "events", |honest, bad| {
        let offer = honest.link.offer(FAKE);
        let begun = || honest.link.number("leases_begun");
        // Nothing that is said about others touches the one that is there.
        offer.wait_state("available", LIMIT)?;
        honest.host.write(&honest.link.path("borrow"), FAKE)?;
        offer.wait_state("borrowed", LIMIT)?;
        wait_more(honest, bad, "requests_received", 800)?;
        offer.wait_state("borrowed", Duration::ZERO)?;
        ensure!(begun()? == 1 && honest.link.number("take_backs_asked")? == 0);
        // Asked for more than once, it goes once.
        bad.tell("wanted")?;
        offer.wait_state("available", LIMIT)?;
        wait_more(honest, bad, "requests_received", 200)?;
        ensure!(honest.link.number("leases_ended")? == 1);
        let asked = honest.link.number("take_backs_asked")?;
        ensure!(asked == 1, "{asked} requests to give it back were obeyed");
        bad.tell("revoked")?;
        wait_more(honest, bad, "requests_received", 200)?;
        // Taken at once, whenever it is borrowed.
        for _ in 0..3 {
            offer.wait_state("available", LIMIT)?;
            let ended = honest.link.number("leases_ended")?;
            let _ = honest.link.try_borrow(FAKE)?;
            until("the lease to end", LIMIT, || {
                Ok(if honest.link.number("leases_ended")? > ended {
                    Seen::Yes(())
                } else {
                    Seen::NotYet(format!("{:?}", offer.values()?))
                })
            })?;
        }
        honest.check_log(&["giving it back"])
    })
}

/// Nobody says that the device is stopped, so the windows have to be shut before its driver frees the memory.
pub fn does_not_take_back_what_is_lost(bed: &Bed) -> Result<()> {
    against_borrower(bed, "stubborn", |honest, _| {
        let offer = honest.link.offer(FAKE);
        offer.wait_state("available", LIMIT)?;
        // Its loss may be faster than the command.
        let _ = honest.link.try_borrow(FAKE)?;
        until("the lease to end", LIMIT, || {
            Ok(match honest.link.number("leases_lost")? {
                1.. => Seen::Yes(()),
                none => Seen::NotYet(format!("{none} were lost")),
            })
        })?;
        // And then there is another session.
        honest.link.wait_state("up", LIMIT)?;
        honest.check_log(&[
            "no answer to a configuration access",
            "the lender does not take a lost device back: ending the session",
        ])
    })
}

/// What it says of a lease comes before the borrower uses that, and counts.
pub fn takes_back_at_once(bed: &Bed) -> Result<()> {
    against_borrower(bed, "hasty", |honest, _| {
        let offer = honest.link.offer(FAKE);
        for (ended, why) in [(1, "asked for"), (2, "reclaimed")] {
            offer.wait_state("available", LIMIT)?;
            let borrowed = honest.link.try_borrow(FAKE)?;
            ensure!(borrowed.is_ok(), "the borrow gave {borrowed:?}");
            until("the lease to end", LIMIT, || {
                Ok(match honest.link.number("leases_ended")? {
                    now if now >= ended => Seen::Yes(()),
                    now => Seen::NotYet(format!("{now} have ended")),
                })
            })?;
            honest.check_log(&[&format!("ended: {why}")])?;
        }
        Ok(())
    })
}

/// Reads the status of all borrowed devices many times, without a pause.
const READ_STATUS: &str =
    "perl -e 'for my $f (glob(\"/sys/bus/pci/devices/1*/config\")) { open(F, \"<\", $f) or next; \
                           for (1 .. 20) { sysseek(F, 4, 0); sysread(F, my $b, 4) } }'";

/// Each access has its answer within its bound, and all of them together hold interrupts off for too long.
pub fn answers_just_in_time(bed: &Bed) -> Result<()> {
    against_borrower(bed, "slow", |honest, bad| {
        let offer = honest.link.offer(FAKE);
        offer.wait_state("available", LIMIT)?;
        let _ = honest.link.try_borrow(FAKE)?;
        until("the lease to end", SCENARIO, || {
            bad.check()?;
            let lost = honest.link.number("leases_lost")?;
            if lost == 0 {
                // Its status, again and again: what the kernel reads while it adds the device it asks nobody for.
                honest.host.sh(READ_STATUS)?;
            }
            Ok(match lost {
                1.. => Seen::Yes(()),
                none => Seen::NotYet(format!("{none} were lost")),
            })
        })?;
        offer.wait_state("available", LIMIT)?;
        ensure!(honest.link.value("state")? == "up");
        honest.check_log(&["configuration accesses take too long"])
    })
}

/// Whatever its driver makes of it, the device can be returned.
pub fn has_noise_for_registers(bed: &Bed) -> Result<()> {
    against_borrower(bed, "probed", |honest, _| {
        let patience = "/sys/module/nvme_core/parameters/admin_timeout";
        let before = honest.host.read(patience)?;
        honest.host.write(patience, "2")?;
        for _ in 0..6 {
            honest.link.offer(FAKE).wait_state("available", LIMIT)?;
            // Lost again before the command has seen it, perhaps.
            let _ = honest.link.try_borrow(FAKE)?;
            give_back(honest, FAKE)?;
        }
        honest.host.write(patience, &before)?;
        honest.check_log(&["nvme"])
    })
}

/// A borrowed device is lost with its session, however many there are in a row.
pub fn ends_session_after_session(bed: &Bed) -> Result<()> {
    against_borrower(bed, "sessions", |honest, bad| {
        let offer = honest.link.offer(FAKE);
        offer.wait_state("available", LIMIT)?;
        honest.host.write(&honest.link.path("borrow"), FAKE)?;
        offer.wait_state("borrowed", LIMIT)?;
        bad.tell("flap")?;
        until("many sessions to end", SCENARIO, || {
            let output = bad.output()?;
            Ok(match output.lines().count() {
                50.. => Seen::Yes(()),
                some => Seen::NotYet(format!("{some} have ended")),
            })
        })?;
        let (ended, lost) = (
            honest.link.number("leases_ended")?,
            honest.link.number("leases_lost")?,
        );
        ensure!((ended, lost) == (1, 1), "{ended} ended, {lost} lost");
        honest.check_log(&["link up", "link down"])
    })
}
