// SPDX-License-Identifier: GPL-2.0

//! A session with a host that runs devlend, as good as an honest host's, and the means to misuse it.
//!
//! Nothing is interrupt-driven: whoever waits calls [`Session::pump`] again and again, which beats, takes steps of the
//! handshake and answers what the host asks for.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use devlend_protocol::{
    body, encode_error, encode_event, encode_reply, encode_request, negotiate, parse, reply,
    reply_slot, request_slot, Announcement, Beat, Consumer, Event, Failure, Features, Handshake,
    Kind, Malformed, ParsedHeader, Producer, Request, Status, Tag, Version, VersionReply, Windows,
    BUSY, CONSUMED, CONTROL_SIZE, KEEPALIVE, MAGIC, PRODUCER, REPLY_SLOTS, REQUEST_SLOTS,
    SLOT_SIZE,
};

use crate::memory::Memory;
use crate::ntb::{Ntb, Words, HANDSHAKE, REQUEST};

/// How long anything may take that the host has to do.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at memory.
const POLL: Duration = Duration::from_millis(2);
/// Between two beats, and what they promise.
const BEAT: Duration = Duration::from_millis(500);
/// A host that takes nothing off its ring for so long may have gone.
const PATIENCE: Duration = Duration::from_secs(1);
/// Own memory behind the control block: registers of devices that are not there.
pub const REGISTERS: usize = 64 << 10;

/// A slot's bytes.
pub type Slot = [u8; SLOT_SIZE];

/// Answers a request that is none of the handshake's: its header, its body, where the reply goes; its length, 0 for none.
pub type Answer<'a> =
    dyn FnMut(&mut Session, &ParsedHeader, &[u8], &mut Slot) -> Result<usize> + 'a;

/// The other host's control block.
struct Theirs {
    window: Memory,
    /// The window's index.
    index: u8,
    offset: usize,
    producer: Producer,
    consumer: Consumer,
}

/// See the module.
pub struct Session {
    pub ntb: Ntb,
    /// Our control block, and [`REGISTERS`].
    pub own: Memory,
    /// What we tell of our windows.
    pub windows: Windows,
    handshake: Handshake,
    announced: Option<Announcement>,
    theirs: Option<Theirs>,
    sequence: u32,
    beat: (Beat, Instant),
    /// The host knows our version, and we have told ours.
    answered: bool,
    asked: bool,
    /// The kinds of event that the host has sent.
    pub heard: BTreeSet<String>,
    /// Takes nothing off our ring.
    pub deaf: bool,
    rng: fastrand::Rng,
    /// What we say that we are.
    pub dialect: Dialect,
}

/// What a host says that it is.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// The lowest and the highest protocol version.
    pub versions: (u8, u8),
    /// What it can do besides, by bits.
    pub features: u32,
}

impl Dialect {
    /// As a host of today; with a key for the link, or without.
    pub fn today(keyed: bool) -> Self {
        Self {
            versions: (1, 1),
            features: Features::ours(keyed).bits(),
        }
    }
}

impl Session {
    /// No session yet.
    pub fn new(ntb: Ntb, dialect: Dialect, rng: fastrand::Rng) -> Result<Self> {
        let mut rng = rng;
        let generation = rng.u32(1..);
        Ok(Self {
            ntb,
            own: Memory::own(CONTROL_SIZE + REGISTERS)?,
            windows: Windows::default(),
            handshake: Handshake::new(generation),
            announced: None,
            theirs: None,
            sequence: rng.u32(..) | 1,
            beat: (Beat::default(), Instant::now()),
            answered: false,
            asked: false,
            heard: BTreeSet::new(),
            deaf: false,
            rng,
            dialect,
        })
    }

    /// Waits until the host and we have a session, versions agreed in both directions.
    pub fn connect(&mut self) -> Result<()> {
        let start = Instant::now();
        while !(self.is_open() && self.answered) {
            ensure!(
                start.elapsed() < LIMIT,
                "no session: {:?}, peer {:?}",
                self.handshake,
                self.ntb.scratchpads()?
            );
            self.pump(&mut refuse)?;
            self.look()?;
        }
        if !self.asked {
            self.agree()?;
        }
        Ok(())
    }

