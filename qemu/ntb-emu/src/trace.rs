// SPDX-License-Identifier: GPL-2.0

//! What crosses a link, one record a transaction, for whoever watches.
//!
//! Who makes a record never waits: each watcher has a queue of its own, and what finds no room there is counted and
//! left out.

mod follow;
mod line;

pub use follow::{follow, Lines, Options, Request};
pub use line::Line;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::model::Blocked;
use crate::side::{PerSide, Side};

/// Most records that wait for a watcher.
pub const QUEUE: usize = 16 << 10;
/// Most bytes of data kept in a record.
pub const DATA: usize = 8;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the process began to serve.
pub fn uptime() -> Duration {
    START.elapsed()
}

/// What kind of transaction it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A read through a window.
    Read,
    /// A write through a window.
    Write,
    /// A read of a register.
    RegisterRead,
    /// A write of a register.
    RegisterWrite,
    /// A write of a register that interrupts the peer.
    Doorbell,
    /// A read of configuration space.
    ConfigRead,
    /// A write of configuration space.
    ConfigWrite,
    /// An interrupt vector of the host.
    Msix,
    /// The host names a part of its address space.
    DmaMap,
    /// The host takes a part of its address space back.
    DmaUnmap,
    /// Something happens to the link, or is made to happen.
    Event,
    /// Records that found no room, in the stream only.
    Dropped,
    /// The stream begins, in the stream only.
    Start,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was carried out here.
    Done,
    /// It was carried out in the peer's RAM, or is RAM.
    Ram,
    /// The peer's QEMU has answered the read, has been handed the write, or is to be asked.
    Device,
    /// It went nowhere.
    Blocked,
    /// No answer came in time.
    Timeout,
    /// The peer's QEMU refused the read, or has gone.
    Failed,
    /// It was not tried, for the peer waited for this host.
    Deadlock,
    /// The peer's QEMU could not be handed the write.
    Dropped,
    /// A fault made it disappear, or a pulled cable.
    Lost,
    /// A fault made the window read as ones or swallow the write.
    AllOnes,
    /// The vector has no descriptor yet.
    Pending,
}

/// Names of a link and its ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// The link's.
    pub link: String,
    /// The hosts'.
    pub hosts: PerSide<String>,
}

/// Where a transaction went, as its host sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere in particular.
    #[default]
    None,
    /// Into a window.
    Window {
        /// Its number.
        number: usize,
        /// Offset in it.
        offset: u64,
    },
    /// To registers.
    Register {
        /// Offset in BAR 0.
        offset: u64,
        /// What the model calls it.
        name: Option<&'static str>,
    },
    /// To configuration space.
    Config {
        /// Offset in it.
        offset: u64,
    },
    /// To an interrupt vector.
    Vector(u32),
    /// It is an event with this name.
    Event(&'static str),
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Record {
    /// Since the process began to serve.
    pub time: Duration,
    /// Names of the link and its ends.
    pub names: Arc<Names>,
    /// Whose transaction it was; both sides' if it is none's.
    pub side: Option<Side>,
    /// What kind.
    pub kind: Kind,
    /// Where it went.
    pub place: Place,
    /// Where that is in the peer's address space, or in the host's own for `DmaMap` and `DmaUnmap`.
    pub address: Option<u64>,
    /// Bytes.
    pub length: u64,
    /// The first bytes of the data, and how many there are.
    pub data: ([u8; DATA], usize),
    /// What became of it.
    pub outcome: Outcome,
    /// Why it went nowhere.
    pub why: Option<Blocked>,
    /// How long it took, if not at once.
    pub took: Option<Duration>,
    /// How many records have found no room in the watcher's queue before this one.
    missing: u64,
}

impl Record {
    /// A record of now.
    pub fn new(names: Arc<Names>, side: Option<Side>, kind: Kind, outcome: Outcome) -> Self {
        Self {
            time: uptime(),
            names,
            side,
            kind,
            place: Place::None,
            address: None,
            length: 0,
            data: ([0; DATA], 0),
            outcome,
            why: None,
            took: None,
            missing: 0,
        }
    }

    /// Adds the data, and its length if there is none yet.
    pub fn set_data(&mut self, data: &[u8]) {
        let kept = data.len().min(DATA);
        let (bytes, count) = &mut self.data;
        if let (Some(to), Some(from)) = (bytes.get_mut(..kept), data.get(..kept)) {
            to.copy_from_slice(from);
            *count = kept;
        }
        // CAST: usize has at most 64 bits.
        self.length = self.length.max(data.len() as u64);
    }
}

/// Where records go.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
}

