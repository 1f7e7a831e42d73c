// SPDX-License-Identifier: GPL-2.0

//! Hosts that lend and borrow only with a key, and what becomes of those that have not the right one.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::devlend::Link;
use devlend_bed::{until, Errno, Host, Seen};

use crate::cases;
use crate::events::Listener;
use crate::pair::{finally, logged, ntb_driver, refused, Pair, NTB, NVME};
use crate::runner::Case;
use crate::unplug::{borrow_again, check_gone};

pub const CASES: &[Case] = cases![
    Pair(the_right_one),
    Pair(one_side_has_none),
    Pair(another_one),
    Pair(changed_while_borrowed),
    Pair(revoked),
    Pair(expired),
    Pair(kept_while_the_ntb_is_away),
    Pair(that_are_none),
];

const LIMIT: Duration = Duration::from_secs(60);
/// The key of the tests, by its description.
pub const NAME: &str = "devlend:test";
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER_SECRET: &str = "0123456789abcdef0123456789abcdeF";

const NONE_HERE: &str = "the peer has a key, this host has none";
const NONE_THERE: &str = "this host has a key, the peer has none that it may use";
const DIFFERS: &str = "the peer has another key";

/// Runs a test, and takes all keys away again.
fn restoring(pair: &Pair<'_>, test: impl FnOnce() -> Result<()>) -> Result<()> {
    finally(test(), || {
        for link in pair.ends() {
            set(link, "")?;
            link.host().sh_ok("keyctl clear @u")?;
        }
        up(pair)
    })
}

fn up(pair: &Pair<'_>) -> Result<()> {
    pair.ends()
        .into_iter()
        .try_for_each(|link| link.wait_state("up", LIMIT))
}

/// Sets the link's key, by its description; none if that is empty.
pub fn set(link: &Link<'_>, description: &str) -> Result<()> {
    link.host().write(&link.path("key"), description)
}

/// Puts a key into a host's keyring; one of the same name is replaced. Returns its serial number.
pub fn add(host: &Host, kind: &str, name: &str, secret: &str) -> Result<String> {
    host.sh_ok(&format!("keyctl add {kind} {name} {secret} @u"))
}

/// Gives both hosts the same key and waits until they are attached with it.
fn attach(pair: &Pair<'_>) -> Result<()> {
    for link in pair.ends() {
        add(link.host(), "logon", NAME, SECRET)?;
        set(link, NAME)?;
    }
    up(pair)?;
    for link in pair.ends() {
        let log = link.host().dmesg()?;
        let last = log.lines().rfind(|line| line.contains("link up, "));
        ensure!(
            last.is_some_and(|line| line.ends_with("attached with a key")),
            "the {} says {last:?}",
            link.host().name()
        );
    }
    Ok(())
}

/// Waits until a host refuses its peer, for that reason.
fn wait_refusal(link: &Link<'_>, reason: &str) -> Result<()> {
    let what = format!("the {} to refuse: {reason}", link.host().name());
    until(&what, LIMIT, || {
        let (state, seen) = (link.value("state")?, link.value("refusal")?);
        Ok(if (state.as_str(), seen.as_str()) == ("refused", reason) {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("it is {state}, {seen:?}"))
        })
    })
}

/// How often a host's log holds a refusal.
fn told(host: &Host, reason: &str) -> Result<usize> {
    let log = host.dmesg()?;
    let wanted = format!("no session with the peer: {reason}");
    Ok(log.lines().filter(|line| line.contains(&wanted)).count())
}

/// Nothing is offered over a link that is refused, and nothing can be borrowed.
fn nothing_goes(pair: &Pair<'_>) -> Result<()> {
    pair.at_borrower.offer(NVME).wait_gone(LIMIT)?;
    let offers = pair.at_borrower.offers()?;
    ensure!(offers.is_empty(), "there are offers: {offers:?}");
    let answer = pair.at_borrower.try_borrow(NVME)?;
    refused(answer, &[Errno::ENOENT, Errno::ENOTCONN], "a borrow")?;
    for link in pair.ends() {
        let (version, state) = (link.value("version")?, link.value("state")?);
        ensure!(
            version.is_empty() && state != "up",
            "the {} is {state}, version {version:?}",
            link.host().name()
        );
    }
    Ok(())
}

