// SPDX-License-Identifier: GPL-2.0

//! What each register does, from both sides.

use super::*;
use crate::model::amd::{peer_offset, VECTORS};
use proptest::prelude::*;

const P: Side = Side::Primary;
const S: Side = Side::Secondary;

const SIDEINFO: u64 = 0x408;
const DBREQ: u64 = 0x454;
const MIRRDBSTAT: u64 = 0x458;
const DBMASK: u64 = 0x45c;
const DBSTAT: u64 = 0x460;
const INTMASK: u64 = 0x470;
const INTSTAT: u64 = 0x474;
const UP: u32 = 1 << 5;
const DOWN: u32 = 1 << 6;
const UP_VECTOR: u64 = 1 << 21;
const DOWN_VECTOR: u64 = 1 << 22;

fn bridge() -> Bridge {
    let window = |size, direct| Window { size, direct };
    let windows = [
        window(1 << 20, false),
        window(64 << 20, false),
        window(512 << 20, true),
    ];
    let mut bridge = Bridge::new(&windows).unwrap();
    for side in Side::BOTH {
        none(bridge.config_write(side, 4, &[6, 0]));
    }
    bridge
}

fn read32(bridge: &Bridge, side: Side, offset: u64) -> u32 {
    let mut data = [0xee; 4];
    bridge.read(side, offset, &mut data);
    u32::from_le_bytes(data)
}

fn read64(bridge: &Bridge, side: Side, offset: u64) -> u64 {
    let mut data = [0xee; 8];
    bridge.read(side, offset, &mut data);
    u64::from_le_bytes(data)
}

fn write16(bridge: &mut Bridge, side: Side, offset: u64, value: u16) -> Effect {
    bridge.write(side, offset, &value.to_le_bytes())
}

fn write32(bridge: &mut Bridge, side: Side, offset: u64, value: u32) -> Effect {
    bridge.write(side, offset, &value.to_le_bytes())
}

fn write64(bridge: &mut Bridge, side: Side, offset: u64, value: u64) -> Effect {
    bridge.write(side, offset, &value.to_le_bytes())
}

fn none(effect: Effect) {
    assert_eq!((effect.vectors(P), effect.vectors(S)), (0, 0));
}

/// As the driver leaves it: both hosts there, both drivers ready, doorbells and link events unmasked.
fn linked() -> Bridge {
    let mut bridge = bridge();
    none(bridge.attach(P));
    none(bridge.attach(S));
    for side in Side::BOTH {
        none(write16(&mut bridge, side, DBMASK, 0));
        none(write32(
            &mut bridge,
            side,
            INTMASK,
            Event::ALL & !(UP | DOWN),
        ));
        let info = read32(&bridge, side, SIDEINFO);
        none(write32(&mut bridge, side, SIDEINFO, info | READY));
    }
    bridge
}

#[test]
fn reset_values() {
    let bridge = bridge();
    for register in &REGISTERS {
        for side in Side::BOTH {
            let expected = |owner| {
                if register.offset == SIDEINFO {
                    u32::from(owner == S)
                } else {
                    register.reset
                }
            };
            assert_eq!(
                read32(&bridge, side, register.offset),
                expected(side),
                "{}",
                register.name
            );
            let seen = read32(&bridge, side, peer_offset(register.offset));
            assert_eq!(seen, expected(side.peer()), "peer's {}", register.name);
        }
    }
}