    /// Waits for the two hosts to be open for each other, and for nothing more.
    pub fn open(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.is_open() {
            ensure!(start.elapsed() < LIMIT, "no session: {:?}", self.handshake);
            self.look()?;
            sleep(POLL);
        }
        Ok(())
    }

    /// Tells the host our version.
    pub fn agree(&mut self) -> Result<()> {
        let told = self.ask(0, &self.version())?;
        let told = told.map_err(|failure| anyhow::anyhow!("version: {failure}"))?;
        ensure!(
            told.version.get() == 1,
            "it speaks version {}",
            told.version.get()
        );
        self.asked = true;
        Ok(())
    }

    /// What an honest host would say of itself.
    pub fn version(&self) -> Version {
        Version {
            min: u16::from(self.dialect.versions.0).into(),
            max: u16::from(self.dialect.versions.1).into(),
            slot_size: (SLOT_SIZE as u32).into(),
            features: self.dialect.features.into(),
            windows: self.windows,
        }
    }

    pub fn is_open(&self) -> bool {
        self.theirs.is_some()
    }

    /// Forgets the session and begins another.
    pub fn restart(&mut self) -> Result<()> {
        let generation = self.rng.u32(1..);
        self.restart_as(generation)
    }

    /// The same with a generation that is not new.
    pub fn restart_as(&mut self, generation: u32) -> Result<()> {
        self.handshake.restart(generation);
        self.end();
        self.announced = None;
        self.look()
    }

    fn end(&mut self) {
        self.theirs = None;
        self.answered = false;
        self.asked = false;
    }

    /// Our generation, and the host's that we have seen.
    pub fn generations(&self) -> (u32, u32) {
        (self.handshake.generation(), self.handshake.seen())
    }

    /// What the host announces now; `None` while it writes it.
    pub fn their_words(&self) -> Result<Option<Words>> {
        let words = self.ntb.scratchpads()?;
        Ok((words[0] != BUSY && words == self.ntb.scratchpads()?).then_some(words))
    }

    /// Whether the host is still in the session that is open here.
    pub fn is_alive(&self) -> Result<bool> {
        let Some(words) = self.their_words()? else {
            return Ok(false);
        };
        let (own, seen) = self.generations();
        Ok(Announcement::from_words(&words)
            .ok()
            .flatten()
            .is_some_and(|it| it.generation == seen && it.seen == own && it.ready))
    }

    /// Waits until the host has seen that the session is over.
    pub fn wait_over(&self) -> Result<()> {
        self.wait_for("the host to end the session", || {
            Ok(self.their_words()?.is_some() && !self.is_alive()?)
        })
    }

    /// Waits until the host has seen that what we announce is no session.
    pub fn wait_unready(&self) -> Result<()> {
        self.wait_for("the host to be no longer ready", || {
            let words = self.their_words()?;
            Ok(words.is_some_and(|words| words[1] >> 24 == 0))
        })
    }

    /// Waits for something of the host's that is in memory or in the scratchpads.
    pub fn wait_for(&self, what: &str, mut there: impl FnMut() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !there()? {
            ensure!(start.elapsed() < LIMIT, "waited in vain for {what}");
            sleep(POLL);
        }
        Ok(())
    }

