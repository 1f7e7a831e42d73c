// SPDX-License-Identifier: GPL-2.0

//! What each register does, from both sides.

use super::*;
use crate::model::intel::registers::CFG_LOCK;
use proptest::prelude::*;

const P: Side = Side::Primary;
const S: Side = Side::Secondary;

const NTBCNTL: u64 = 0x00;
const STATUS: u64 = 0x40;
const INT_DISABLE: u64 = 0x48;
const SPAD: u64 = 0x80;
const INTVEC: u64 = 0xd0;
const DOORBELL: u64 = 0x100;
const B2B_SPAD: u64 = 0x180;
const EM_SPAD: u64 = 0x4080;
const EM_DOORBELL: u64 = 0x4100;
const SPCICMD: u64 = 0x4504;
/// XBASE, XLMT and the EMBAR's XLMT and base of each window.
const WINDOW: [(u64, u64, u64, u64); 2] =
    [(0x10, 0x18, 0x4018, 0x4518), (0x20, 0x28, 0x4028, 0x4520)];
const SIZE: [u64; 2] = [1 << 20, 4 << 30];
/// Where the tests' hosts have their BARs.
const BAR: [u64; 2] = [0xfc_4000_0000, 0xfd_0000_0000];
/// Vector of the link, as the driver sets it.
const LINK_VECTOR: u64 = 1 << 31;
const UP: u16 = 0x2103;

fn bridge_with(direct: bool) -> Bridge {
    let window = |size, direct| Window { size, direct };
    let mut bridge = Bridge::new(&[window(SIZE[0], false), window(SIZE[1], direct)]).unwrap();
    for side in Side::BOTH {
        none(bridge.config_write(side, 4, &[6, 0]));
        for (bar, address) in [2, 4].into_iter().zip(BAR) {
            none(bridge.config_write(side, 0x10 + 4 * bar, &address.to_le_bytes()));
        }
    }
    bridge
}

fn bridge() -> Bridge {
    bridge_with(false)
}

fn read<const N: usize>(bridge: &Bridge, side: Side, offset: u64) -> [u8; N] {
    let mut data = [0xee; N];
    bridge.read(side, offset, &mut data);
    data
}

fn read32(bridge: &Bridge, side: Side, offset: u64) -> u32 {
    u32::from_le_bytes(read(bridge, side, offset))
}

fn read64(bridge: &Bridge, side: Side, offset: u64) -> u64 {
    u64::from_le_bytes(read(bridge, side, offset))
}

fn read_wide(bridge: &Bridge, side: Side, register: &Register, element: u64) -> u64 {
    let mut data = [0; 8];
    let width = usize::try_from(register.width).unwrap();
    bridge.read(side, register.at(element), &mut data[..width]);
    u64::from_le_bytes(data)
}

fn write_wide(bridge: &mut Bridge, side: Side, register: &Register, element: u64, value: u64) {
    let width = usize::try_from(register.width).unwrap();
    let _ = bridge.write(side, register.at(element), &value.to_le_bytes()[..width]);
}

