// SPDX-License-Identifier: GPL-2.0

//! Who watches a link, and what they are told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::attention::Notice;
use super::Link;
use crate::connection::{PendingDoorbell, PendingRead};
use crate::memory::Reach;
use crate::model::Blocked;
use crate::side::Side;
use crate::trace::{Feed, Kind, Names, Outcome, Place, Record};
use crate::wire::{DmaMap, DmaUnmap};

/// Watches a link until it is dropped.
#[derive(Debug)]
pub struct Watching {
    link: Arc<Link>,
    number: u64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.link.watchers.remove(self.number);
    }
}

#[derive(Debug, Default)]
struct List {
    feeds: Vec<(u64, Feed)>,
    last: u64,
}

/// Those who watch a link.
#[derive(Debug)]
pub(super) struct Watchers {
    notice: Arc<Notice>,
    names: Arc<Names>,
    list: Mutex<List>,
}

impl Watchers {
    pub(super) fn new(notice: Arc<Notice>, names: Names) -> Self {
        Self {
            notice,
            names: names.into(),
            list: Mutex::default(),
        }
    }

    fn add(&self, feed: Feed) -> u64 {
        let mut list = self.lock();
        list.last += 1;
        let number = list.last;
        list.feeds.push((number, feed));
        self.notice.set_watched(true);
        number
    }

    fn remove(&self, number: u64) {
        let mut list = self.lock();
        list.feeds.retain(|(other, _)| *other != number);
        self.notice.set_watched(!list.feeds.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Has records of what crosses go into `feed`, for as long as the answer is kept.
    pub fn watch(self: &Arc<Self>, feed: Feed) -> Watching {
        let number = self.watchers.add(feed);
        let link = self.clone();
        Watching { link, number }
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.watchers.lock().feeds.len()
    }

    /// When something begins, if that is of interest.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.attention().watched().then(Instant::now)
    }

    /// Tells who watches of a transaction. `complete` is only called if somebody does.
    #[inline]
    pub(super) fn tell(
        &self,
        side: impl Into<Option<Side>>,
        kind: Kind,
        outcome: Outcome,
        complete: impl FnOnce(&mut Record),
    ) {
        if self.attention().watched() {
            let names = self.watchers.names.clone();
            let mut record = Record::new(names, side.into(), kind, outcome);
            complete(&mut record);
            self.hand_out(record);
        }
    }

    #[cold]
    fn hand_out(&self, record: Record) {
        let list = self.watchers.lock();
        for (_, feed) in &list.feeds {
            feed.push(record.clone());
        }
    }

    /// Signals interrupt vectors of a host.
    pub(crate) fn signal(&self, side: Side, vectors: u64) {
        let end = self.end(side);
        if !self.attention().watched() {
            end.counters.msix_fired.add(end.interrupts.fire(vectors));
            return;
        }
        // One by one, to see what becomes of each.
        for vector in (0..u64::BITS).filter(|vector| vectors & (1 << vector) != 0) {
            let fired = end.interrupts.fire(1 << vector);
            end.counters.msix_fired.add(fired);
            let outcome = if fired > 0 {
                Outcome::Done
            } else {
                Outcome::Pending
            };
            self.tell(side, Kind::Msix, outcome, |record| {
                record.place = Place::Vector(vector);
            });
        }
    }

    /// Something has happened to the link or to one end of it.
    pub(super) fn tell_event(&self, side: impl Into<Option<Side>>, event: &'static str) {
        self.tell(side, Kind::Event, Outcome::Done, |record| {
            record.place = Place::Event(event);
        });
    }

    /// A read is answered.
    pub(super) fn tell_read(&self, read: &PendingRead, data: Option<&[u8]>) {
        self.tell(read.reader.side, Kind::Read, read.outcome, |record| {
            record.place = Place::Window {
                number: read.window,
                offset: read.access.offset.get(),
            };
            record.address = read.address;
            record.length = read.access.count.get().into();
            record.set_data(data.unwrap_or_default());
            record.why = read.why;
            record.took = read.since.map(|since| since.elapsed());
        });
    }

    /// A write through a window has been carried out, or never will be.
    #[cold]
    pub(super) fn tell_write(
        &self,
        side: Side,
        window: usize,
        offset: u64,
        data: &[u8],
        since: Option<Instant>,
        written: Written,
    ) {
        self.tell(side, Kind::Write, written.outcome, |record| {
            record.place = Place::Window {
                number: window,
                offset,
            };
            record.address = written.address;
            record.set_data(data);
            record.why = written.why;
            record.took = since.map(|since| since.elapsed());
        });
    }

    /// A doorbell is rung, or will never be.
    pub(super) fn tell_doorbell(&self, doorbell: &PendingDoorbell, outcome: Outcome) {
        self.tell(doorbell.side, Kind::Doorbell, outcome, |record| {
            record.place = self.register(doorbell.offset);
            record.set_data(&doorbell.data);
            record.took = doorbell.since.map(|since| since.elapsed());
        });
    }

    /// A host has named a part of its address space.
    pub(crate) fn tell_map(&self, side: Side, map: &DmaMap, reach: Reach) {
        let outcome = match reach {
            Reach::Mapped => Outcome::Ram,
            Reach::Shrinkable | Reach::Host => Outcome::Device,
        };
        self.tell(side, Kind::DmaMap, outcome, |record| {
            record.address = Some(map.address.get());
            record.length = map.size.get();
        });
    }

    /// A host has taken a part of its address space back.
    pub(crate) fn tell_unmap(&self, side: Side, unmap: &DmaUnmap) {
        self.tell(side, Kind::DmaUnmap, Outcome::Done, |record| {
            record.address = Some(unmap.address.get());
            record.length = unmap.size.get();
        });
    }

    /// A register, with its name.
    pub(super) fn register(&self, offset: u64) -> Place {
        let name = self.model().register_name(offset);
        Place::Register { offset, name }
    }
}

/// What is told of a write through a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) outcome: Outcome,
    pub(super) address: Option<u64>,
    pub(super) why: Option<Blocked>,
}

impl Written {
    pub(super) fn new(outcome: Outcome, address: Option<u64>) -> Self {
        Self {
            outcome,
            address,
            why: None,
        }
    }

    pub(super) fn blocked(why: Blocked) -> Self {
        Self {
            why: Some(why),
            ..Self::new(Outcome::Blocked, None)
        }
    }
}