    /// Takes a step of the handshake.
    pub fn look(&mut self) -> Result<()> {
        let Some(words) = self.their_words()? else {
            return Ok(());
        };
        let theirs = Announcement::from_words(&words)
            .map_err(|error| anyhow::anyhow!("the host's announcement: {error}"))?;
        let actions = self.handshake.step(theirs);
        if actions.close {
            self.end();
        }
        if actions.empty {
            for at in [PRODUCER, CONSUMED, KEEPALIVE] {
                self.own.set_word(at, 0)?;
            }
        }
        // Before anything is known of the host there is nothing to announce: where our memory is seen is where its is.
        if let Some(theirs) = theirs {
            let wanted = Announcement {
                version_min: self.dialect.versions.0,
                version_max: self.dialect.versions.1,
                memory_window: theirs.memory_window,
                control: self.own.physical,
                generation: self.handshake.generation(),
                seen: self.handshake.seen(),
                ready: self.handshake.ready(),
                memory_base: 0,
            };
            if self.announced != Some(wanted) {
                self.announce(&wanted.to_words())?;
                self.announced = Some(wanted);
            }
        }
        if let Some(theirs) = theirs.filter(|_| actions.open) {
            let window = self.ntb.window(theirs.memory_window)?;
            let offset = theirs.control_offset(window.len() as u64);
            self.windows = Windows {
                mmio_window: theirs.memory_window,
                msi_window: theirs.memory_window,
                ..Windows::default()
            };
            self.theirs = Some(Theirs {
                window,
                index: theirs.memory_window,
                offset: usize::try_from(offset.context("its control block is out of reach")?)?,
                producer: Producer::new(),
                consumer: Consumer::new(),
            });
        }
        Ok(())
    }

    /// Writes words into the host's scratchpads as an announcement is written, and rings.
    pub fn announce(&mut self, words: &Words) -> Result<()> {
        self.announced = None;
        self.ntb.set_scratchpad(0, BUSY)?;
        for (index, word) in words.iter().enumerate().skip(1) {
            self.ntb.set_scratchpad(index, *word)?;
        }
        self.ntb.set_scratchpad(0, words[0])?;
        self.ntb.ring(HANDSHAKE)
    }

    /// Says goodbye as an unloaded module does.
    pub fn withdraw(&mut self) -> Result<()> {
        self.end();
        self.announced = None;
        self.ntb.set_scratchpad(0, 0)?;
        self.ntb.ring(HANDSHAKE)
    }

    fn theirs(&self) -> Result<&Theirs> {
        self.theirs.as_ref().context("there is no session")
    }

    fn theirs_mut(&mut self) -> Result<&mut Theirs> {
        self.theirs.as_mut().context("there is no session")
    }

    /// The index of the window that shows the host's memory.
    pub fn memory_window(&self) -> Result<u8> {
        Ok(self.theirs()?.index)
    }

    /// Size of that window, bytes.
    pub fn window_size(&self) -> Result<u64> {
        Ok(self.theirs()?.window.len() as u64)
    }

    /// Writes into the host's control block.
    pub fn put(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        ensure!(offset + bytes.len() <= CONTROL_SIZE, "not in the block");
        let theirs = self.theirs()?;
        theirs.window.write(theirs.offset + offset, bytes)
    }

    /// Writes a word into the host's control block.
    pub fn put_word(&self, offset: usize, word: u32) -> Result<()> {
        let theirs = self.theirs()?;
        theirs.window.set_word(theirs.offset + offset, word)
    }

    /// Shows the host that we are there, if it is time to.
    fn keep_alive(&mut self) -> Result<()> {
        let (beat, at) = self.beat;
        if self.is_open() && (at.elapsed() >= BEAT || beat == Beat::default()) {
            let beat = Beat {
                count: beat.count.wrapping_add(1),
                interval: 1000,
            };
            self.put_word(KEEPALIVE, beat.into())?;
            self.beat = (beat, Instant::now());
        }
        Ok(())
    }

    /// Beats, and answers what the host asks for; a little pause if that is nothing.
    pub fn pump(&mut self, answer: &mut Answer<'_>) -> Result<()> {
        self.keep_alive()?;
        let Some(slot) = self.take()? else {
            sleep(POLL);
            return Ok(());
        };
        let (header, body) =
            parse(&slot).map_err(|error| anyhow::anyhow!("its message: {error}"))?;
        if header.tag.is_none() {
            self.heard.insert(format!("{:?}", header.kind));
            return Ok(());
        }
        let mut out = [0; SLOT_SIZE];
        let length = if header.kind == Ok(Kind::Version) {
            self.answered = true;
            self.agree_to(&header, body, &mut out)?
        } else {
            answer(self, &header, body, &mut out)?
        };
        self.reply(&header, &out, length)
    }