/// Each register without a role of its own: its own side changes `own` bits, the peer changes `peer` bits, and the
/// other block shows the same register.
#[test]
fn who_may_write_what() {
    for register in &REGISTERS {
        if !matches!(
            register.role,
            Role::Plain
                | Role::Shared
                | Role::DoorbellMask
                | Role::EventMask
                | Role::LimitLow(_)
                | Role::LimitHigh(_)
                | Role::XlatLow(0 | 1)
                | Role::XlatHigh(0 | 1)
        ) {
            continue;
        }
        for side in Side::BOTH {
            let mut bridge = bridge();
            none(write32(&mut bridge, side, register.offset, u32::MAX));
            let by_own = register.reset | register.own;
            assert_eq!(
                read32(&bridge, side, register.offset),
                by_own,
                "{} by its own side",
                register.name
            );
            assert_eq!(
                read32(&bridge, side.peer(), peer_offset(register.offset)),
                by_own,
                "{}",
                register.name
            );

            let mut bridge = self::bridge();
            none(write32(
                &mut bridge,
                side.peer(),
                peer_offset(register.offset),
                u32::MAX,
            ));
            let by_peer = register.reset | register.peer;
            assert_eq!(
                read32(&bridge, side, register.offset),
                by_peer,
                "{} by the peer",
                register.name
            );
            none(write32(
                &mut bridge,
                side.peer(),
                peer_offset(register.offset),
                0,
            ));
            assert_eq!(
                read32(&bridge, side, register.offset),
                register.reset & !register.peer,
                "{}",
                register.name
            );
        }
    }
}

#[test]
fn scratchpads_are_one_set_for_both() {
    let mut bridge = bridge();
    for i in 0..16u32 {
        let offset = 0x210 + u64::from(i) * 4;
        let side = if i % 2 == 0 { P } else { S };
        none(write32(&mut bridge, side, offset, 0x1000 + i));
        for reader in Side::BOTH {
            assert_eq!(read32(&bridge, reader, offset), 0x1000 + i);
            assert_eq!(read32(&bridge, reader, peer_offset(offset)), 0x1000 + i);
        }
    }
}

#[test]
fn scratchpads_survive_a_reset_but_not_the_loss_of_both() {
    let mut bridge = linked();
    none(write32(&mut bridge, P, 0x210, 7));
    let _ = bridge.reset(P);
    let _ = bridge.detach(S);
    assert_eq!(read32(&bridge, P, 0x210), 7);
    let _ = bridge.detach(P);
    assert_eq!(read32(&bridge, P, 0x210), 0);
}

#[test]
fn side_info_tells_the_sides_apart_and_shows_ready_to_the_peer() {
    let mut bridge = bridge();
    assert_eq!(read32(&bridge, P, SIDEINFO), 0);
    assert_eq!(read32(&bridge, S, SIDEINFO), 1);
    none(write32(&mut bridge, P, SIDEINFO, u32::MAX));
    none(write32(&mut bridge, S, SIDEINFO, u32::MAX));
    assert_eq!(read32(&bridge, P, SIDEINFO), 2);
    assert_eq!(read32(&bridge, S, SIDEINFO), 3);
    assert_eq!(read32(&bridge, P, peer_offset(SIDEINFO)), 3);
    // The primary's driver clears its peer's READY after a link-down event.
    none(write32(&mut bridge, P, peer_offset(SIDEINFO), 1));
    assert_eq!(read32(&bridge, S, SIDEINFO), 1);
}

#[test]
fn a_translation_is_set_by_the_peer_in_one_64_bit_write_and_reads_back() {
    let mut bridge = bridge();
    for (window, offset) in [(0, 0x430u64), (1, 0x438)] {
        none(write64(&mut bridge, S, peer_offset(offset), 0x12_3456_7000));
        assert_eq!(read64(&bridge, S, peer_offset(offset)), 0x12_3456_7000);
        assert_eq!(bridge.translation(P, window), 0x12_3456_7000);
        assert_eq!(bridge.translation(S, window), 0);
        none(write64(&mut bridge, P, offset, u64::MAX));
        assert_eq!(
            bridge.translation(P, window),
            0x12_3456_7000,
            "a host cannot move its own window"
        );
        none(write64(&mut bridge, S, peer_offset(offset), u64::MAX));
        assert_eq!(bridge.translation(P, window), 0xffff_ffff_ffff_f000);
    }
}

