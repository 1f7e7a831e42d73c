// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const ALICE: u32 = 0;
const BOB: u32 = 1;

#[test]
fn a_lease_and_back() {
    let mut lease = Lease::default();
    assert_eq!(lease.holder(), None);
    assert_eq!(lease.check(0, ALICE), Err(Status::Stale));

    let epoch = lease.open(ALICE, 6).unwrap();
    let holder = Holder { epoch, peer: ALICE };
    assert_eq!(epoch.get(), 7);
    assert_eq!(lease.holder(), Some(holder));
    assert!(lease.is_held_by(ALICE) && !lease.is_held_by(BOB));
    assert_eq!(lease.open(BOB, 7), Err(Status::Taken));
    assert_eq!(lease.open(ALICE, 7), Err(Status::Taken));

    assert_eq!(lease.check(7, ALICE), Ok(()));
    for (epoch, peer) in [(7, BOB), (0, ALICE), (8, ALICE), (u32::MAX, ALICE)] {
        assert_eq!(lease.check(epoch, peer), Err(Status::Stale));
    }

    assert_eq!(lease.end(), Some(holder));
    assert_eq!((lease.holder(), lease.end()), (None, None));
    assert!(!lease.is_held_by(ALICE));
    assert_eq!(lease.check(7, ALICE), Err(Status::Stale));
    assert!(!lease.is_cleaning() && !lease.is_free());
    assert_eq!(lease.open(BOB, 7), Err(Status::Taken));
    assert!(!lease.clean(BOB) && lease.clean(ALICE) && !lease.clean(ALICE));
    assert!(lease.is_cleaning() && !lease.is_free());
    assert!(lease.cleaned(false) && !lease.cleaned(true));
    assert!(!lease.is_free() && !lease.clean(BOB) && lease.clean(ALICE));
    assert!(lease.cleaned(true));
    assert!(lease.is_free() && !lease.clean(ALICE));
    assert_eq!(lease.open(BOB, 7).map(Epoch::get), Ok(8));
    assert_eq!(lease.check(7, ALICE), Err(Status::Stale));
}

#[test]
fn what_the_lender_wants_nobody_opens() {
    let mut lease = Lease::default();
    assert!(lease.want() && !lease.want());
    assert_eq!(lease.open(ALICE, 1), Err(Status::Taken));
    lease.unwant();
    lease.open(ALICE, 1).unwrap();
    assert!(lease.want());
    // It has it still.
    assert_eq!(lease.check(2, ALICE), Ok(()));
    lease.end();
    assert!(lease.clean(ALICE));
    lease.cleaned(true);
    assert_eq!(lease.open(ALICE, 2), Err(Status::Taken));
}

#[test]
fn who_does_not_know_what_it_has_can_open_it() {
    let mut lease = Lease::default();
    assert!(lease.is_free_for(ALICE) && lease.is_free_for(BOB));
    lease.open(ALICE, 1).unwrap();
    assert!(lease.is_free_for(ALICE) && !lease.is_free_for(BOB));
    lease.want();
    assert!(!lease.is_free_for(ALICE));
    lease.unwant();
    lease.end();
    // What could not be reset is reset when it is asked for: by whom it was left so.
    assert!(lease.is_free_for(ALICE) && !lease.is_free_for(BOB));
    lease.want();
    assert!(!lease.is_free_for(ALICE));
    lease.unwant();
    assert!(lease.clean(ALICE));
    assert!(!lease.is_free_for(ALICE));
}

/// A link that is bound again is another one: nobody else would ever have the device reset. But only who wants it waits for that.
#[test]
fn what_was_left_unclean_by_who_is_gone_is_everybodys() {
    let mut lease = Lease::default();
    lease.open(ALICE, 1).unwrap();
    assert!(!lease.forget(ALICE) && lease.is_held_by(ALICE));
    lease.end();
    assert!(!lease.forget(BOB));
    lease.adopt(BOB);
    assert!(!lease.is_free_for(BOB) && !lease.clean(BOB));
    assert!(lease.forget(ALICE) && !lease.forget(ALICE));
    assert!(lease.is_free_for(BOB) && !lease.clean(BOB));
    lease.adopt(BOB);
    // In vain, and again.
    assert!(!lease.is_free_for(ALICE));
    assert!(lease.clean(BOB) && lease.cleaned(false));
    assert!(lease.clean(BOB) && lease.cleaned(true));
    assert!(lease.is_free());
    // While somebody is at it.
    lease.open(ALICE, 2).unwrap();
    lease.end();
    assert!(lease.clean(ALICE));
    assert!(lease.forget(ALICE));
    assert!(lease.cleaned(false) && lease.is_free_for(BOB));
}

/// Whoever was about to reset it leaves it to the others, who are at it.
#[test]
fn what_is_cut_off_is_recovered_and_by_nobody_else() {
    let mut lease = Lease::default();
    assert_eq!(lease.cut_off(), None);
    assert!(!lease.is_free() && !lease.clean(ALICE));
    lease.recovered();
    assert!(lease.is_free());

    let epoch = lease.open(ALICE, 1).unwrap();
    assert_eq!(lease.cut_off().map(|holder| holder.epoch), Some(epoch));
    assert_eq!(lease.end(), None);
    lease.cleaned(true);
    assert!(!lease.is_free());
    lease.recovered();
    assert!(lease.is_free());

    lease.open(ALICE, 2).unwrap();
    lease.end();
    assert!(lease.clean(ALICE));
    lease.cut_off();
    lease.cleaned(true);
    assert!(!lease.is_free() && !lease.is_cleaning());
    lease.recovered();
    lease.open(ALICE, 3).unwrap();
    lease.end();
    assert!(lease.clean(ALICE));
    lease.recovered();
    assert!(lease.is_cleaning());
}