    /// Answers what the host says of itself.
    fn agree_to(&self, header: &ParsedHeader, bytes: &[u8], out: &mut Slot) -> Result<usize> {
        let asked: Version =
            body(bytes).map_err(|error| anyhow::anyhow!("the host's version: {error}"))?;
        let (min, max) = self.dialect.versions;
        let theirs = (asked.min.get(), asked.max.get());
        let Some(version) = negotiate((min.into(), max.into()), theirs) else {
            return Ok(encode_error(out, header, Status::Version));
        };
        let told = VersionReply {
            version: version.into(),
            slot_size: (SLOT_SIZE as u32).into(),
            features: self.dialect.features.into(),
            windows: self.windows,
            ..Default::default()
        };
        Ok(encode_reply::<Version>(out, header, &told))
    }

    /// Takes a message of the host's off our ring.
    fn take(&mut self) -> Result<Option<Slot>> {
        if self.theirs.is_none() || self.deaf {
            return Ok(None);
        }
        let producer = self.own.word(PRODUCER)?;
        let mut consumer = self.theirs()?.consumer;
        match consumer.pending(producer) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(overrun) => bail!("the host overran our ring: {overrun}"),
        }
        let mut slot = [0; SLOT_SIZE];
        self.own.read(request_slot(consumer.next), &mut slot)?;
        consumer.advance();
        self.theirs_mut()?.consumer = consumer;
        self.put_word(CONSUMED, consumer.next)?;
        Ok(Some(slot))
    }

    /// Puts a reply into the host's slot for it; a length of 0 is none.
    pub fn reply(&mut self, header: &ParsedHeader, slot: &Slot, length: usize) -> Result<()> {
        let (Some(tag), Some(rest)) = (header.tag, slot.get(4..length)) else {
            return Ok(());
        };
        let [a, b, c, d, ..] = *slot;
        self.put(reply_slot(tag) + 4, rest)?;
        self.put_word(reply_slot(tag), u32::from_le_bytes([a, b, c, d]))
    }

    /// Number of the next message.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Whether the host has filled our ring.
    pub fn is_full(&self) -> Result<bool> {
        let pending = self.theirs()?.consumer.pending(self.own.word(PRODUCER)?);
        Ok(matches!(pending, Ok(pending) if pending as usize == REQUEST_SLOTS as usize))
    }

    /// Whether there is room in the host's ring now. A host that waits for an answer with its only processor makes none.
    pub fn has_room(&self) -> Result<bool> {
        let consumed = self.own.word(CONSUMED)?;
        Ok(matches!(self.theirs()?.producer.space(consumed), Ok(1..)))
    }

    /// Waits for room in the host's ring. The host makes it without waiting for an answer of ours.
    pub fn wait_room(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            // Even if there is room each time.
            self.keep_alive()?;
            let consumed = self.own.word(CONSUMED)?;
            match self.theirs()?.producer.space(consumed) {
                Ok(1..) => return Ok(()),
                Ok(0) => {}
                Err(overrun) => bail!("the host took out what was not there: {overrun}"),
            }
            if start.elapsed() > LIMIT {
                bail!("the host takes nothing off its ring");
            }
            sleep(POLL);
            if start.elapsed() > PATIENCE {
                // It may have ended the session.
                self.look()?;
            }
        }
    }

    /// Puts bytes into the next slot of the host's ring, when there is room, and rings if `ring`.
    pub fn send(&mut self, bytes: &[u8], ring: bool) -> Result<()> {
        self.wait_room()?;
        let mut producer = self.theirs()?.producer;
        self.put(request_slot(producer.next), bytes)?;
        producer.advance();
        self.theirs_mut()?.producer = producer;
        self.put_word(PRODUCER, producer.next)?;
        if ring {
            self.ntb.ring(REQUEST)?;
        }
        Ok(())
    }

    /// The count of requests that we have written.
    pub fn produced(&self) -> Result<u32> {
        Ok(self.theirs()?.producer.next)
    }

    /// Sends an event.
    pub fn notify<E: Event>(&mut self, epoch: u32, event: &E) -> Result<()> {
        let mut slot = [0; SLOT_SIZE];
        let sequence = self.next_sequence();
        let length = encode_event(&mut slot, sequence, epoch, event);
        self.send(&slot[..length], true)
    }

    /// The reply with that number, if it is in its slot.
    pub fn answer_to(&self, tag: Tag, sequence: u32) -> Result<Option<Slot>> {
        let at = reply_slot(tag);
        if self.own.word(at)? != sequence {
            return Ok(None);
        }
        let mut slot = [0; SLOT_SIZE];
        self.own.read(at, &mut slot)?;
        Ok(Some(slot))
    }

    /// Waits for the reply with that number.
    pub fn wait_answer(&mut self, tag: Tag, sequence: u32) -> Result<Slot> {
        let start = Instant::now();
        loop {
            if let Some(slot) = self.answer_to(tag, sequence)? {
                return Ok(slot);
            }
            ensure!(
                start.elapsed() < LIMIT,
                "request {sequence:#x} is not answered"
            );
            if start.elapsed() > PATIENCE && self.their_words()?.is_some() {
                ensure!(self.is_alive()?, "the host has ended the session");
            }
            self.pump(&mut refuse)?;
        }
    }

    /// Sends a request as an honest host does, and waits for the reply.
    pub fn ask<R: Request>(
        &mut self,
        epoch: u32,
        request: &R,
    ) -> Result<std::result::Result<R::Reply, Failure>> {
        let mut slot = [0; SLOT_SIZE];
        let sequence = self.next_sequence();
        let tag = tag(sequence);
        let length = encode_request(&mut slot, sequence, tag, epoch, request);
        self.send(&slot[..length], true)?;
        let slot = self.wait_answer(tag, sequence)?;
        Ok(parse(&slot)
            .map_err(Failure::Malformed)
            .and_then(|(header, body)| reply::<R>(&header, body)))
    }

    /// Sends a request that must be refused.
    pub fn refused<R: Request>(
        &mut self,
        epoch: u32,
        request: &R,
        wanted: Status,
        what: &str,
    ) -> Result<()> {
        match self.ask(epoch, request).with_context(|| what.to_owned())? {
            Ok(_) => bail!("{what}: granted, not refused with '{wanted}'"),
            Err(Failure::Status(status)) if status == wanted => Ok(()),
            Err(Failure::NoSpace(_)) if wanted == Status::NoSpace => Ok(()),
            Err(failure) => bail!("{what}: '{failure}', not '{wanted}'"),
        }
    }
}

/// The reply slot for a request.
pub fn tag(sequence: u32) -> Tag {
    let number = sequence % u32::from(REPLY_SLOTS);
    // CAST: below 16.
    Tag::try_from(number as u16).expect("a tag below the number of slots")
}

/// Answers as a host that lends nothing. It has no key either, and keeps that to itself.
pub fn refuse(_: &mut Session, header: &ParsedHeader, _: &[u8], out: &mut Slot) -> Result<usize> {
    let status = match header.kind {
        Ok(Kind::List) => Status::NotFound,
        Ok(Kind::Attach) => return Ok(0),
        _ => Status::Unsupported,
    };
    Ok(encode_error(out, header, status))
}

/// A reply that is one, or why not.
pub fn parsed(slot: &Slot) -> std::result::Result<ParsedHeader, Malformed> {
    parse(slot).map(|(header, _)| header)
}

/// The first word of what is no announcement, for those who need one.
pub const NOTHING: u32 = !MAGIC;