#[test]
fn a_fixed_window_refuses_a_translation_but_takes_a_limit() {
    let mut bridge = bridge();
    none(write64(&mut bridge, S, peer_offset(0x440), 0x1000));
    assert_eq!(read64(&bridge, S, peer_offset(0x440)), 0);
    none(write64(&mut bridge, S, peer_offset(0x420), 0x2000_0000));
    assert_eq!(bridge.limit(P, 2), 0x2000_0000);
}

#[test]
fn windows_obey_link_and_limit() {
    let mut bridge = bridge();
    none(write64(&mut bridge, S, peer_offset(0x438), 0x8000_0000));
    none(write64(&mut bridge, S, peer_offset(0x418), 0x1000));
    assert_eq!(bridge.translate(P, 1, 0, 4), Err(Blocked::NoLink));
    none(bridge.attach(P));
    none(bridge.attach(S));
    assert_eq!(bridge.translate(P, 1, 0, 4), Ok(0x8000_0000));
    assert_eq!(
        bridge.openings(P, 1),
        [Opening {
            offset: 0,
            size: 0x1000,
            address: 0x8000_0000
        }]
    );
    assert_eq!(bridge.translate(P, 1, 0xffc, 4), Ok(0x8000_0ffc));
    assert_eq!(bridge.translate(P, 1, 0xffd, 4), Err(Blocked::Closed));
    assert_eq!(bridge.translate(P, 1, u64::MAX, 4), Err(Blocked::Closed));
    assert_eq!(
        bridge.translate(P, 0, 0, 1),
        Err(Blocked::Closed),
        "closed after reset"
    );
    assert_eq!(
        bridge.translate(S, 1, 0, 1),
        Err(Blocked::Closed),
        "the peer's window is another"
    );
    assert_eq!(bridge.translate(P, WINDOWS, 0, 1), Err(Blocked::Closed));
    none(write64(&mut bridge, S, peer_offset(0x438), u64::MAX));
    assert_eq!(bridge.translate(P, 1, 0xff8, 4), Ok(0xffff_ffff_ffff_fff8));
    none(write64(&mut bridge, S, peer_offset(0x418), 0x10000));
    assert_eq!(bridge.translate(P, 1, 0xffe, 4), Err(Blocked::Address));
}

#[test]
fn a_doorbell_is_set_masked_and_cleared() {
    let mut bridge = linked();
    let effect = write16(&mut bridge, P, DBREQ, 0x8005);
    assert_eq!((effect.vectors(P), effect.vectors(S)), (0, 0x8005));
    assert_eq!(read32(&bridge, S, DBSTAT), 0x8005);
    assert_eq!(read32(&bridge, P, DBSTAT), 0);
    assert_eq!(
        read32(&bridge, P, MIRRDBSTAT),
        0x8005,
        "the ringer sees what is pending"
    );
    assert_eq!(read32(&bridge, P, DBREQ), 0);
    none(write16(&mut bridge, P, DBREQ, 0x0001));
    none(write16(&mut bridge, S, DBSTAT, 0x8001));
    assert_eq!(read32(&bridge, S, DBSTAT), 0x0004);
    none(write16(&mut bridge, S, DBMASK, 0x0002));
    none(write16(&mut bridge, P, DBREQ, 0x0002));
    assert_eq!(read32(&bridge, S, DBSTAT), 0x0006);
    let effect = write16(&mut bridge, S, DBMASK, 0);
    assert_eq!(
        (effect.vectors(P), effect.vectors(S)),
        (0, 0x0002),
        "unmasking delivers what is pending"
    );
    let effect = write16(&mut bridge, S, peer_offset(DBREQ), 0x0100);
    assert_eq!(
        (effect.vectors(P), effect.vectors(S)),
        (0, 0x0100),
        "the peer's request register rings its peer"
    );
}