#[test]
fn what_was_not_lent_stays_clean() {
    let mut lease = Lease::default();
    assert_eq!(lease.end(), None);
    assert!(lease.is_free());
}

#[test]
fn epochs_do_not_begin_again() {
    let mut lease = Lease::default();
    assert_eq!(lease.open(ALICE, u32::MAX), Err(Status::Gone));
    assert_eq!(lease.holder(), None);
    let epoch = lease.open(ALICE, u32::MAX - 1);
    assert_eq!(epoch.map(Epoch::get), Ok(u32::MAX));
}

#[test]
fn zero_is_no_epoch() {
    assert_eq!(Epoch::try_from(0), Err(Status::Stale));
    assert_eq!(Epoch::try_from(1).map(u32::from), Ok(1));
    assert_eq!(Epoch::try_from(u32::MAX).unwrap().to_string(), "4294967295");
}

/// What a device is in need of after whose lease, and whether somebody is at it: we, or others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dirt {
    None,
    Left(u32),
    Going(u32),
    Others,
}

const DEVICES: usize = 3;
const PEERS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Open(usize, u32),
    End(usize),
    Clean(usize, u32),
    Cleaned(usize, bool),
    CutOff(usize),
    Recovered(usize),
    Want(usize, bool),
    Lose(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..DEVICES, 0..PEERS).prop_map(|(device, peer)| Step::Open(device, peer)),
        2 => (0..DEVICES).prop_map(Step::End),
        4 => (0..DEVICES, 0..PEERS).prop_map(|(device, peer)| Step::Clean(device, peer)),
        2 => (0..DEVICES, any::<bool>()).prop_map(|(device, done)| Step::Cleaned(device, done)),
        1 => (0..DEVICES).prop_map(Step::CutOff),
        1 => (0..DEVICES).prop_map(Step::Recovered),
        1 => (0..DEVICES, any::<bool>()).prop_map(|(device, wanted)| Step::Want(device, wanted)),
        1 => (0..PEERS).prop_map(Step::Lose),
    ]
}

proptest! {
    /// The leases of one host: a device has at most one holder, epochs only rise, and an epoch names at most one device,
    /// to its holder alone.
    #[test]
    fn any_order_of_events(first in 0..u32::MAX - 100, steps in prop::collection::vec(step(), 0..60)) {
        let mut leases = [Lease::default(); DEVICES];
        let mut holders: [Option<(u32, u32)>; DEVICES] = [None; DEVICES];
        let mut dirt = [Dirt::None; DEVICES];
        let mut wanted = [false; DEVICES];
        let mut last = first;
        for step in steps {
            match step {
                Step::Open(device, peer) => match leases[device].open(peer, last) {
                    Ok(epoch) => {
                        prop_assert!(dirt[device] == Dirt::None && !wanted[device]);
                        prop_assert!(holders[device].is_none() && epoch.get() > last);
                        last = epoch.get();
                        holders[device] = Some((last, peer));
                    }
                    Err(status) => {
                        prop_assert!(
                            holders[device].is_some() || dirt[device] != Dirt::None || wanted[device]
                        );
                        prop_assert_eq!(status, Status::Taken);
                    }
                },
                Step::End(device) => {
                    let ended = leases[device].end();
                    let holder = ended.map(|holder| (holder.epoch.get(), holder.peer));
                    if let Some((_, peer)) = holder {
                        dirt[device] = Dirt::Left(peer);
                    }
                    prop_assert_eq!(holder, holders[device].take());
                }
                Step::Clean(device, peer) => {
                    let is_due = leases[device].clean(peer);
                    prop_assert_eq!(is_due, dirt[device] == Dirt::Left(peer));
                    if is_due {
                        dirt[device] = Dirt::Going(peer);
                    }
                }
                Step::Cleaned(device, is_clean) => {
                    let was_going = leases[device].cleaned(is_clean);
                    prop_assert_eq!(was_going, matches!(dirt[device], Dirt::Going(_)));
                    if let Dirt::Going(peer) = dirt[device] {
                        dirt[device] = if is_clean { Dirt::None } else { Dirt::Left(peer) };
                    }
                }
                Step::CutOff(device) => {
                    leases[device].cut_off();
                    holders[device] = None;
                    dirt[device] = Dirt::Others;
                }
                Step::Recovered(device) => {
                    leases[device].recovered();
                    if dirt[device] == Dirt::Others {
                        dirt[device] = Dirt::None;
                    }
                }
                Step::Want(device, true) => {
                    prop_assert_eq!(leases[device].want(), !wanted[device]);
                    wanted[device] = true;
                }
                Step::Want(device, false) => {
                    leases[device].unwant();
                    wanted[device] = false;
                }
                Step::Lose(peer) => {
                    for ((lease, holder), dirt) in leases.iter_mut().zip(&mut holders).zip(&mut dirt) {
                        prop_assert_eq!(lease.is_held_by(peer), holder.is_some_and(|held| held.1 == peer));
                        if lease.is_held_by(peer) {
                            lease.end();
                            *holder = None;
                            *dirt = Dirt::Left(peer);
                        }
                    }
                }
            }
            for epoch in first..=last + 1 {
                for peer in 0..PEERS {
                    let named: Vec<usize> = (0..DEVICES)
                        .filter(|&device| leases[device].check(epoch, peer).is_ok())
                        .collect();
                    let held: Vec<usize> = (0..DEVICES)
                        .filter(|&device| holders[device] == Some((epoch, peer)))
                        .collect();
                    prop_assert!(named == held && named.len() <= 1);
                }
            }
        }
    }
}