impl Feed {
    /// Adds a record. If there is no room for it, it is counted.
    pub fn push(&self, mut record: Record) {
        record.missing = self.dropped.load(Ordering::Relaxed);
        if let Err(TrySendError::Full(_)) = self.sender.try_send(record) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where records come from.
#[derive(Debug)]
pub struct Stream {
    receiver: Receiver<Record>,
    dropped: Arc<AtomicU64>,
    told: u64,
    /// What comes behind those that are missing.
    behind: Option<Box<Record>>,
}

/// What comes out of a [`Stream`].
#[derive(Debug)]
pub enum Seen {
    /// A transaction.
    Record(Box<Record>),
    /// So many have found no room since this was said last.
    Dropped(u64),
    /// Nothing for a while.
    Nothing,
    /// There will be nothing any more.
    End,
}

impl Stream {
    /// Waits for the next one, for at most `time`.
    pub fn next(&mut self, time: Duration) -> Seen {
        if let Some(record) = self.behind.take() {
            return Seen::Record(record);
        }
        match self.receiver.recv_timeout(time) {
            Ok(record) => {
                let record = Box::new(record);
                match self.missing(record.missing) {
                    Some(missing) => {
                        self.behind = Some(record);
                        missing
                    }
                    None => Seen::Record(record),
                }
            }
            Err(error) => {
                let dropped = self.dropped.load(Ordering::Relaxed);
                let nothing = match error {
                    RecvTimeoutError::Timeout => Seen::Nothing,
                    RecvTimeoutError::Disconnected => Seen::End,
                };
                self.missing(dropped).unwrap_or(nothing)
            }
        }
    }

    /// Says that records are missing, if there are more now than have been told of.
    fn missing(&mut self, now: u64) -> Option<Seen> {
        let new = now.checked_sub(self.told).filter(|new| *new > 0)?;
        self.told = now;
        Some(Seen::Dropped(new))
    }
}

/// A queue of at most this many records.
pub fn channel(depth: usize) -> (Feed, Stream) {
    let (sender, receiver) = sync_channel(depth);
    let dropped = Arc::new(AtomicU64::new(0));
    let feed = Feed {
        sender,
        dropped: dropped.clone(),
    };
    let stream = Stream {
        receiver,
        dropped,
        told: 0,
        behind: None,
    };
    (feed, stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: u64) -> Record {
        let names = Names {
            link: "ab".into(),
            hosts: PerSide(["a".into(), "b".into()]),
        };
        let mut record = Record::new(names.into(), None, Kind::Write, Outcome::Done);
        record.length = length;
        record
    }

    fn next(stream: &mut Stream) -> Option<u64> {
        match stream.next(Duration::ZERO) {
            Seen::Record(record) => Some(record.length),
            Seen::Dropped(count) => Some(count + 1000),
            Seen::Nothing | Seen::End => None,
        }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (feed, mut stream) = channel(2);
        for i in 0..5 {
            feed.push(record(i));
        }
        // They are missed where they are missing.
        assert_eq!(next(&mut stream), Some(0));
        feed.push(record(5));
        feed.push(record(6));
        let seen: Vec<u64> = std::iter::from_fn(|| next(&mut stream)).collect();
        assert_eq!(seen, [1, 1003, 5, 1001]);
        feed.push(record(7));
        assert_eq!(next(&mut stream), Some(7));
        drop(feed);
        assert!(matches!(stream.next(Duration::from_secs(9)), Seen::End));
    }

    #[test]
    fn who_does_not_listen_is_no_obstacle() {
        let (feed, stream) = channel(1);
        drop(stream);
        for i in 0..5 {
            feed.push(record(i));
        }
    }

    #[test]
    fn the_first_bytes_are_kept() {
        let mut record = record(0);
        record.set_data(&[1, 2]);
        assert_eq!(
            (record.data, record.length),
            (([1, 2, 0, 0, 0, 0, 0, 0], 2), 2)
        );
        record.set_data(&[3; 100]);
        assert_eq!((record.data, record.length), (([3; 8], 8), 100));
    }
}