/// Set on both while the link is up: the session is attached anew, and the disk can be used. Of either type.
fn the_right_one(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        for (kind, name) in [("logon", NAME), ("user", "devlend-test")] {
            let before = pair.ends().map(|link| link.value("generation"));
            for link in pair.ends() {
                add(link.host(), kind, name, SECRET)?;
                set(link, name)?;
                ensure!(link.value("key")? == name, "{}", link.value("key")?);
            }
            up(pair)?;
            for (link, before) in pair.ends().into_iter().zip(before) {
                ensure!(
                    link.value("generation")? != before?,
                    "it is the old session"
                );
                ensure!(link.value("refusal")?.is_empty());
            }
            let borrowed = pair.borrow()?;
            borrowed.check_disk()?;
            borrowed.end()?;
        }
        // Without keys it works again.
        for link in pair.ends() {
            set(link, "")?;
            ensure!(link.value("key")?.is_empty());
        }
        up(pair)?;
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        borrowed.end()
    })
}

/// Whoever has the key, there is no session, both say why, and both go on when it is taken away.
fn one_side_has_none(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        pair.lend()?;
        let [lender, borrower] = pair.ends();
        for (with, without) in [(lender, borrower), (borrower, lender)] {
            pair.at_borrower
                .offer(NVME)
                .wait_state("available", LIMIT)?;
            add(with.host(), "logon", NAME, SECRET)?;
            let listener = Listener::start(without.host())?;
            let before = (
                told(with.host(), NONE_THERE)?,
                told(without.host(), NONE_HERE)?,
            );
            set(with, NAME)?;
            wait_refusal(with, NONE_THERE)?;
            wait_refusal(without, NONE_HERE)?;
            let event = format!("{NTB} DEVLEND_EVENT=link-refused DEVLEND_LINK={NTB}");
            let heard = listener.wait(&event, &format!("DEVLEND_REASON={NONE_HERE}"));
            finally(heard, || listener.stop())?;
            nothing_goes(pair)?;
            let after = (
                told(with.host(), NONE_THERE)?,
                told(without.host(), NONE_HERE)?,
            );
            ensure!(
                after == (before.0 + 1, before.1 + 1),
                "in the logs: {before:?}, then {after:?}"
            );
            set(with, "")?;
            up(pair)?;
        }
        borrow_again(pair)
    })
}

/// Tried again and again, logged once; and when the key becomes the right one nobody has to do anything.
fn another_one(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        pair.lend()?;
        let before = told(pair.lender, DIFFERS)? + told(pair.borrower, DIFFERS)?;
        add(pair.lender, "logon", NAME, SECRET)?;
        let key = add(pair.borrower, "logon", NAME, OTHER_SECRET)?;
        for link in pair.ends() {
            set(link, NAME)?;
        }
        for link in pair.ends() {
            wait_refusal(link, DIFFERS)?;
        }
        nothing_goes(pair)?;
        let refusals = pair.at_borrower.number("attaches_refused")?;
        until("two more tries", LIMIT, || {
            Ok(match pair.at_borrower.number("attaches_refused")? {
                now if now >= refusals + 2 => Seen::Yes(()),
                now => Seen::NotYet(format!("{refusals}, then {now}")),
            })
        })?;
        nothing_goes(pair)?;
        let told = told(pair.lender, DIFFERS)? + told(pair.borrower, DIFFERS)? - before;
        ensure!(told == 2, "{told} lines in the logs");

        pair.borrower
            .sh_ok(&format!("keyctl update {key} {SECRET}"))?;
        up(pair)?;
        borrow_again(pair)
    })
}

/// A change of the key is the end of the session, and so of what was borrowed in it.
fn changed_while_borrowed(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        attach(pair)?;
        let borrowed = pair.borrow()?;
        borrowed.check_disk()?;
        for link in pair.ends() {
            add(link.host(), "logon", "devlend:next", OTHER_SECRET)?;
        }
        set(&pair.at_lender, "devlend:next")?;
        wait_refusal(&pair.at_borrower, DIFFERS)?;
        borrowed.wait_gone(LIMIT)?;
        check_gone(pair, &borrowed.address)?;
        pair.lending().wait_state(NVME, "offered", LIMIT)?;
        set(&pair.at_borrower, "devlend:next")?;
        up(pair)?;
        borrow_again(pair)
    })
}