fn write8(bridge: &mut Bridge, side: Side, offset: u64, value: u8) -> Effect {
    bridge.write(side, offset, &[value])
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

fn link_status(bridge: &Bridge, side: Side) -> u16 {
    let mut data = [0xee; 2];
    bridge.config_read(side, 0x1a2, &mut data);
    u16::from_le_bytes(data)
}

fn none(effect: Effect) {
    assert_eq!(both(effect), (0, 0));
}

fn both(effect: Effect) -> (u64, u64) {
    (effect.vectors(P), effect.vectors(S))
}

/// What the driver does with a function when it is loaded.
fn probe(bridge: &mut Bridge, side: Side) {
    for (xbase, limit, ..) in WINDOW {
        none(write64(bridge, side, limit, 0x2000_0000_0000_0000));
        none(write64(bridge, side, xbase, 0));
    }
    none(write16(bridge, side, SPCICMD, 6));
    none(write64(bridge, side, INT_DISABLE, 0x7fff_ffff));
    for vector in 0..33 {
        none(write8(bridge, side, INTVEC + u64::from(vector), vector));
    }
    none(write8(bridge, side, INTVEC + 32, 31));
    none(write64(bridge, side, STATUS, 1 << 32 | 1 << 31));
}

/// What the driver does with a link event: it clears the bit and looks.
fn poll_link(bridge: &mut Bridge, side: Side) -> u16 {
    none(write64(bridge, side, STATUS, 1 << 32 | 1 << 31));
    link_status(bridge, side)
}

/// Lets enough time pass for a link to come up.
fn train(bridge: &mut Bridge) -> Effect {
    (0..TRAINING).fold(Effect::default(), |effect, _| effect.and(bridge.tick()))
}

/// As a client's `ntb_link_enable` and `ntb_link_disable` leave NTBCNTL, and what comes of it.
fn enable(bridge: &mut Bridge, side: Side) -> Effect {
    none(write32(bridge, side, NTBCNTL, 0x154));
    train(bridge)
}

fn disable(bridge: &mut Bridge, side: Side) -> Effect {
    write32(bridge, side, NTBCNTL, 3)
}

/// As the driver's `mw_set_trans` opens a window of the peer.
fn show(bridge: &mut Bridge, side: Side, window: usize, address: u64, size: u64) {
    let (xbase, limit, outer_limit, outer) = WINDOW[window];
    none(write64(bridge, side, xbase, address));
    assert_eq!(read64(bridge, side, xbase), address);
    let end = BAR[window] + size;
    none(write64(bridge, side, limit, end));
    assert_eq!(read64(bridge, side, limit), end);
    let end = (read64(bridge, side, outer) & !0xf) + size;
    none(write64(bridge, side, outer_limit, end));
    assert_eq!(read64(bridge, side, outer_limit), end);
}

/// Both hosts there, both drivers loaded, doorbells enabled, the link up and seen.
fn linked() -> Bridge {
    let mut bridge = bridge();
    for side in Side::BOTH {
        none(bridge.attach(side));
        probe(&mut bridge, side);
        none(write64(&mut bridge, side, INT_DISABLE, 0));
    }
    none(enable(&mut bridge, P));
    assert_eq!(both(enable(&mut bridge, S)), (LINK_VECTOR, LINK_VECTOR));
    for side in Side::BOTH {
        assert_eq!(poll_link(&mut bridge, side), UP);
    }
    bridge
}

#[test]
fn reset_values() {
    let bridge = bridge();
    for register in &REGISTERS {
        for element in 0..register.count {
            for side in Side::BOTH {
                let expected = match register.role {
                    // There is no way to the peer.
                    Role::PeerScratchpads => u32::MAX.into(),
                    _ => register.reset(element),
                };
                assert_eq!(
                    read_wide(&bridge, side, register, element),
                    expected,
                    "{} {element}",
                    register.name
                );
            }
        }
    }
    assert_eq!(read32(&bridge, P, NTBCNTL), 3, "no link");
    assert_eq!(read64(&bridge, P, INT_DISABLE), 0x1_ffff_ffff);
    assert_eq!(read64(&bridge, P, 0x4510), 0xc);
    assert_eq!(read64(&bridge, P, 0x4518), 0x40_0000_000c);
    assert_eq!(read64(&bridge, P, 0x4520), 0x80_0000_000c);
    let vectors: [u8; 33] = read(&bridge, P, INTVEC);
    assert_eq!((vectors[0], vectors[31], vectors[32]), (1, 32, 0));
}

/// Each register that holds a value: its own host changes the bits it may, and nothing of it is seen by the peer.
#[test]
fn who_may_write_what() {
    for register in &REGISTERS {
        if matches!(
            register.role,
            Role::Doorbells
                | Role::OuterDoorbells
                | Role::Status
                | Role::OuterStatus
                | Role::PeerScratchpads
        ) {
            continue;
        }
        let inside = match register.role {
            Role::Base(window) => SIZE[window] - 1,
            _ => 0,
        };
        let writable = register.writable & !inside;
        let wide = u64::MAX >> (64 - 8 * register.width);
        for side in Side::BOTH {
            for element in 0..register.count {
                let mut bridge = bridge();
                let reset = register.reset(element);
                write_wide(&mut bridge, side, register, element, u64::MAX);
                let set = read_wide(&bridge, side, register, element);
                assert_eq!(set, (reset | writable) & wide, "{}", register.name);
                let peers = read_wide(&bridge, side.peer(), register, element);
                assert_eq!(peers, reset, "the peer's {}", register.name);
                write_wide(&mut bridge, side, register, element, 0);
                let cleared = read_wide(&bridge, side, register, element);
                assert_eq!(cleared, reset & !writable, "{}", register.name);
            }
        }
    }
}

#[test]
fn configuration_space_tells_the_sides_apart_and_shows_the_sizes() {
    let bridge = bridge();
    for (side, ppd) in [(P, 0x01), (S, 0x11)] {
        let mut data = [0; 5];
        bridge.config_read(side, 0xd0, &mut data);
        assert_eq!(data, [20, 32, 20, 32, ppd]);
    }
    let mut data = [0; 4];
    bridge.config_read(P, 0, &mut data);
    assert_eq!(u32::from_le_bytes(data), 0x201c_8086);
}

#[test]
fn link_status_is_its_own_two_bytes_and_nobody_can_write_it() {
    let mut bridge = linked();
    let mut data = [0xee; 8];
    bridge.config_read(P, 0x19f, &mut data);
    assert_eq!(data, [0, 0, 0, 0x03, 0x21, 0, 0, 0]);
    let mut data = [0xee; 1];
    bridge.config_read(P, 0x1a3, &mut data);
    assert_eq!(data, [0x21]);
    none(bridge.config_write(P, 0x1a2, &[0, 0]));
    assert_eq!(link_status(&bridge, P), UP);
}

#[test]
fn the_link_needs_both_hosts_both_drivers_and_the_cable() {
    let mut bridge = bridge();
    none(enable(&mut bridge, P));
    none(enable(&mut bridge, S));
    none(bridge.attach(P));
    assert!(!bridge.active());
    for side in Side::BOTH {
        none(write64(&mut bridge, side, INT_DISABLE, 0));
    }
    none(bridge.attach(S));
    // Vector 0 is the link's after a reset.
    assert_eq!(both(train(&mut bridge)), (1, 1));
    for side in Side::BOTH {
        assert_eq!(read64(&bridge, side, STATUS), 1 << 32);
        assert_eq!(poll_link(&mut bridge, side), UP);
    }
    for side in Side::BOTH {
        assert_eq!(both(disable(&mut bridge, side)), (1, 1), "told to both");
        for seen in Side::BOTH {
            assert_eq!(poll_link(&mut bridge, seen), 0);
        }
        assert_eq!(both(enable(&mut bridge, side)), (1, 1));
        for seen in Side::BOTH {
            assert_eq!(poll_link(&mut bridge, seen), UP);
        }
    }
    assert_eq!(both(bridge.set_cable(false)), (1, 1));
    assert!(!bridge.active());
    assert_eq!(link_status(&bridge, P), 0);
    none(bridge.set_cable(true));
    none(train(&mut bridge));
    assert_eq!(
        poll_link(&mut bridge, P),
        UP,
        "a link that comes back before the driver looks was never away"
    );
    none(write32(&mut bridge, P, NTBCNTL, 0x154 | 1));
    assert_eq!(link_status(&bridge, P), UP, "CFG_LOCK is no obstacle");
}

#[test]
fn a_link_needs_time_to_come_up_and_none_to_go_down() {
    let mut bridge = linked();
    let down = disable(&mut bridge, P);
    assert_eq!(both(down), (LINK_VECTOR, LINK_VECTOR));
    assert_eq!(poll_link(&mut bridge, P), 0);
    assert_eq!(poll_link(&mut bridge, S), 0);
    for _ in 0..3 {
        none(write32(&mut bridge, P, NTBCNTL, 0x154));
        none(bridge.tick());
        assert!(!bridge.active());
        none(disable(&mut bridge, P));
    }
    none(write32(&mut bridge, P, NTBCNTL, 0x154));
    none(bridge.tick());
    assert_eq!(both(bridge.tick()), (LINK_VECTOR, LINK_VECTOR));
    none(bridge.tick());
    assert_eq!(poll_link(&mut bridge, S), UP);
}

#[test]
fn a_host_without_driver_is_told_nothing() {
    let mut bridge = bridge();
    none(bridge.attach(P));
    probe(&mut bridge, P);
    none(enable(&mut bridge, P));
    none(bridge.attach(S));
    none(bridge.reset(S));
    none(bridge.detach(S));
    assert_eq!(link_status(&bridge, P), 0);
    assert_eq!(read64(&bridge, P, STATUS), 0);
}

#[test]
fn losing_the_peer_takes_the_link_down_until_its_driver_is_back() {
    for lose in [
        Bridge::detach as fn(&mut Bridge, Side) -> Effect,
        Bridge::reset,
    ] {
        let mut bridge = linked();
        show(&mut bridge, P, 0, 0x10_0000, SIZE[0]);
        show(&mut bridge, S, 0, 0x20_0000, SIZE[0]);
        none(write32(&mut bridge, S, SPAD, 7));
        assert_eq!(both(lose(&mut bridge, S)), (LINK_VECTOR, 0));
        assert_eq!(poll_link(&mut bridge, P), 0);
        assert_eq!(link_status(&bridge, S), 0);
        assert_eq!(read64(&bridge, S, STATUS), 0);
        assert_eq!(read32(&bridge, S, SPAD), 0);
        assert!(!bridge.ready(S) && bridge.ready(P));
        assert!(!bridge.bus_master(S));
        assert_eq!(bridge.translate(P, 0, 0, 4), Err(Blocked::NoLink));
        assert!(bridge.openings(P, 0).is_empty());

        none(bridge.attach(S));
        none(bridge.config_write(S, 4, &[6, 0]));
        none(bridge.config_write(S, 0x18, &BAR[0].to_le_bytes()));
        probe(&mut bridge, S);
        assert_eq!(both(enable(&mut bridge, S)), (LINK_VECTOR, LINK_VECTOR));
        assert_eq!(poll_link(&mut bridge, P), UP);
        assert_eq!(
            bridge.translate(S, 0, 0, 4),
            Ok(0x10_0000),
            "the one who stayed still shows what it showed"
        );
        assert_eq!(bridge.translate(P, 0, 0, 4), Err(Blocked::Closed));
    }
}

#[test]
fn each_host_has_scratchpads_of_its_own_that_the_peer_writes() {
    let mut bridge = linked();
    for i in 0..16u32 {
        let at = u64::from(i) * 4;
        none(write32(&mut bridge, P, B2B_SPAD + at, 0x1000 + i));
        none(write32(&mut bridge, P, SPAD + at, 0x2000 + i));
        assert_eq!(read32(&bridge, S, SPAD + at), 0x1000 + i);
        assert_eq!(read32(&bridge, S, EM_SPAD + at), 0x1000 + i);
        assert_eq!(read32(&bridge, P, SPAD + at), 0x2000 + i);
        none(write32(&mut bridge, S, EM_SPAD + at, 0x3000 + i));
        assert_eq!(read32(&bridge, S, SPAD + at), 0x3000 + i);
        assert_eq!(read32(&bridge, P, B2B_SPAD + at), 0x3000 + i);
        assert_eq!(read32(&bridge, S, B2B_SPAD + at), 0x2000 + i);
    }
}

#[test]
fn without_a_link_scratchpads_and_doorbells_are_lost() {
    let mut bridge = linked();
    let _ = disable(&mut bridge, S);
    for side in Side::BOTH {
        assert_eq!(poll_link(&mut bridge, side), 0);
    }
    none(write32(&mut bridge, P, B2B_SPAD, 7));
    none(write32(&mut bridge, P, DOORBELL, 1));
    assert_eq!(read32(&bridge, S, SPAD), 0);
    assert_eq!(read64(&bridge, S, STATUS), 0);
    assert_eq!(read32(&bridge, P, B2B_SPAD), u32::MAX);
}

#[test]
fn a_doorbell_is_set_disabled_and_cleared() {
    let mut bridge = linked();
    for bit in 0..32 {
        let bell = DOORBELL + 4 * bit;
        assert_eq!(both(write32(&mut bridge, P, bell, 1)), (0, 1 << bit));
        assert_eq!(read64(&bridge, S, STATUS), 1 << bit);
        assert_eq!(read32(&bridge, P, bell), 0);
        none(write32(&mut bridge, P, bell, 1));
        none(write64(&mut bridge, S, STATUS, 1 << bit));
        assert_eq!(read64(&bridge, S, STATUS), 0);
    }
    assert_eq!(read64(&bridge, P, STATUS), 0);
    none(write32(&mut bridge, P, DOORBELL, 0));
    none(write32(&mut bridge, P, DOORBELL, !1));
    none(write8(&mut bridge, P, DOORBELL + 1, 1));
    assert_eq!(read64(&bridge, S, STATUS), 0, "only the lowest bit rings");

    none(write64(&mut bridge, S, INT_DISABLE, 1 << 5));
    none(write32(&mut bridge, P, DOORBELL + 4 * 5, 1));
    assert_eq!(read64(&bridge, S, STATUS), 1 << 5);
    let effect = write64(&mut bridge, S, INT_DISABLE, 0);
    assert_eq!(
        both(effect),
        (0, 1 << 5),
        "enabling delivers what is pending"
    );
    none(write64(&mut bridge, S, STATUS, !(1 << 5)));
    assert_eq!(read64(&bridge, S, STATUS), 1 << 5, "only ones clear");
}

#[test]
fn a_status_is_cleared_in_halves_too() {
    let mut bridge = linked();
    let _ = write32(&mut bridge, P, DOORBELL, 1);
    let _ = bridge.set_cable(false);
    assert_eq!(read64(&bridge, S, STATUS), 1 << 32 | 1);
    none(write32(&mut bridge, S, STATUS + 4, 1));
    assert_eq!(read64(&bridge, S, STATUS), 1);
    none(write8(&mut bridge, S, STATUS, 1));
    assert_eq!(read64(&bridge, S, STATUS), 0);
}

#[test]
fn a_host_rings_itself_on_the_outer_side() {
    let mut bridge = linked();
    let effect = write32(&mut bridge, P, EM_DOORBELL + 4 * 7, 1);
    assert_eq!(both(effect), (1 << 7, 0));
    assert_eq!(read64(&bridge, P, STATUS), 1 << 7);
    assert_eq!(read32(&bridge, P, EM_DOORBELL + 4 * 7), 0);
}

#[test]
fn vectors_are_as_programmed() {
    let mut bridge = linked();
    none(write8(&mut bridge, S, INTVEC + 3, 32));
    none(write8(&mut bridge, S, INTVEC + 4, 33));
    assert_eq!(
        both(write32(&mut bridge, P, DOORBELL + 4 * 3, 1)),
        (0, 1 << 32)
    );
    none(write32(&mut bridge, P, DOORBELL + 4 * 4, 1));
    assert_eq!(read64(&bridge, S, STATUS), 1 << 4 | 1 << 3);
    none(write8(&mut bridge, S, INTVEC + 4, 0xff));
    none(write64(&mut bridge, S, STATUS, 1 << 4));
    none(write32(&mut bridge, P, DOORBELL + 4 * 4, 1));
}

#[test]
fn several_doorbells_in_one_write() {
    let mut bridge = linked();
    let ones = [1u32.to_le_bytes(), 1u32.to_le_bytes()].concat();
    assert_eq!(both(bridge.write(P, DOORBELL + 4 * 8, &ones)), (0, 3 << 8));
}

#[test]
fn what_rings_the_peer() {
    let bridge = bridge();
    assert!(bridge.rings(P, DOORBELL, 4));
    assert!(bridge.rings(S, DOORBELL + 4 * 31, 4));
    assert!(bridge.rings(P, DOORBELL - 4, 8));
    assert!(!bridge.rings(P, DOORBELL - 4, 4));
    assert!(!bridge.rings(P, DOORBELL + 4 * 32, 4));
    assert!(!bridge.rings(P, EM_DOORBELL, 4));
    assert!(!bridge.rings(P, B2B_SPAD, 4));
    assert!(!bridge.rings(P, u64::MAX, usize::MAX));
}

#[test]
fn windows_are_closed_until_they_are_set() {
    let mut bridge = linked();
    for side in Side::BOTH {
        for (window, size) in (0..).zip(SIZE) {
            assert_eq!(bridge.translate(side, window, 0, 1), Err(Blocked::Closed));
            show(&mut bridge, side.peer(), window, 2 * size, size);
            assert_eq!(bridge.translate(side, window, 0, 4), Ok(2 * size));
            let last = size - 4;
            assert_eq!(bridge.translate(side, window, last, 4), Ok(2 * size + last));
            assert_eq!(
                bridge.translate(side, window, last, 5),
                Err(Blocked::Closed)
            );
            assert_eq!(
                bridge.translate(side, window, u64::MAX, 4),
                Err(Blocked::Closed)
            );
            let opening = Opening {
                offset: 0,
                size,
                address: 2 * size,
            };
            assert_eq!(bridge.openings(side, window), [opening]);
            show(&mut bridge, side.peer(), window, 0, 0);
            assert_eq!(bridge.translate(side, window, 0, 1), Err(Blocked::Closed));
            assert!(bridge.openings(side, window).is_empty());
        }
        assert_eq!(
            bridge.translate(side, WINDOW.len(), 0, 1),
            Err(Blocked::Closed)
        );
    }
}

#[test]
fn the_lower_of_both_limits_holds_and_both_are_in_pages() {
    let mut bridge = linked();
    show(&mut bridge, S, 0, 0, SIZE[0]);
    let (_, limit, outer_limit, outer) = WINDOW[0];
    let outer = read64(&bridge, S, outer) & !0xf;
    for (inner_size, outer_size, open) in [
        (0x3000, 0x5000, 0x3000),
        (0x5000, 0x3000, 0x3000),
        (0x3fff, 0x5000, 0x3000),
        (0, 0x5000, 0),
        (0x5000, 0, 0),
        (SIZE[0] + 0x1000, SIZE[0], 0),
        (SIZE[0], SIZE[0] + 0x1000, 0),
        (0u64.wrapping_sub(0x1000), SIZE[0], 0),
        (SIZE[0], SIZE[0], SIZE[0]),
    ] {
        none(write64(
            &mut bridge,
            S,
            limit,
            BAR[0].wrapping_add(inner_size),
        ));
        none(write64(
            &mut bridge,
            S,
            outer_limit,
            outer.wrapping_add(outer_size),
        ));
        let found = bridge.openings(P, 0).first().map_or(0, |open| open.size);
        assert_eq!(found, open, "{inner_size:#x} {outer_size:#x}");
    }
    assert!(
        bridge.openings(S, 0).is_empty(),
        "the other direction is another"
    );
}

#[test]
fn a_limit_is_relative_to_where_the_bar_is() {
    let mut bridge = linked();
    show(&mut bridge, S, 0, 0, SIZE[0]);
    assert_eq!(bridge.translate(P, 0, 0, 4), Ok(0));
    let moved = BAR[0] + 0x1000_0000;
    none(bridge.config_write(S, 0x18, &moved.to_le_bytes()));
    assert_eq!(bridge.translate(P, 0, 0, 4), Err(Blocked::Closed));
    none(write64(&mut bridge, S, WINDOW[0].1, moved + 0x1000));
    assert_eq!(bridge.openings(P, 0)[0].size, 0x1000);
}

#[test]
fn a_fixed_window_refuses_a_translation_but_takes_a_limit() {
    let mut bridge = bridge_with(true);
    let (xbase, limit, ..) = WINDOW[1];
    none(write64(&mut bridge, S, xbase, 8 << 30));
    assert_eq!(read64(&bridge, S, xbase), 0);
    none(write64(&mut bridge, S, limit, BAR[1] + 0x1000));
    assert_eq!(read64(&bridge, S, limit), BAR[1] + 0x1000);
    none(write64(&mut bridge, S, WINDOW[0].0, 1 << 20));
    assert_eq!(
        read64(&bridge, S, WINDOW[0].0),
        1 << 20,
        "the other is free"
    );
}

/// Both ends must name the same place between the bridges, one must send and the other accept.
#[test]
fn ends_that_do_not_fit_let_nothing_through() {
    let mut bridge = linked();
    show(&mut bridge, S, 0, 0, SIZE[0]);
    let passes = |bridge: &mut Bridge| {
        none(write32(bridge, S, SPAD, 0));
        none(write32(bridge, P, B2B_SPAD, 9));
        (
            bridge.translate(P, 0, 0, 4).is_ok(),
            read32(bridge, S, SPAD) == 9,
        )
    };
    assert_eq!(passes(&mut bridge), (true, true));
    none(write16(&mut bridge, P, SPCICMD, 2));
    assert_eq!(
        passes(&mut bridge),
        (false, false),
        "the sender is no master"
    );
    none(write16(&mut bridge, P, SPCICMD, 4));
    assert_eq!(passes(&mut bridge), (true, true));
    none(write16(&mut bridge, S, SPCICMD, 4));
    assert_eq!(
        passes(&mut bridge),
        (false, false),
        "the other takes nothing"
    );
    none(write16(&mut bridge, S, SPCICMD, 6));
    none(write64(&mut bridge, P, 0x4008, 0x10_0000));
    assert_eq!(
        passes(&mut bridge),
        (true, false),
        "the registers are elsewhere"
    );
    none(write64(&mut bridge, S, 0x4510, 0x10_0000));
    assert_eq!(passes(&mut bridge), (true, true));
    none(write64(&mut bridge, P, 0x4010, 0x10_0000));
    assert_eq!(
        passes(&mut bridge),
        (false, true),
        "the window is elsewhere"
    );
}

#[test]
fn windows_need_the_peer_to_be_bus_master() {
    let mut bridge = linked();
    show(&mut bridge, S, 0, 0, SIZE[0]);
    none(bridge.config_write(S, 4, &[2, 0]));
    assert_eq!(bridge.translate(P, 0, 0, 4), Err(Blocked::NotMaster));
}

#[test]
fn what_wraps_around_goes_nowhere() {
    let mut bridge = linked();
    let top = 0u64.wrapping_sub(SIZE[0]);
    show(&mut bridge, S, 0, top, SIZE[0]);
    assert_eq!(bridge.translate(P, 0, SIZE[0] - 8, 4), Ok(u64::MAX - 7));
    assert_eq!(
        bridge.translate(P, 0, SIZE[0] - 4, 4),
        Err(Blocked::Address)
    );
}

#[test]
fn a_pulled_cable_leaves_registers_alone() {
    let mut bridge = linked();
    show(&mut bridge, S, 0, 0x10_0000, SIZE[0]);
    assert_eq!(both(bridge.set_cable(false)), (LINK_VECTOR, LINK_VECTOR));
    none(bridge.set_cable(false));
    assert_eq!(bridge.translate(P, 0, 0, 4), Err(Blocked::NoLink));
    assert_eq!(bridge.openings(P, 0).len(), 1, "open, were there a link");
    for side in Side::BOTH {
        assert_eq!(poll_link(&mut bridge, side), 0);
        assert!(bridge.ready(side));
    }
    none(bridge.set_cable(true));
    assert_eq!(both(train(&mut bridge)), (LINK_VECTOR, LINK_VECTOR));
    assert_eq!(bridge.translate(P, 0, 0, 4), Ok(0x10_0000));
}

#[test]
fn byte_enables_are_respected() {
    let mut bridge = bridge();
    none(write32(&mut bridge, P, SPAD, 0x4433_2211));
    none(bridge.write(P, SPAD + 2, &[0xaa]));
    assert_eq!(read32(&bridge, P, SPAD), 0x44aa_2211);
    assert_eq!(read(&bridge, P, SPAD + 1), [0x22, 0xaa, 0x44]);
    none(bridge.write(P, SPAD + 3, &[1, 2]));
    assert_eq!(read32(&bridge, P, SPAD), 0x01aa_2211);
    assert_eq!(read32(&bridge, P, SPAD + 4), 2);
    assert_eq!(read(&bridge, P, u64::MAX - 1), [0, 0, 0, 0]);
    none(bridge.write(P, u64::MAX - 1, &[1; 8]));
}

#[test]
fn windows_a_function_cannot_have() {
    let window = |size| Window {
        size,
        direct: false,
    };
    let build = |sizes: &[u64]| Bridge::new(&sizes.iter().copied().map(window).collect::<Vec<_>>());
    assert!(build(&[4096, 1 << 39]).is_ok());
    assert!(build(&[1 << 38, 4096]).is_ok());
    for (sizes, expected) in [
        (&[1 << 20; 1][..], "intel has 2 memory windows, not 1"),
        (&[1 << 20; 3], "intel has 2 memory windows, not 3"),
        (
            &[1 << 39, 1 << 20],
            "intel's window 0 is a 64-bit BAR of 4K to 256G",
        ),
        (
            &[1 << 20, 1 << 40],
            "intel's window 1 is a 64-bit BAR of 4K to 512G",
        ),
        (&[2048, 1 << 20], "intel's window 0"),
    ] {
        let error = build(sizes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// An access: by the primary or not, a write or not, where, and what.
fn access() -> impl Strategy<Value = (bool, bool, u64, Vec<u8>)> {
    let offset = prop_oneof![
        0u64..0x200,
        0x4000u64..0x4200,
        0x4500u64..0x4530,
        0u64..0x1_0000
    ];
    let data = proptest::collection::vec(any::<u8>(), 0..20);
    (any::<bool>(), any::<bool>(), offset, data)
}

proptest! {
    /// Whatever is written where, nothing panics, only the 33 vectors are signalled, and the fixed window stays where it
    /// is; bits that cannot be written keep their value.
    #[test]
    fn any_accesses(accesses in proptest::collection::vec(access(), 0..60)) {
        let mut bridge = bridge_with(true);
        for side in Side::BOTH {
            let _ = bridge.attach(side);
            probe(&mut bridge, side);
        }
        for (primary, write, offset, mut data) in accesses {
            let side = if primary { P } else { S };
            if write {
                let effect = bridge.write(side, offset, &data);
                prop_assert_eq!((effect.vectors(P) | effect.vectors(S)) >> VECTORS, 0);
            } else {
                bridge.read(side, offset, &mut data);
            }
            for side in Side::BOTH {
                prop_assert_eq!(read64(&bridge, side, WINDOW[1].0), 0);
                prop_assert_eq!(read64(&bridge, side, 0x4518) & 0xfff, 0xc);
                prop_assert_eq!(u32::from(link_status(&bridge, side) == UP), u32::from(bridge.active()));
            }
        }
    }

    /// However host, driver and cable come and go, a side that has been told of the link last knows it as it is, once it
    /// looks; and a side with nothing to look at is told of a change.
    #[test]
    fn no_change_of_the_link_is_missed(steps in proptest::collection::vec((0u8..7, any::<bool>(), any::<bool>()), 1..60)) {
        let mut bridge = bridge();
        let mut known = [0; 2];
        for side in Side::BOTH {
            let _ = bridge.attach(side);
            probe(&mut bridge, side);
        }
        for (step, primary, look) in steps {
            let side = if primary { P } else { S };
            let effect = match step {
                0 => write32(&mut bridge, side, NTBCNTL, 0x154),
                1 => disable(&mut bridge, side),
                2 => bridge.set_cable(true),
                3 => bridge.set_cable(false),
                4 => bridge.attach(side),
                5 => bridge.detach(side),
                _ => train(&mut bridge),
            };
            for side in Side::BOTH {
                if effect.vectors(side) != 0 {
                    prop_assert_eq!(effect.vectors(side), LINK_VECTOR);
                    prop_assert!(read64(&bridge, side, STATUS) & LINK != 0);
                }
            }
            if step == 4 || step == 5 {
                // It starts anew.
                probe(&mut bridge, side);
                known[usize::from(side == S)] = link_status(&bridge, side);
            }
            for (side, known) in Side::BOTH.into_iter().zip(&mut known) {
                let now = link_status(&bridge, side);
                let pending = read64(&bridge, side, STATUS) & LINK != 0;
                prop_assert!(now == *known || pending, "a change that nothing tells of");
                if look {
                    *known = poll_link(&mut bridge, side);
                }
            }
        }
    }

    /// Windows obey the smaller limit, and what is translated lies where the opening says.
    #[test]
    fn translations_stay_within_the_opening(inner in 0u64..=256, outer in 0u64..=256, base in 0u64..1 << 20, offset in 0u64..0x10_1000, length in 0usize..64) {
        let mut bridge = linked();
        let (xbase, limit, outer_limit, _) = WINDOW[0];
        none(write64(&mut bridge, S, xbase, base << 20));
        none(write64(&mut bridge, S, limit, BAR[0] + inner * 4096));
        none(write64(&mut bridge, S, outer_limit, 0x40_0000_0000 + outer * 4096));
        let open = inner.min(outer) * 4096;
        let expected = if open > 0 && offset + length as u64 <= open { Ok((base << 20) + offset) } else { Err(Blocked::Closed) };
        prop_assert_eq!(bridge.translate(P, 0, offset, length), expected);
        prop_assert_eq!(bridge.openings(P, 0).first().map_or(0, |open| open.size), open);
    }
}

#[test]
fn control_bits_are_as_the_driver_names_them() {
    assert_eq!((CFG_LOCK, registers::DISABLE), (1, 2));
    assert_eq!((MEMORY, MASTER), (2, 4));
}
