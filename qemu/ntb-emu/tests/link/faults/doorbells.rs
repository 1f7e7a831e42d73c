// SPDX-License-Identifier: GPL-2.0

//! Doorbells that are lost or late.

use std::time::{Duration, Instant};

use super::{is_clear, MS};
use crate::client::{linked, signalled, wait_for, Client, DBREQ, RAM, WINDOW1};
use ntb_emu::fault::{Fault, FaultError};
use ntb_emu::side::Side;

const DBSTAT: u64 = 0x460;

fn drop(host: &str, next: Option<u64>, probability: Option<f64>, seed: u64) -> Fault {
    Fault::DropDoorbells {
        host: Some(host.into()),
        next,
        probability,
        seed,
    }
}

/// Rings and says whether it was heard.
fn ring(from: &mut Client, to: &mut Client) -> bool {
    from.write(0, DBREQ, &[1, 0]);
    let heard = to.read32(0, DBSTAT) != 0;
    to.write(0, DBSTAT, &[1, 0]);
    heard
}

#[test]
fn the_next_ones_are_lost() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    ntb.inject(&drop("a", Some(2), None, 0)).unwrap();
    let heard = [(); 4].map(|()| ring(&mut a, &mut b));
    assert_eq!(heard, [false, false, true, true]);
    assert!(is_clear(&ntb));
    ntb.inject(&drop("a", Some(1), None, 0)).unwrap();
    // The other way and through windows all is well.
    assert!(ring(&mut b, &mut a));
    a.write(WINDOW1, 0, &[1; 4]);
    assert_eq!(b.ram(0, 4), [1; 4]);
    ntb.inject(&drop("a", Some(0), None, 0)).unwrap();
    assert!(ring(&mut a, &mut b));
    let counters = &ntb.end(Side::Primary).counters;
    assert_eq!(
        (counters.doorbells.get(), counters.doorbells_dropped.get()),
        (5, 2)
    );
}

#[test]
fn the_same_seed_loses_the_same_ones() {
    let heard = |seed, host| {
        let (ntb, mut a, mut b) = linked();
        ntb.inject(&drop("a", None, Some(0.5), seed)).unwrap();
        ntb.inject(&drop("b", None, Some(0.5), seed)).unwrap();
        let heard: Vec<bool> = (0..64)
            .map(|_| match host {
                "a" => ring(&mut a, &mut b),
                _ => ring(&mut b, &mut a),
            })
            .collect();
        let lost = heard.iter().filter(|heard| !**heard).count() as u64;
        let counters = |side| ntb.end(side).counters.doorbells_dropped.get();
        assert_eq!(
            counters(Side::Primary) + counters(Side::Secondary),
            lost,
            "what is counted is lost"
        );
        heard
    };
    let first = heard(1, "a");
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(first, heard(1, "a"));
    assert_eq!(first, heard(1, "b"), "each host has its own sequence");
    assert_ne!(first, heard(2, "a"));
}

#[test]
fn what_is_not_said_clearly_is_refused() {
    let (ntb, _a, _b) = linked();
    for (next, probability) in [(None, None), (Some(1), Some(0.5))] {
        let error = ntb.inject(&drop("a", next, probability, 0)).unwrap_err();
        assert_eq!(error, FaultError::WhichDoorbells);
    }
    for probability in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = ntb.inject(&drop("a", None, Some(probability), 0));
        assert!(matches!(error, Err(FaultError::Number { .. })));
    }
    let late = Fault::DelayDoorbells {
        host: None,
        by: Duration::from_secs(61),
    };
    assert!(matches!(ntb.inject(&late), Err(FaultError::Time { .. })));
    assert!(is_clear(&ntb));
}

#[test]
fn late_doorbells_come_late_and_alone() {
    let (ntb, mut a, mut b) = linked();
    b.open_window(0, RAM);
    let bell = b.vector(0);
    let by = 300 * MS;
    ntb.inject(&Fault::DelayDoorbells { host: None, by })
        .unwrap();
    let start = Instant::now();
    a.write(0, DBREQ, &[1, 0]);
    a.write(WINDOW1, 0, &[1; 4]);
    // The write has come; if the doorbell has, too, then not too early.
    assert_eq!(b.ram(0, 4), [1; 4]);
    wait_for(&bell);
    assert!(start.elapsed() >= by);
    assert_eq!(ntb.end(Side::Primary).counters.doorbells_delayed.get(), 1);
    // When the fault ends, what waits is heard at once.
    a.write(0, DBREQ, &[2, 0]);
    ntb.inject(&Fault::Clear).unwrap();
    super::wait_until("the other doorbell", || b.read32(0, DBSTAT) == 3);
    assert_eq!(signalled(&bell), 0);
}