/// A session goes on without its key; the next one is refused.
fn revoked(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        attach(pair)?;
        let borrowed = pair.borrow()?;
        let key = pair
            .lender
            .sh_ok(&format!("keyctl search @u logon {NAME}"))?;
        pair.lender.sh_ok(&format!("keyctl revoke {key}"))?;
        borrowed.check_disk()?;
        let state = pair.at_lender.value("state")?;
        ensure!(state == "up", "the lender's link is {state}");

        let answer = pair.lender.try_write(&pair.at_lender.path("key"), NAME)?;
        refused(
            answer,
            &[Errno::EKEYREVOKED, Errno::ENOKEY],
            "a revoked key",
        )?;
        ensure!(pair.at_lender.value("key")? == NAME);
        // The session begins anew.
        set(&pair.at_borrower, NAME)?;
        wait_refusal(&pair.at_lender, "this host's key was revoked")?;
        wait_refusal(&pair.at_borrower, NONE_THERE)?;
        ensure!(told(pair.lender, "this host's key was revoked")? > 0);
        borrowed.wait_gone(LIMIT)?;
        nothing_goes(pair)?;
        // A new one of the same name is another key.
        attach(pair)?;
        borrow_again(pair)
    })
}

fn expired(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        attach(pair)?;
        let key = pair
            .borrower
            .sh_ok(&format!("keyctl search @u logon {NAME}"))?;
        pair.borrower
            .sh_ok(&format!("keyctl timeout {key} 1 && sleep 3"))?;
        let state = pair.at_borrower.value("state")?;
        ensure!(state == "up", "the borrower's link is {state}");
        set(&pair.at_lender, NAME)?;
        wait_refusal(&pair.at_borrower, "this host's key has expired")?;
        wait_refusal(&pair.at_lender, NONE_THERE)?;
        attach(pair)
    })
}

/// A link that comes back has its key before it says a word: nobody is let in without, not even for a moment.
fn kept_while_the_ntb_is_away(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        let [lender, borrower] = pair.ends();
        for (with, without) in [(lender, borrower), (borrower, lender)] {
            attach(pair)?;
            pair.lend()?;
            let driver = ntb_driver(with.host())?;
            let ups = || ups(without.host());
            with.host().write(&format!("{driver}/unbind"), NTB)?;
            set(without, "")?;
            let before = ups()?;
            with.host().write(&format!("{driver}/bind"), NTB)?;
            wait_refusal(with, NONE_THERE)?;
            ensure!(
                with.value("key")? == NAME,
                "the key is {:?}",
                with.value("key")?
            );
            ensure!(ups()? == before, "there was a session without the key");
            nothing_goes(pair)?;
            attach(pair)?;
            borrow_again(pair)?;
        }
        Ok(())
    })
}

/// How often a host has told its log that the link is up.
fn ups(host: &Host) -> Result<usize> {
    Ok(host.dmesg()?.matches("link up, ").count())
}

/// They are refused, and nothing has changed.
fn that_are_none(pair: &Pair<'_>) -> Result<()> {
    restoring(pair, || {
        attach(pair)?;
        let link = &pair.at_borrower;
        add(pair.borrower, "logon", "devlend:short", "0123456789abcde")?;
        pair.borrower
            .sh_ok("keyctl newring devlend:ring @u")
            .map(drop)?;
        let generation = link.value("generation")?;
        for (description, errno) in [
            ("devlend:nobody", Errno::ENOKEY),
            ("devlend:ring", Errno::ENOKEY),
            ("devlend:short", Errno::EINVAL),
            ("devlend:test devlend:test", Errno::EINVAL),
            ("devlend:\u{e4}", Errno::EINVAL),
            (&"x".repeat(256), Errno::EINVAL),
        ] {
            let answer = logged(
                pair.borrower,
                || pair.borrower.try_write(&link.path("key"), description),
                |line| line.contains("key"),
                "why",
            )
            .with_context(|| format!("{description:?}"))?;
            refused(answer, &[errno], description)?;
        }
        ensure!(link.value("key")? == NAME);
        ensure!(link.value("generation")? == generation && link.value("state")? == "up");
        // What is not set cannot be taken away: no session ends for it.
        for link in pair.ends() {
            set(link, "")?;
        }
        up(pair)?;
        let generation = link.value("generation")?;
        set(link, "")?;
        pair.borrower.sh_ok("sleep 2")?;
        ensure!(link.value("generation")? == generation && link.value("state")? == "up");
        // The secret is nowhere to be seen.
        for host in [pair.lender, pair.borrower] {
            let log = host.dmesg()?;
            ensure!(!log.contains(SECRET), "the {}'s log has it", host.name());
        }
        Ok(())
    })
}
