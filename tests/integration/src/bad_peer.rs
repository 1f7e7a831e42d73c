// SPDX-License-Identifier: GPL-2.0

//! A peer that gets a session and then does everything wrong (`tests/bad-peer`), against an honest devlend.
//!
//! Each test ends with an honest devlend in the bad peer's place: the link comes up, and the NVMe is lent, borrowed, used
//! and returned.

mod as_borrower;
mod as_lender;
mod crowd;
mod versions;

use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use devlend_bed::devlend::{Lender, Link, Role};
use devlend_bed::{until, Bed, Host, Options, Seen};

use crate::cases;
use crate::pair::{finally, Pair, NTB, NVME};
use crate::runner::Case;

/// In the shared hosts.
pub const CASES: &[Case] = cases![
    Amd(as_borrower::asks_before_it_may),
    Amd(as_borrower::sends_requests_that_are_none),
    Amd(as_borrower::misuses_a_lease),
    Amd(as_borrower::floods),
    Amd(as_borrower::does_not_listen),
    Amd(as_borrower::has_a_key_all_at_once),
    Amd(as_borrower::overruns_the_ring),
    Amd(as_borrower::announces_lies),
    Amd(as_borrower::makes_noise),
    Amd(as_borrower::has_no_key),
    Amd(as_lender::offers_nonsense),
    Amd(as_lender::grants_leases_that_are_lies),
    Amd(as_lender::answers_wrongly),
    Amd(as_lender::sends_events_about_nothing),
    Amd(as_lender::does_not_take_back_what_is_lost),
    Amd(as_lender::takes_back_at_once),
    Amd(as_lender::answers_just_in_time),
    Amd(as_lender::has_noise_for_registers),
    Amd(versions::has_no_features),
    Amd(versions::borrows_without_features),
    Amd(versions::is_from_the_future),
    Amd(versions::has_no_common_version),
    Amd(as_lender::ends_session_after_session),
];

/// In three hosts of their own.
pub const CROWDS: &[Case] = cases![Hosts(crowd::options, crowd::beside_an_honest_one),];

const LIMIT: Duration = Duration::from_secs(60);
/// How long a scenario may take.
const SCENARIO: Duration = Duration::from_secs(300);
/// What is done at random is done by this.
const SEED: u64 = 20_261_121;
/// What the bad peer prints, and where tests tell it to go on.
const OUTPUT: &str = "/tmp/bad-peer.out";

/// A host in which the bad peer runs.
struct Bad<'a> {
    host: &'a Host,
    command: String,
}

impl<'a> Bad<'a> {
    /// Gets a host ready for it, with the NTB at that address.
    fn new(host: &'a Host, ntb: &str) -> Result<Self> {
        host.unload()?;
        host.load_ntb_drivers()?;
        host.sh_ok("modprobe ntb_tool; rm -f /tmp/bad-peer-*")?;
        host.give_program("bad-peer")?;
        Ok(Self {
            host,
            command: format!("/tmp/bad-peer --ntb {ntb} --seed {SEED}"),
        })
    }

    /// The same, but for what it says that it is.
    fn with(self, dialect: &str) -> Self {
        Self {
            command: format!("{} {dialect}", self.command),
            ..self
        }
    }

    /// Runs a scenario of a borrower to its end, and returns what it printed.
    fn borrow(&self, scenario: &str) -> Result<String> {
        let command = format!("{} borrower {scenario}", self.command);
        let output = self.host.sh_within(SCENARIO, &command)?;
        ensure!(
            output.ok(),
            "bad-peer borrower {scenario}: {}{}",
            output.text(),
            output.error_text()
        );
        Ok(output.text().into_owned())
    }

    /// Starts a scenario in the background.
    fn start(&self, scenario: &str) -> Result<()> {
        let command = &self.command;
        self.host
            .sh_ok(&format!(
                "{command} {scenario} >{OUTPUT} 2>&1 & echo $! >/tmp/bad-peer.pid"
            ))
            .map(drop)
    }

    /// What it has printed so far.
    fn output(&self) -> Result<String> {
        self.host.read(OUTPUT)
    }

    /// Tells it to take a step.
    fn tell(&self, step: &str) -> Result<()> {
        self.host
            .sh_ok(&format!("touch /tmp/bad-peer-{step}"))
            .map(drop)
    }

    /// Sends a signal to what [`start`](Self::start) started.
    fn signal(&self, signal: &str) -> Result<()> {
        self.host
            .sh_ok(&format!("kill -{signal} $(cat /tmp/bad-peer.pid)"))
            .map(drop)
    }

    /// Checks that what [`start`](Self::start) started is still there.
    fn check(&self) -> Result<()> {
        let there = self.host.sh("kill -0 $(cat /tmp/bad-peer.pid)")?;
        ensure!(
            there.ok(),
            "the bad peer ended by itself: {}",
            self.output()?
        );
        Ok(())
    }

    /// Ends what [`start`](Self::start) started; it must still be there.
    fn stop(&self) -> Result<()> {
        self.check()?;
        self.signal("TERM")?;
        self.wait_end()
    }

