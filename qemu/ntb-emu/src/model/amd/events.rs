// SPDX-License-Identifier: GPL-2.0

//! Link events, and the order in which a driver is told of them.

use super::DOORBELLS;

/// A bit of INTSTAT and INTMASK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is there.
    LinkUp,
    /// The peer has gone.
    LinkDown,
}

impl Event {
    /// All events that the registers know, raised here or not.
    pub const ALL: u32 = 0x7f;

    /// Its bit in INTSTAT and INTMASK.
    pub fn bit(self) -> u32 {
        match self {
            Self::LinkUp => 1 << 5,
            Self::LinkDown => 1 << 6,
        }
    }
}

/// The interrupt lines of the events in INTSTAT or INTMASK `bits`, as a set of vectors.
pub(super) fn vectors(bits: u32) -> u32 {
    (bits & Event::ALL) << DOORBELLS
}

/// Events that wait until the driver has cleared the one it is shown.
#[derive(Debug, Default)]
pub(super) struct Queue(Vec<Event>);

impl Queue {
    /// Adds an event behind `shown`, the bit that INTSTAT has now. What the driver need not see any more is left out:
    /// of ups and downs still unseen, at most one down and then one up remain.
    pub(super) fn push(&mut self, event: Event, shown: u32) {
        match event {
            Event::LinkDown => {
                self.0.clear();
                if shown != event.bit() {
                    self.0.push(event);
                }
            }
            Event::LinkUp => {
                let last = self.0.last().map_or(shown, |last| last.bit());
                if last != event.bit() {
                    self.0.push(event);
                }
            }
        }
    }

    /// Takes the event to show next.
    pub(super) fn pop(&mut self) -> Option<Event> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn event_vectors_come_after_the_doorbells() {
        assert_eq!(vectors(Event::LinkUp.bit()), 1 << 21);
        assert_eq!(vectors(Event::LinkDown.bit()), 1 << 22);
        assert_eq!(vectors(u32::MAX) >> super::super::VECTORS, 0);
    }

    proptest! {
        /// However often the link changes, the driver's last event is the last change, and the queue stays short.
        #[test]
        fn the_last_event_is_the_last_change(ups in proptest::collection::vec(any::<bool>(), 1..50), shown in 0..3) {
            let shown = [0, Event::LinkUp.bit(), Event::LinkDown.bit()][usize::try_from(shown).unwrap()];
            let mut queue = Queue::default();
            let mut last = shown;
            for up in ups {
                let event = if up { Event::LinkUp } else { Event::LinkDown };
                queue.push(event, shown);
                prop_assert!(queue.0.len() <= 2);
                last = event.bit();
            }
            let mut seen = shown;
            while let Some(event) = queue.pop() {
                prop_assert_ne!(event.bit(), seen, "the same event twice in a row raises no new interrupt");
                seen = event.bit();
            }
            prop_assert_eq!(seen, last);
        }
    }
}