#[test]
fn nobody_can_ring_a_driver_that_is_not_ready() {
    let mut bridge = linked();
    none(write16(&mut bridge, S, DBMASK, 0xffff));
    none(write16(&mut bridge, P, DBREQ, 0x8000));
    assert_eq!(read32(&bridge, S, DBSTAT), 0x8000);
    none(write32(&mut bridge, S, SIDEINFO, 1));
    assert_eq!(
        read32(&bridge, S, DBSTAT),
        0,
        "an unloaded driver leaves nothing behind"
    );
    none(write16(&mut bridge, P, DBREQ, 0x8000));
    assert_eq!(read32(&bridge, S, DBSTAT), 0);
    none(write16(&mut bridge, S, DBMASK, 0x7fff));
}

#[test]
fn byte_enables_are_respected() {
    let mut bridge = bridge();
    none(write32(&mut bridge, P, 0x210, 0x4433_2211));
    none(bridge.write(P, 0x212, &[0xaa]));
    assert_eq!(read32(&bridge, P, 0x210), 0x44aa_2211);
    let mut three = [0; 3];
    bridge.read(P, 0x211, &mut three);
    assert_eq!(three, [0x22, 0xaa, 0x44]);
    none(bridge.write(P, 0x213, &[1, 2]));
    assert_eq!(read32(&bridge, P, 0x210), 0x01aa_2211);
    assert_eq!(read32(&bridge, P, 0x214), 2);
}

#[test]
fn only_own_doorbell_request_is_a_doorbell() {
    assert!(bridge().rings(P, DBREQ, 2));
    assert!(bridge().rings(P, DBREQ + 1, 1));
    assert!(bridge().rings(P, DBREQ - 4, 8));
    assert!(!bridge().rings(P, DBREQ - 4, 4));
    assert!(!bridge().rings(P, peer_offset(DBREQ), 2));
    assert!(!bridge().rings(P, 0x2000, 16));
}

#[test]
fn losing_the_peer_is_told_once_and_its_return_after_that() {
    let mut bridge = linked();
    let effect = bridge.detach(S);
    assert_eq!((effect.vectors(P), effect.vectors(S)), (DOWN_VECTOR, 0));
    assert_eq!(read32(&bridge, P, INTSTAT), DOWN);
    assert_eq!(
        read32(&bridge, P, peer_offset(SIDEINFO)),
        1,
        "not READY any more"
    );
    none(bridge.attach(S));
    assert_eq!(read32(&bridge, P, INTSTAT), DOWN, "one at a time");
    let effect = write32(&mut bridge, P, INTSTAT, DOWN);
    assert_eq!(effect.vectors(P), UP_VECTOR);
    assert_eq!(read32(&bridge, P, INTSTAT), UP);
    none(write32(&mut bridge, P, INTSTAT, UP));
    assert_eq!(read32(&bridge, P, INTSTAT), 0);
    assert_eq!(
        read32(&bridge, S, INTSTAT),
        0,
        "the new driver is not ready and is told nothing"
    );
}

#[test]
fn masked_events_wait() {
    let mut bridge = linked();
    none(write32(&mut bridge, P, INTMASK, Event::ALL));
    none(bridge.detach(S));
    none(bridge.attach(S));
    assert_eq!(read32(&bridge, P, INTSTAT), DOWN);
    let effect = write32(&mut bridge, P, INTMASK, 0);
    assert_eq!(effect.vectors(P), DOWN_VECTOR);
}

