// SPDX-License-Identifier: GPL-2.0

//! A delay line: what enters leaves in the same order, no earlier than a time after it entered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most bytes that wait in a line, the line's own included.
pub(super) const MAX_BYTES: usize = 128 << 20;

/// How much a thing weighs, beyond its own size.
pub(super) trait Weight {
    /// In bytes.
    fn weight(&self) -> usize;
}

#[derive(Debug)]
struct Entry<T> {
    entered: Instant,
    item: T,
}

/// A delay line.
#[derive(Debug)]
pub(super) struct Line<T> {
    queue: VecDeque<Entry<T>>,
    bytes: usize,
    delay: Duration,
    /// The one that has left last has not arrived yet.
    delivering: bool,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            delay: Duration::ZERO,
            delivering: false,
        }
    }
}

impl<T: Weight> Line<T> {
    /// How long things take.
    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    /// Changes how long things take, those that are in it included.
    pub(super) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether something is still under way.
    pub(super) fn is_busy(&self) -> bool {
        self.delivering || !self.queue.is_empty()
    }

    /// Whether something would not get through at once.
    pub(super) fn detains(&self, held: bool) -> bool {
        held || !self.delay.is_zero() || self.is_busy()
    }

    /// Puts something in. If there is no room, it comes back.
    pub(super) fn push(&mut self, entered: Instant, item: T) -> Result<(), T> {
        let bytes = self.bytes.saturating_add(Self::bytes_of(&item));
        if bytes > MAX_BYTES {
            return Err(item);
        }
        self.bytes = bytes;
        self.queue.push_back(Entry { entered, item });
        Ok(())
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let first = self.queue.front()?;
        Some(first.entered + self.delay)
    }

    /// Takes out the next one if it is due. [`Self::arrived`] must be called when it has arrived.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        let entry = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(Self::bytes_of(&entry.item));
        self.delivering = true;
        Some(entry.item)
    }

    /// What was taken out has arrived.
    pub(super) fn arrived(&mut self) {
        self.delivering = false;
    }

    /// What waits, first the one that leaves next.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.queue.iter().map(|entry| &entry.item)
    }

    /// Takes out all that `chosen` chooses, wherever it is in the line.
    pub(super) fn remove(&mut self, chosen: impl Fn(&T) -> bool) -> Vec<T> {
        let (removed, kept) = self
            .queue
            .drain(..)
            .partition::<VecDeque<_>, _>(|entry| chosen(&entry.item));
        self.queue = kept;
        self.bytes = self
            .queue
            .iter()
            .map(|entry| Self::bytes_of(&entry.item))
            .sum();
        removed.into_iter().map(|entry| entry.item).collect()
    }

    fn bytes_of(item: &T) -> usize {
        size_of::<Entry<T>>() + item.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weight for &[u8] {
        fn weight(&self) -> usize {
            self.len()
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_enters_leaves_in_order_when_it_is_due() {
        let start = Instant::now();
        let mut line = Line::<&[u8]>::default();
        assert!(!line.detains(false));
        assert!(line.detains(true));
        line.set_delay(10 * MS);
        assert!(line.detains(false));
        line.push(start, b"a").unwrap();
        line.push(start + MS, b"b").unwrap();
        assert_eq!(line.next_due(), Some(start + 10 * MS));
        assert_eq!(line.take_due(start + 9 * MS), None);
        assert_eq!(line.take_due(start + 10 * MS), Some(&b"a"[..]));
        line.arrived();
        assert_eq!(line.take_due(start + 10 * MS), None);
        // Who comes later than a change of the delay is not earlier than who came before it.
        line.push(start + 2 * MS, b"c").unwrap();
        line.set_delay(Duration::ZERO);
        assert!(line.detains(false));
        assert_eq!(line.take_due(start + 10 * MS), Some(&b"b"[..]));
        assert_eq!(line.take_due(start + 10 * MS), Some(&b"c"[..]));
        assert!(line.detains(false), "it has not arrived yet");
        line.arrived();
        assert!(!line.detains(false));
    }

    #[test]
    fn it_holds_so_much_and_no_more() {
        let large = vec![0; MAX_BYTES / 2];
        let mut line = Line::<&[u8]>::default();
        let now = Instant::now();
        line.push(now, &large).unwrap();
        assert!(line.push(now, &large).is_err());
        line.push(now, b"small").unwrap();
        assert_eq!(line.remove(|item| item.len() > 5).len(), 1);
        line.push(now, &large).unwrap();
        assert_eq!(line.take_due(now), Some(&b"small"[..]));
        assert_eq!(line.waiting(), 1);
    }
}
