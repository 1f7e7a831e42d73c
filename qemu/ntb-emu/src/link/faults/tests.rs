// SPDX-License-Identifier: GPL-2.0

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn write(window: usize) -> Packet {
    Packet::Write {
        window,
        offset: 0,
        data: [0; 4].into(),
        since: None,
    }
}

#[test]
fn there_is_a_courier_as_long_as_one_is_needed() {
    let faults = Faults::default();
    assert!(!faults.hire());
    faults.set_delay(Side::Primary, SECOND);
    assert!(faults.hire());
    assert!(!faults.hire(), "one is there");
    assert!(matches!(
        faults.enter(Side::Primary, write(3)),
        Entry::Waits
    ));
    faults.clear();
    assert!(faults.attention().faults(), "something is still under way");
    let errand = faults.next_errand();
    assert!(matches!(
        errand,
        Some(Errand::Packet(
            Side::Primary,
            Packet::Write { window: 3, .. }
        ))
    ));
    // It has not arrived yet: what comes now must not overtake it.
    assert!(faults.attention().faults());
    assert!(matches!(
        faults.enter(Side::Primary, write(4)),
        Entry::Waits
    ));
    assert!(faults.next_errand().is_some());
    assert!(faults.next_errand().is_none());
    assert!(!faults.attention().faults());
    faults.set_frozen(Side::Secondary, true);
    assert!(faults.hire(), "the last one has gone");
}

#[test]
fn each_direction_has_its_own_line_and_a_frozen_side_holds_both() {
    let faults = Faults::default();
    faults.set_delay(Side::Primary, SECOND);
    assert!(matches!(
        faults.enter(Side::Secondary, write(0)),
        Entry::Free(_)
    ));
    faults.clear();
    faults.set_frozen(Side::Primary, true);
    for side in Side::BOTH {
        assert!(matches!(faults.enter(side, write(0)), Entry::Waits));
    }
    assert_eq!(faults.take_all().len(), 2);
}

#[test]
fn faults_that_hold_nothing_up_need_no_courier() {
    let faults = Faults::default();
    faults.set_all_ones(Side::Primary, 1, true);
    faults.set_losses(Side::Primary, Losses::Next { next: 1 });
    assert!(faults.attention().faults());
    assert!(!faults.hire());
    assert!(faults.is_all_ones(Side::Primary, 1));
    assert!(!faults.is_all_ones(Side::Primary, 65));
    faults.set_all_ones(Side::Primary, 1, false);
    assert!(faults.loses_doorbell(Side::Primary));
    assert!(!faults.attention().faults(), "the last one is over");
}

#[test]
fn a_link_that_goes_takes_its_courier_along() {
    let faults = Faults::default();
    faults.set_frozen(Side::Primary, true);
    faults.close();
    assert!(faults.next_errand().is_none());
}