#[test]
fn a_reset_closes_windows_both_ways_and_tells_the_peer_if_it_was_in_use() {
    let mut bridge = linked();
    for side in Side::BOTH {
        none(write64(&mut bridge, side, peer_offset(0x438), 0x1000));
        none(write64(&mut bridge, side, peer_offset(0x418), 0x1000));
    }
    let effect = bridge.reset(S);
    assert_eq!((effect.vectors(P), effect.vectors(S)), (DOWN_VECTOR, 0));
    for side in Side::BOTH {
        assert_eq!((bridge.translation(side, 1), bridge.limit(side, 1)), (0, 0));
    }
    assert_eq!(read32(&bridge, S, DBMASK), 0xffff);
    let effect = write32(&mut bridge, P, INTSTAT, DOWN);
    assert_eq!(effect.vectors(P), UP_VECTOR);
    none(write32(&mut bridge, P, INTSTAT, UP));
    none(bridge.reset(S));
    assert_eq!(read32(&bridge, P, INTSTAT), 0, "no driver was there");
}

proptest! {
    /// Whatever is written where, nothing panics, only the 24 vectors are signalled, and the sides keep their identity.
    #[test]
    fn any_accesses(accesses in proptest::collection::vec((any::<bool>(), any::<bool>(), 0u64..0x1000, proptest::collection::vec(any::<u8>(), 0..20)), 0..60)) {
        let mut bridge = linked();
        for (primary, write, offset, mut data) in accesses {
            let side = if primary { P } else { S };
            if write {
                let effect = bridge.write(side, offset, &data);
                prop_assert_eq!((effect.vectors(P) | effect.vectors(S)) >> VECTORS, 0);
            } else {
                bridge.read(side, offset, &mut data);
            }
            prop_assert_eq!(read32(&bridge, P, SIDEINFO) & 1, 0);
            prop_assert_eq!(read32(&bridge, S, SIDEINFO) & 1, 1);
            prop_assert_eq!(bridge.translation(P, 2), 0);
        }
    }
}

#[test]
fn a_pulled_cable_is_told_to_both_and_hides_the_peer() {
    let mut bridge = linked();
    none(write64(&mut bridge, S, peer_offset(0x438), 0x8000_0000));
    none(write64(&mut bridge, S, peer_offset(0x418), 0x1000));
    let effect = bridge.set_cable(false);
    assert_eq!(
        (effect.vectors(P), effect.vectors(S)),
        (DOWN_VECTOR, DOWN_VECTOR)
    );
    none(bridge.set_cable(false));
    assert_eq!(bridge.translate(P, 1, 0, 4), Err(Blocked::NoLink));
    for side in Side::BOTH {
        assert_eq!(read32(&bridge, side, SIDEINFO) & READY, READY);
        assert_eq!(read32(&bridge, side, peer_offset(SIDEINFO)) & READY, 0);
    }
    none(write16(&mut bridge, P, DBREQ, 1));
    assert_eq!(read32(&bridge, S, DBSTAT), 0, "a doorbell is lost");

    // It is put in again before the primary has looked: one event after the other, and no READY before the first is seen.
    none(write32(&mut bridge, S, INTSTAT, DOWN));
    let effect = bridge.set_cable(true);
    assert_eq!((effect.vectors(P), effect.vectors(S)), (0, UP_VECTOR));
    assert_eq!(read32(&bridge, P, peer_offset(SIDEINFO)) & READY, 0);
    assert_eq!(read32(&bridge, S, peer_offset(SIDEINFO)) & READY, READY);
    let effect = write32(&mut bridge, P, INTSTAT, DOWN);
    assert_eq!((effect.vectors(P), effect.vectors(S)), (UP_VECTOR, 0));
    assert_eq!(read32(&bridge, P, peer_offset(SIDEINFO)) & READY, READY);
    assert_eq!(
        bridge.translate(P, 1, 0, 4),
        Ok(0x8000_0000),
        "registers have kept their values"
    );
}

#[test]
fn windows_need_the_peer_to_be_bus_master() {
    let mut bridge = linked();
    none(write64(&mut bridge, S, peer_offset(0x418), 0x1000));
    assert_eq!(bridge.translate(P, 1, 0, 4), Ok(0));
    none(bridge.config_write(S, 4, &[2, 0]));
    assert_eq!(bridge.translate(P, 1, 0, 4), Err(Blocked::NotMaster));
}
