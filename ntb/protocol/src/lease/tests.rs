// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const ALICE: u32 = 0;
const BOB: u32 = 1;

#[test]
fn a_lease_and_back() {
    let mut lease = Lease::default();
    assert_eq!((lease.state(), lease.last()), (LeaseState::Offered, 0));
    assert_eq!(lease.check(0, ALICE), Err(Status::Stale));

    let epoch = lease.open(ALICE).unwrap();
    let holder = Holder { epoch, peer: ALICE };
    assert_eq!(epoch.get(), 1);
    assert_eq!(lease.state(), LeaseState::Lent(holder));
    assert_eq!(lease.open(BOB), Err(Status::Taken));
    assert_eq!(lease.open(ALICE), Err(Status::Taken));

    assert_eq!(lease.check(1, ALICE), Ok(()));
    for (epoch, peer) in [(1, BOB), (0, ALICE), (2, ALICE), (u32::MAX, ALICE)] {
        assert_eq!(lease.check(epoch, peer), Err(Status::Stale));
        assert_eq!(lease.clunk(epoch, peer), Err(Status::Stale));
    }

    assert_eq!(lease.clunk(1, ALICE), Ok(()));
    assert_eq!(lease.state(), LeaseState::Offered);
    assert_eq!(lease.check(1, ALICE), Err(Status::Stale));
    assert_eq!(lease.clunk(1, ALICE), Err(Status::Stale));
    assert_eq!(lease.open(BOB).map(Epoch::get), Ok(2));
}

#[test]
fn a_lease_being_revoked_still_works_for_its_holder_only() {
    let mut lease = Lease::new(6);
    assert_eq!(lease.revoke(), None);
    let epoch = lease.open(ALICE).unwrap();
    let holder = Holder { epoch, peer: ALICE };

    assert_eq!(lease.revoke(), Some(holder));
    assert_eq!(lease.state(), LeaseState::Revoking(holder));
    assert_eq!(lease.revoke(), None, "told already");
    assert_eq!(lease.check(7, ALICE), Ok(()));
    assert_eq!(lease.check(7, BOB), Err(Status::Stale));
    assert_eq!(lease.open(BOB), Err(Status::Taken));
    assert_eq!(lease.clunk(7, ALICE), Ok(()));
    assert_eq!(lease.state(), LeaseState::Offered);
}

#[test]
fn a_lease_can_be_ended_from_any_state() {
    let mut lease = Lease::new(0);
    assert_eq!(lease.end(), None);
    for revoke in [false, true] {
        let epoch = lease.open(BOB).unwrap();
        if revoke {
            lease.revoke();
        }
        assert_eq!(lease.end(), Some(Holder { epoch, peer: BOB }));
        assert_eq!(lease.state(), LeaseState::Offered);
        assert_eq!(lease.check(epoch.get(), BOB), Err(Status::Stale));
    }
}

#[test]
fn losing_a_peer_ends_only_its_lease() {
    let mut lease = Lease::new(0);
    assert_eq!(lease.lose(ALICE), None);
    let epoch = lease.open(ALICE).unwrap();
    assert_eq!(lease.lose(BOB), None);
    assert_eq!(lease.check(epoch.get(), ALICE), Ok(()));
    assert_eq!(lease.lose(ALICE), Some(Holder { epoch, peer: ALICE }));
    assert_eq!(lease.state(), LeaseState::Offered);
}

#[test]
fn epochs_do_not_begin_again() {
    let mut lease = Lease::new(u32::MAX - 1);
    assert_eq!(lease.open(ALICE).map(Epoch::get), Ok(u32::MAX));
    lease.end();
    assert_eq!(lease.open(ALICE), Err(Status::Gone));
    assert_eq!(lease.state(), LeaseState::Offered);
}

#[test]
fn zero_is_no_epoch() {
    assert_eq!(Epoch::try_from(0), Err(Status::Stale));
    assert_eq!(Epoch::try_from(1).map(u32::from), Ok(1));
    assert_eq!(Epoch::try_from(u32::MAX).unwrap().to_string(), "4294967295");
}

#[derive(Clone, Debug)]
enum Step {
    Open(u32),
    Clunk(u32, u32),
    Revoke,
    End,
    Lose(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u32).prop_map(Step::Open),
        (0..20u32, 0..3u32).prop_map(|(epoch, peer)| Step::Clunk(epoch, peer)),
        Just(Step::Revoke),
        Just(Step::End),
        (0..3u32).prop_map(Step::Lose),
    ]
}

proptest! {
    /// At most one holder, whose messages alone are taken; epochs only rise.
    #[test]
    fn any_order_of_events(steps in prop::collection::vec(step(), 0..60)) {
        let mut lease = Lease::new(0);
        let mut holder: Option<(u32, u32)> = None;
        let mut last = 0;
        for step in steps {
            match step {
                Step::Open(peer) => match lease.open(peer) {
                    Ok(epoch) => {
                        prop_assert!(holder.is_none() && epoch.get() > last);
                        last = epoch.get();
                        holder = Some((last, peer));
                    }
                    Err(status) => prop_assert!(holder.is_some() && status == Status::Taken),
                },
                Step::Clunk(epoch, peer) => {
                    let expected = holder == Some((epoch, peer));
                    prop_assert_eq!(lease.clunk(epoch, peer).is_ok(), expected);
                    if expected {
                        holder = None;
                    }
                }
                Step::Revoke => {
                    lease.revoke();
                }
                Step::End => {
                    lease.end();
                    holder = None;
                }
                Step::Lose(peer) => {
                    lease.lose(peer);
                    holder = holder.filter(|&(_, holder)| holder != peer);
                }
            }
            for epoch in 0..=last + 1 {
                for peer in 0..3 {
                    prop_assert_eq!(lease.check(epoch, peer).is_ok(), holder == Some((epoch, peer)));
                }
            }
        }
    }
}
