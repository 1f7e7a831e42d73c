// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

#[test]
fn the_layout_is_pinned() {
    assert_eq!(
        (PRODUCER, CONSUMED, REQUESTS, REPLIES, CONTROL_SIZE),
        (0, 64, 4096, 20480, 28672)
    );
    assert_eq!((SLOT_SIZE, REQUEST_SLOTS, REPLY_SLOTS), (512, 32, 16));
}

#[test]
fn slots_do_not_overlap_and_fill_the_block() {
    let mut starts: Vec<usize> = (0..REQUEST_SLOTS).map(request_slot).collect();
    starts.extend((0..REPLY_SLOTS).map(|tag| reply_slot(Tag::try_from(tag).unwrap())));
    let expected: Vec<usize> = (REQUESTS..CONTROL_SIZE).step_by(SLOT_SIZE).collect();
    assert_eq!(starts, expected);
}

#[test]
fn slots_go_round() {
    assert_eq!(request_slot(REQUEST_SLOTS), request_slot(0));
    assert_eq!(request_slot(u32::MAX), request_slot(REQUEST_SLOTS - 1));
    // The index wraps where the ring does.
    assert_eq!(
        request_slot(u32::MAX.wrapping_add(1)),
        request_slot(u32::MAX - (REQUEST_SLOTS - 1))
    );
}

#[test]
fn pending_at_its_bounds() {
    for next in [0, 1, 31, 32, u32::MAX - 31, u32::MAX] {
        let consumer = Consumer { next };
        assert_eq!(consumer.pending(next), Ok(0));
        assert_eq!(consumer.pending(next.wrapping_add(1)), Ok(1));
        assert_eq!(
            consumer.pending(next.wrapping_add(REQUEST_SLOTS)),
            Ok(REQUEST_SLOTS)
        );
        for theirs in [next.wrapping_add(REQUEST_SLOTS + 1), next.wrapping_sub(1)] {
            assert_eq!(
                consumer.pending(theirs),
                Err(Overrun { ours: next, theirs })
            );
        }
    }
}

#[test]
fn space_at_its_bounds() {
    for next in [0, 1, 31, 32, u32::MAX - 31, u32::MAX] {
        let producer = Producer { next };
        assert_eq!(producer.space(next), Ok(REQUEST_SLOTS));
        assert_eq!(producer.space(next.wrapping_sub(1)), Ok(REQUEST_SLOTS - 1));
        assert_eq!(producer.space(next.wrapping_sub(REQUEST_SLOTS)), Ok(0));
        for theirs in [next.wrapping_sub(REQUEST_SLOTS + 1), next.wrapping_add(1)] {
            assert_eq!(producer.space(theirs), Err(Overrun { ours: next, theirs }));
        }
    }
}

#[test]
fn tags_run_out_and_come_back() {
    let mut tags = Tags::new();
    let all: Vec<Tag> = std::iter::from_fn(|| tags.alloc()).collect();
    assert_eq!(all.len(), usize::from(REPLY_SLOTS));
    for (index, tag) in all.iter().enumerate() {
        assert_eq!(tag.index(), index);
        assert!(tags.is_used(*tag));
    }
    assert_eq!((tags.used(), tags.alloc()), (16, None));

    assert!(tags.free(all[15]));
    assert!(tags.free(all[7]));
    assert!(!tags.free(all[7]), "it was free already");
    assert!(!tags.is_used(all[7]));
    assert_eq!(tags.used(), 14);
    assert_eq!(tags.alloc(), Some(all[7]));
    assert_eq!(tags.alloc(), Some(all[15]));
    assert_eq!(tags.alloc(), None);
}

#[test]
fn only_reply_slots_have_tags() {
    for value in 0..REPLY_SLOTS {
        assert_eq!(Tag::try_from(value).map(u16::from), Ok(value));
    }
    for value in REPLY_SLOTS..=u16::MAX {
        assert_eq!(Tag::try_from(value), Err(value));
    }
}

proptest! {
    /// Whatever the peer writes, what comes out is bounded by the ring.
    #[test]
    fn hostile_indices_are_bounded(ours: u32, theirs: u32) {
        match (Consumer { next: ours }).pending(theirs) {
            Ok(pending) => prop_assert!(pending <= REQUEST_SLOTS),
            Err(overrun) => prop_assert_eq!(overrun, Overrun { ours, theirs }),
        }
        match (Producer { next: ours }).space(theirs) {
            Ok(space) => prop_assert!(space <= REQUEST_SLOTS),
            Err(overrun) => prop_assert_eq!(overrun, Overrun { ours, theirs }),
        }
        prop_assert!((REQUESTS..REPLIES).contains(&request_slot(theirs)));
    }

    /// Two honest ends agree, whatever the order of their steps and wherever the indices start.
    #[test]
    fn two_ends_agree(start: u32, steps in prop::collection::vec(any::<bool>(), 0..400)) {
        let mut producer = Producer { next: start };
        let mut consumer = Consumer { next: start };
        let mut queue = 0;
        for produce in steps {
            let space = producer.space(consumer.next).unwrap();
            let pending = consumer.pending(producer.next).unwrap();
            prop_assert_eq!((space, pending), (REQUEST_SLOTS - queue, queue));
            if produce && space > 0 {
                producer.advance();
                queue += 1;
            } else if !produce && pending > 0 {
                consumer.advance();
                queue -= 1;
            }
        }
    }
}