    /// Waits for the end of what [`start`](Self::start) started.
    fn wait_end(&self) -> Result<()> {
        until("the bad peer to end", SCENARIO, || {
            let gone = self.host.sh("[ ! -d /proc/$(cat /tmp/bad-peer.pid) ]")?;
            Ok(if gone.ok() {
                Seen::Yes(())
            } else {
                Seen::NotYet(self.output()?)
            })
        })
    }

    /// Leaves the host to others.
    fn leave(&self) -> Result<()> {
        self.host
            .sh_ok(
                "kill $(cat /tmp/bad-peer.pid) 2>/dev/null; \
                 [ ! -d /sys/module/ntb_tool ] || rmmod ntb_tool",
            )
            .map(drop)
    }
}

/// A host in which devlend runs and is misused.
struct Honest<'a> {
    host: &'a Host,
    link: Link<'a>,
    /// Lines of its log that there were before.
    before: usize,
    since: Instant,
}

impl<'a> Honest<'a> {
    /// Loads a role into a host in which there was nothing of devlend.
    fn new(host: &'a Host, role: Role) -> Result<Self> {
        host.unload()?;
        host.load(role)?;
        Ok(Self {
            host,
            link: Link::of(host)?,
            before: host.dmesg()?.lines().count(),
            since: Instant::now(),
        })
    }

    /// What its kernel has said since.
    fn log(&self) -> Result<Vec<String>> {
        let log = self.host.dmesg()?;
        Ok(log.lines().skip(self.before).map(Into::into).collect())
    }

    /// Checks that its kernel has said something, and that it was not flooded with what the peer made it say: that is
    /// limited by time.
    fn check_log(&self, said: &[&str]) -> Result<()> {
        let log = self.log()?;
        for part in said {
            ensure!(
                log.iter().any(|line| line.contains(part)),
                "it did not say '{part}', but:\n{}",
                log.join("\n")
            );
        }
        // Complaints and transitions have limits of their own: 10 and 50 lines in five seconds, and one each that tells how
        // many were left out. The rest is what tests do.
        let intervals = self.since.elapsed().as_secs() / 5 + 2;
        let most = usize::try_from(intervals)? * 62 + 100;
        println!(
            "    {} lines in {} s",
            log.len(),
            self.since.elapsed().as_secs()
        );
        ensure!(
            log.len() <= most,
            "{} lines in {} s, the last of them:\n{}",
            log.len(),
            self.since.elapsed().as_secs(),
            log[log.len() - 20..].join("\n")
        );
        Ok(())
    }
}

/// Puts an honest devlend into the place of the bad one, and sees that all works with it.
fn all_is_well(bed: &Bed) -> Result<()> {
    let pair = Pair::of(bed)?;
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    borrowed.end()?;
    pair.check_tidy()
}

/// Runs a test with a lender that is misused; the borrower is bad.
fn against_lender(bed: &Bed, test: impl FnOnce(&Honest<'_>, &Bad<'_>) -> Result<()>) -> Result<()> {
    let (lender, borrower) = (bed.host("lender")?, bed.host("borrower")?);
    lender.modprobe("nvme")?;
    lender.wait_nvme(NVME, LIMIT)?;
    let bad = Bad::new(borrower, NTB)?;
    let honest = Honest::new(lender, Role::Lender)?;
    Lender(lender).lend(&format!("{NVME} unsafe"))?;
    let body = test(&honest, &bad);
    let body = body.and_then(|()| Lender(lender).wait_state(NVME, "offered", LIMIT));
    finally(body, || {
        bad.leave()?;
        Lender(lender).reclaim(NVME)
    })?;
    all_is_well(bed).context("with an honest peer afterwards")
}

/// Runs a test with a borrower that is misused; the lender is bad and plays that scenario.
fn against_borrower(
    bed: &Bed,
    scenario: &str,
    test: impl FnOnce(&Honest<'_>, &Bad<'_>) -> Result<()>,
) -> Result<()> {
    against_borrower_as(bed, "", scenario, test)
}

/// The same with a lender that says it is another.
fn against_borrower_as(
    bed: &Bed,
    dialect: &str,
    scenario: &str,
    test: impl FnOnce(&Honest<'_>, &Bad<'_>) -> Result<()>,
) -> Result<()> {
    let (lender, borrower) = (bed.host("lender")?, bed.host("borrower")?);
    borrower.modprobe("nvme")?;
    let bad = Bad::new(lender, NTB)?.with(dialect);
    let honest = Honest::new(borrower, Role::Borrower)?;
    bad.start(&format!("lender {scenario}"))?;
    let body = honest
        .link
        .wait_state("up", LIMIT)
        .and_then(|()| test(&honest, &bad))
        .and_then(|()| bad.stop())
        .with_context(|| format!("the bad peer printed: {}", bad.output().unwrap_or_default()));
    finally(body, || bad.leave())?;
    all_is_well(bed).context("with an honest peer afterwards")
}

/// Waits until a number of the honest one's link has grown by so much, by the bad one's doing.
fn wait_more(honest: &Honest<'_>, bad: &Bad<'_>, file: &str, more: u64) -> Result<()> {
    let link = &honest.link;
    let enough = link.number(file)? + more;
    until(&format!("{file} to be {enough}"), SCENARIO, || {
        bad.check()?;
        Ok(match link.number(file)? {
            now if now >= enough => Seen::Yes(()),
            now => Seen::NotYet(format!("it is {now}")),
        })
    })
}
