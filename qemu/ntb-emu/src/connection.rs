// SPDX-License-Identifier: GPL-2.0

//! What we ask of a host's QEMU over its connection, and who waits for the answer.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use zerocopy::IntoBytes;

use crate::model::Blocked;
use crate::outbox::{Outbox, SendError};
use crate::side::Side;
use crate::trace::Outcome;
use crate::waits::Wait;
use crate::wire::{Command, DmaRange, Header, RegionAccess, Reply, NO_REPLY};

/// Most questions open at once; a host has no more processors than that.
const MAX_QUESTIONS: usize = 1024;
/// Identifiers of questions have this bit, those of commands without an answer do not: QEMU reports a failed write even
/// if it was told not to reply, and that must not be taken for the answer to a question.
const QUESTION: u16 = 0x8000;

/// A connection to a host's QEMU.
#[derive(Debug)]
pub struct Connection {
    /// Which host.
    pub side: Side,
    outbox: Outbox,
    asked: Mutex<Asked>,
    /// Writes handed to this host, and how many of them it has certainly carried out.
    posted: AtomicU64,
    settled: AtomicU64,
}

#[derive(Debug, Default)]
struct Asked {
    last: u16,
    open: HashMap<u16, Question>,
}

/// Something asked of a host.
#[derive(Debug)]
pub struct Question {
    /// Guest bus address.
    pub address: u64,
    /// Bytes.
    pub count: usize,
    /// Who wants to know.
    pub waiter: Waiter,
    give_up: Instant,
    posted: u64,
}

/// Who waits for an answer.
#[derive(Debug)]
pub enum Waiter {
    /// A host's read through one of its windows.
    Read(PendingRead),
    /// A host's doorbell, to be rung behind the writes before it.
    Doorbell(PendingDoorbell),
}

/// A read that a host waits for.
#[derive(Debug)]
pub struct PendingRead {
    /// The host's connection.
    pub reader: Arc<Connection>,
    /// Its command.
    pub header: Header,
    /// What it reads.
    pub access: RegionAccess,
    /// Through which window.
    pub window: usize,
    /// As long as it waits for the peer.
    pub wait: Option<Wait>,
    /// When it is to be given up; if nothing is said, a while after the peer has been asked.
    pub give_up: Option<Instant>,
    /// Since when, if somebody wants to know.
    pub since: Option<Instant>,
    /// Where in the peer, once that is known.
    pub address: Option<u64>,
    /// What has become of it, once that is known.
    pub outcome: Outcome,
    /// Why it went nowhere, if it did.
    pub why: Option<Blocked>,
}

/// A register write that rings doorbells.
#[derive(Debug)]
pub struct PendingDoorbell {
    /// Who rings.
    pub side: Side,
    /// Offset in BAR 0.
    pub offset: u64,
    /// What is written.
    pub data: Vec<u8>,
    /// Since when, if somebody wants to know.
    pub since: Option<Instant>,
}

impl Connection {
    /// A connection on a socket in blocking mode.
    pub fn new(side: Side, socket: Arc<UnixStream>) -> Self {
        let outbox = Outbox::new(socket);
        Self {
            side,
            outbox,
            asked: Mutex::default(),
            posted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// Where its messages leave.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Has the host write to its address space. It does not answer; it keeps the order of these writes and of reads.
    ///
    /// # Errors
    ///
    /// The write is lost.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), SendError> {
        let posted = self.posted.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // CAST: the identifier says nothing, it is only there to be seen in a trace.
        let id = posted as u16 & !QUESTION;
        let range = range(address, data.len());
        let header = Header::command(
            id,
            Command::DmaWrite,
            size_of::<DmaRange>() + data.len(),
            NO_REPLY,
        );
        self.outbox
            .send(&[header.as_bytes(), range.as_bytes(), data], None)
    }

    /// Whether all writes handed over so far have been carried out.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) == self.posted.load(Ordering::Acquire)
    }

    /// Has the host read its address space; an answered read of 0 bytes says that everything before it is done. It is
    /// [`overdue`](Self::overdue) at `give_up`.
    ///
    /// # Errors
    ///
    /// There will be no answer; the one who waits is handed back.
    pub fn ask(
        &self,
        address: u64,
        count: usize,
        waiter: Waiter,
        give_up: Instant,
    ) -> Result<(), Box<Waiter>> {
        let mut asked = self.lock();
        if asked.open.len() >= MAX_QUESTIONS {
            return Err(Box::new(waiter));
        }
        let id = loop {
            asked.last = asked.last.wrapping_add(1);
            let id = asked.last | QUESTION;
            if !asked.open.contains_key(&id) {
                break id;
            }
        };
        let posted = self.posted.load(Ordering::Acquire);
        asked.open.insert(
            id,
            Question {
                address,
                count,
                waiter,
                give_up,
                posted,
            },
        );
        drop(asked);
        let header = Header::command(id, Command::DmaRead, size_of::<DmaRange>(), 0);
        match self
            .outbox
            .send(&[header.as_bytes(), range(address, count).as_bytes()], None)
        {
            Ok(()) => Ok(()),
            // It may have been given up for lost by another thread meanwhile, which has seen to the waiter then.
            Err(_) => match self.lock().open.remove(&id) {
                Some(question) => Err(Box::new(question.waiter)),
                None => Ok(()),
            },
        }
    }

    /// Takes the question that a reply answers; `None` if it is not waited for (any more).
    pub fn answered(&self, reply: &Reply<'_>) -> Option<Question> {
        let question = self.lock().open.remove(&reply.header.id.get())?;
        self.settled.fetch_max(question.posted, Ordering::Release);
        Some(question)
    }

    /// Takes the questions that have been open for too long.
    pub fn overdue(&self) -> Vec<Question> {
        let now = Instant::now();
        let mut asked = self.lock();
        let late: Vec<u16> = asked
            .open
            .iter()
            .filter(|(_, question)| question.give_up < now)
            .map(|(id, _)| *id)
            .collect();
        late.iter().filter_map(|id| asked.open.remove(id)).collect()
    }

    /// Ends the connection and takes all questions that will not be answered.
    pub fn close(&self) -> Vec<Question> {
        self.outbox.close();
        self.lock()
            .open
            .drain()
            .map(|(_, question)| question)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range(address: u64, count: usize) -> DmaRange {
    // CAST: usize has at most 64 bits.
    DmaRange {
        address: address.into(),
        count: (count as u64).into(),
    }
}
