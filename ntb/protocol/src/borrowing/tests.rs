// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

#[test]
fn borrowed_and_returned() {
    let mut device = Borrowing::default();
    assert_eq!(device.state(), State::Available);
    assert!(device.begin(7) && !device.begin(8));
    assert_eq!(
        (device.state(), device.epoch()),
        (State::Borrowing, Some(7))
    );
    assert!(!device.end(false), "nobody wants it to end");
    assert!(device.attach() && !device.attach());
    assert!(!device.attached(6) && device.attached(7));
    device.listed(false);
    assert_eq!(device.state(), State::Borrowed);
    assert!(
        device.give_back(Which::Present, "wanted") && !device.give_back(Which::Present, "again")
    );
    assert!(device.end(false) && !device.end(false) && !device.end(true));
    assert_eq!((device.state(), device.epoch()), (State::Borrowed, Some(7)));
    assert_eq!(device.ended(), "wanted");
    assert_eq!(device, Borrowing::default());
    device.listed(false);
    assert_eq!(device.state(), State::Taken);
}

#[test]
fn lost_while_it_is_added() {
    let mut device = Borrowing::default();
    assert!(device.begin(7) && device.attach());
    assert!(device.lose(Which::Epoch(7), "link lost"));
    assert!(!device.attached(7));
    assert!(device.end(false));
    assert_eq!(device.ended(), "link lost");
    assert_eq!((device.state(), device.epoch()), (State::Lost, None));
    assert!(!device.lose(Which::Present, "again"));
    device.listed(true);
    assert_eq!(device.state(), State::Available);
}

#[test]
fn returned_before_it_is_added() {
    let mut device = Borrowing::default();
    assert!(device.begin(7) && device.give_back(Which::Present, "asked for"));
    assert!(!device.attach());
    assert!(device.end(false));
    assert_eq!(device.ended(), "asked for");
}

/// The answer to the open is on its way to who begins the lease, and the lender speaks of it already.
#[test]
fn asked_for_or_lost_before_it_begins() {
    for (is_lost, state, why) in [
        (false, State::Borrowing, "asked for"),
        (true, State::Lost, "revoked"),
    ] {
        let mut device = Borrowing::default();
        assert!(!device.give_back(Which::Epoch(7), "asked for"));
        if is_lost {
            assert!(!device.lose(Which::Epoch(7), "revoked"));
        }
        // It asks once more; what it says of an older one comes late.
        assert!(!device.give_back(Which::Epoch(7), "again"));
        assert!(!device.lose(Which::Epoch(6), "old"));
        assert!(!device.is_due() && !device.end(true));
        assert!(device.begin(7) && device.is_due());
        assert_eq!(device.state(), state);
        assert!(!device.attach());
        assert!(device.end(false) && !device.is_due());
        assert_eq!(device.ended(), why);
        // It was about that lease only.
        assert!(device.begin(8) && !device.is_due() && device.attach());
    }
    let mut device = Borrowing::default();
    assert!(!device.lose(Which::Epoch(7), "revoked"));
    assert!(device.begin(8) && !device.is_due() && device.attach());
}

#[test]
fn the_first_reason_counts() {
    let mut device = Borrowing::default();
    assert!(device.begin(7));
    device.give_back(Which::Present, "first");
    device.lose(Which::Present, "second");
    assert_eq!(device.why(), "first");
    assert!(device.end(false));
    device.lose(Which::Present, "third");
    assert_eq!(device.ended(), "first");
}

#[test]
fn it_may_end_without_a_reason() {
    let mut device = Borrowing::default();
    assert!(device.begin(7) && device.end(true));
    assert_eq!(device.ended(), "returned");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Listed(bool),
    Begin,
    Attach,
    Attached(u32),
    GiveBack(Which),
    Lose(Which),
    End(bool),
    Ended,
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        Just(Which::Present),
        // How many leases before the next one.
        (0..4_u32).prop_map(Which::Epoch),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Listed),
        Just(Step::Begin),
        Just(Step::Attach),
        (0..3_u32).prop_map(Step::Attached),
        which().prop_map(Step::GiveBack),
        which().prop_map(Step::Lose),
        any::<bool>().prop_map(Step::End),
        Just(Step::Ended),
    ]
}

proptest! {
    /// Whoever comes when: each lease is added at most once and ended by just one, what is about an earlier one changes nothing,
    /// and no wish for the end is forgotten.
    #[test]
    fn any_order_of_events(steps in prop::collection::vec(step(), 0..80)) {
        let mut device = Borrowing::default();
        let mut last = 0;
        let (mut held, mut added, mut wanted, mut ending) = (false, false, false, false);
        let mut early = false;
        for step in steps {
            let before = device;
            match step {
                Step::Listed(is_available) => {
                    device.listed(is_available);
                    prop_assert!(!held || device == before);
                }
                Step::Begin => {
                    prop_assert_eq!(device.begin(last + 1), !held);
                    if !held {
                        last += 1;
                        (held, added, wanted, ending) = (true, false, early, false);
                        prop_assert_eq!(device.is_due(), early);
                        early = false;
                    }
                }
                Step::Attach => {
                    if device.attach() {
                        prop_assert!(held && !added && !ending);
                        added = true;
                    }
                }
                // By who adds it, even if its lease is over.
                Step::Attached(ago) if last > ago && (ago > 0 || added) => {
                    let is_there = device.attached(last - ago);
                    prop_assert_eq!(is_there, ago == 0 && before.state() == State::Borrowing);
                    prop_assert!(is_there || device == before);
                }
                Step::GiveBack(which) | Step::Lose(which) => {
                    let which = match which {
                        Which::Epoch(ago) => Which::Epoch((last + 1).saturating_sub(ago)),
                        Which::Present => Which::Present,
                    };
                    let is_meant = held && (which == Which::Present || which == Which::Epoch(last));
                    let done = match step {
                        Step::GiveBack(_) => device.give_back(which, "returned"),
                        _ => device.lose(which, "lost"),
                    };
                    prop_assert!(is_meant || !done);
                    // It is remembered only while nothing is held.
                    prop_assert!(is_meant || !held || device == before);
                    wanted |= is_meant;
                    early |= !held && which == Which::Epoch(last + 1);
                }
                Step::End(always) => {
                    let is_ours = device.end(always);
                    prop_assert_eq!(is_ours, held && !ending && (always || wanted));
                    ending |= is_ours;
                }
                // By who ends it.
                Step::Ended if ending => {
                    device.ended();
                    (held, ending) = (false, false);
                }
                Step::Attached(_) | Step::Ended => {}
            }
            prop_assert_eq!(device.epoch(), held.then_some(last));
            prop_assert_eq!(device.is_ending(), held && ending);
            let has = matches!(device.state(), State::Borrowing | State::Borrowed);
            prop_assert!(!has || held);
        }
    }
}
