// SPDX-License-Identifier: GPL-2.0

//! Announcements that are lies.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_protocol::{Announcement, BUSY, MAGIC, SCRATCHPADS};

use super::{is_served, overrun};
use crate::ntb::{Words, HANDSHAKE};
use crate::session::{Session, NOTHING};

/// So often a session is ended by a new generation: more than a log may hold.
const FLAPS: u32 = 30;

pub fn run(session: &mut Session, mut rng: fastrand::Rng) -> Result<()> {
    session.connect()?;
    let (ours, _) = session.generations();
    for (what, words) in lies(session)? {
        session.announce(&words)?;
        session.wait_over().context(what)?;
        // The same again and again changes nothing.
        for _ in 0..50 {
            session.ntb.ring(HANDSHAKE)?;
        }
        session.restart()?;
        session.connect().with_context(|| format!("after {what}"))?;
        is_served(session).with_context(|| format!("after {what}"))?;
    }
    replays(session, ours).context("replayed")?;
    // While it is being written nothing is to be read, however long that takes; the session goes on.
    session.ntb.set_scratchpad(0, BUSY)?;
    for _ in 0..50 {
        session.ntb.ring(HANDSHAKE)?;
    }
    is_served(session).context("busy for ever")?;
    random(session, &mut rng)?;
    for flap in 0..FLAPS {
        session.restart()?;
        session.connect().with_context(|| format!("flap {flap}"))?;
    }
    println!("sessions {FLAPS}");
    Ok(())
}

/// What is announced with one thing changed.
fn lies(session: &Session) -> Result<Vec<(&'static str, Words)>> {
    let (generation, seen) = session.generations();
    let good = Announcement {
        version_min: 1,
        version_max: 1,
        memory_window: session.memory_window()?,
        control: session.own.physical,
        generation,
        seen,
        ready: true,
        memory_base: 0,
    };
    let next = generation.wrapping_add(1).max(1);
    let mut lies = vec![
        ("nothing", [0; SCRATCHPADS]),
        ("all ones", [u32::MAX; SCRATCHPADS]),
        ("no magic", [NOTHING; SCRATCHPADS]),
        ("magic only", [MAGIC; SCRATCHPADS]),
    ];
    let mut lie = |what, change: fn(&mut Announcement)| {
        let mut changed = good;
        change(&mut changed);
        lies.push((what, changed.to_words()));
    };
    lie("generation 0", |it| it.generation = 0);
    lie("version 0", |it| it.version_min = 0);
    lie("no version", |it| it.version_min = 2);
    lie("an odd control block", |it| it.control += 1);
    lie("no control block", |it| it.control = 0);
    lie("an odd memory base", |it| it.memory_base = 1);
    lie("a control block below the memory", |it| {
        it.memory_base = it.control + 4096;
    });
    lie("another generation of ours seen", |it| {
        it.seen = it.seen.wrapping_add(1);
    });
    // With a generation that is new: the session is opened, if at all, with what is announced.
    let mut fresh = |what, change: fn(&mut Announcement)| {
        let mut changed = Announcement {
            generation: next,
            ..good
        };
        change(&mut changed);
        lies.push((what, changed.to_words()));
    };
    fresh("ready at once", |_| {});
    fresh("a window that is not", |it| it.memory_window = u8::MAX);
    fresh("a control block beyond the window", |it| {
        it.control = 1 << 40
    });
    fresh("a control block at the end of all", |it| {
        it.control = u64::MAX - 4095;
    });
    fresh("a small window", |it| it.memory_window = 0);
    let mut flags = good.to_words();
    flags[1] |= 0x8000_0000;
    lies.push(("unknown flags", flags));
    Ok(lies)
}

/// An old generation of ours, and one of the host's that is over.
fn replays(session: &mut Session, old: u32) -> Result<()> {
    // As it was at the beginning: a new session for the host, in which nothing is as it was.
    session.restart_as(old)?;
    session.connect()?;
    is_served(session)?;

    let (_, over) = session.generations();
    overrun::count_more(session, 1000)?;
    session.restart()?;
    session.connect()?;
    let (generation, seen) = session.generations();
    ensure!(seen != over, "the host's generation is that of before");
    let stale = Announcement {
        version_min: 1,
        version_max: 1,
        memory_window: session.memory_window()?,
        control: session.own.physical,
        generation: generation.wrapping_add(1).max(1),
        seen: over,
        ready: true,
        memory_base: 0,
    };
    for _ in 0..20 {
        session.announce(&stale.to_words())?;
        session.wait_unready()?;
    }
    // Time in which a session might come of it.
    std::thread::sleep(Duration::from_secs(1));
    session.wait_unready()?;
    session.restart()?;
    session.connect()
}

/// Random words, with and without the magic, while the host looks.
fn random(session: &mut Session, rng: &mut fastrand::Rng) -> Result<()> {
    for round in 0..300 {
        let mut words: Words = [0; SCRATCHPADS];
        words.fill_with(|| rng.u32(..));
        if rng.bool() {
            words[0] = MAGIC;
        }
        if rng.bool() {
            // One that can be believed.
            words[1] = u32::from_le_bytes([1, 1, rng.u8(..), rng.u8(0..2)]);
            words[3] &= !0xfff;
            words[5] &= !0xfff;
            words[4] &= 0xff;
            words[6] = 0;
        }
        for (index, word) in words.iter().enumerate() {
            session.ntb.set_scratchpad(index, *word)?;
            if rng.bool() {
                session.ntb.ring(HANDSHAKE)?;
            }
        }
        if round % 50 == 49 {
            session.restart()?;
            session
                .connect()
                .with_context(|| format!("after round {round}"))?;
        }
    }
    Ok(())
}
