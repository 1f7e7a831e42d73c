// SPDX-License-Identifier: GPL-2.0

//! What each register does, from both sides.

use super::*;
use crate::model::switchtec::{Block, LUT_SIZE, WINDOWS};
use crate::model::Family;
use proptest::prelude::*;

const P: Side = Side::Primary;
const S: Side = Side::Secondary;

const MRPC_COMMAND: u64 = 0x800;
const MRPC_STATUS: u64 = 0x804;
const MRPC_RETURN: u64 = 0x808;
const MRPC_HEADER: u64 = 0x4000 + 0x13c;
/// A control block's registers.
const STATUS: u64 = 0x00;
const OPERATION: u64 = 0x04;
const BAR_ERROR: u64 = 0x10;
const LUT_COUNT: u64 = 0x14;
const LUT_ERROR: u64 = 0x18;
const REQUESTERS: u64 = 0x400;
const LUTS: u64 = 0x1000;
/// A doorbell block's registers.
const ODB: u64 = 0x1000;
const ODB_MASK: u64 = 0x1008;
const IDB: u64 = 0x1010;
const IDB_MASK: u64 = 0x1018;
const VECTOR_MAP: u64 = 0x1020;
const MESSAGE_MAP: u64 = 0x1060;
const OMSG: u64 = 0x1068;
const IMSG: u64 = 0x1088;
const LINK_STATE: u64 = 0x13_4d30;

const LOCK: u32 = 1;
const CFG: u32 = 2;
const RESET: u32 = 3;
const NORMAL: u32 = 1;
const LOCKED: u32 = 2;
const LOCKING: u32 = 3;

/// Where a register of a side's control block is.
fn control(side: Side, offset: u64) -> u64 {
    0x1_4000 + 0x2000 * partition(side) + offset
}

fn bar_entry(side: Side, bar: u64, offset: u64) -> u64 {
    control(side, 0x40 + 16 * bar + offset)
}

/// Where a register of a side's doorbell block is.
fn doorbell(side: Side, offset: u64) -> u64 {
    0x7_4000 + 0x4000 * partition(side) + offset
}

fn link_state(side: Side) -> u64 {
    LINK_STATE + 0x1000 * partition(side)
}

fn bridge_with(direct: bool) -> Bridge {
    let window = |size, direct| Window { size, direct };
    let mut bridge = Bridge::new(&[window(2 << 20, false), window(1 << 20, direct)]).unwrap();
    for side in Side::BOTH {
        none(bridge.config_write(side, 4, &[6, 0]));
    }
    bridge
}

/// Both hosts are there, nothing is set up.
fn bridge() -> Bridge {
    let mut bridge = bridge_with(false);
    none(bridge.attach(P));
    none(bridge.attach(S));
    bridge
}

fn read(bridge: &Bridge, side: Side, offset: u64, size: usize) -> u64 {
    let mut data = [0; 8];
    bridge.read(side, offset, &mut data[..size]);
    u64::from_le_bytes(data)
}

fn read32(bridge: &Bridge, side: Side, offset: u64) -> u32 {
    read(bridge, side, offset, 4).try_into().unwrap()
}

fn read64(bridge: &Bridge, side: Side, offset: u64) -> u64 {
    read(bridge, side, offset, 8)
}

fn write(bridge: &mut Bridge, side: Side, offset: u64, value: u64, size: usize) -> Effect {
    bridge.write(side, offset, &value.to_le_bytes()[..size])
}

fn write32(bridge: &mut Bridge, side: Side, offset: u64, value: u32) -> Effect {
    write(bridge, side, offset, value.into(), 4)
}

fn write64(bridge: &mut Bridge, side: Side, offset: u64, value: u64) -> Effect {
    write(bridge, side, offset, value, 8)
}

fn vectors(effect: Effect) -> (u64, u64) {
    (effect.vectors(P), effect.vectors(S))
}

fn none(effect: Effect) {
    assert_eq!(vectors(effect), (0, 0));
}

/// An operation on a control block, and the status that the driver then reads.
fn operate(bridge: &mut Bridge, side: Side, owner: Side, operation: u32) -> u32 {
    none(write32(bridge, side, control(owner, OPERATION), operation));
    read32(bridge, side, control(owner, STATUS))
}

/// `config_rsvd_lut_win`: the peer's LUT entry shows this side's memory.
fn show_lut(bridge: &mut Bridge, side: Side, entry: u64, address: u64) {
    let peer = side.peer();
    assert_eq!(operate(bridge, side, peer, LOCK), LOCKED);
    let value = read32(bridge, side, bar_entry(peer, 2, 0)) & 0xff | 1 << 5 | 16 << 8 | 15 << 14;
    none(write32(bridge, side, bar_entry(peer, 2, 0), value));
    let value = 1 | partition(side) << 1 | address;
    none(write64(
        bridge,
        side,
        control(peer, LUTS + 8 * entry),
        value,
    ));
    assert_eq!(operate(bridge, side, peer, CFG), NORMAL);
}

/// `switchtec_ntb_mw_set_direct` and what is around it; the status after CFG.
fn show_direct(bridge: &mut Bridge, side: Side, bar: u64, address: u64, size: u64) -> u32 {
    let peer = side.peer();
    assert_eq!(operate(bridge, side, peer, LOCK), LOCKED);
    let value = read32(bridge, side, bar_entry(peer, bar, 0)) | 1 << 4;
    none(write32(bridge, side, bar_entry(peer, bar, 0), value));
    let low = size & 0xffff_f000 | u64::from(size.ilog2());
    none(write(bridge, side, bar_entry(peer, bar, 4), low, 4));
    none(write(
        bridge,
        side,
        control(peer, 0xa0 + 16 * bar),
        size >> 32,
        4,
    ));
    let target = partition(side) | address;
    none(write64(bridge, side, bar_entry(peer, bar, 8), target));
    operate(bridge, side, peer, CFG)
}

/// `config_req_id_table`.
fn let_through(bridge: &mut Bridge, side: Side) {
    assert_eq!(operate(bridge, side, side, LOCK), LOCKED);
    none(write32(bridge, side, control(side, REQUESTERS), 1));
    assert_eq!(operate(bridge, side, side, CFG), NORMAL);
}

/// As the driver leaves it.
fn linked() -> Bridge {
    let mut bridge = bridge();
    for side in Side::BOTH {
        let peer = side.peer();
        for port in Side::BOTH {
            none(write32(&mut bridge, side, link_state(port), 1 | 1 << 3));
        }
        let_through(&mut bridge, side);
        none(write64(
            &mut bridge,
            side,
            doorbell(side, IDB_MASK),
            0xf << 60,
        ));
        let mask = 0x0fff_ffff << (32 * partition(peer));
        none(write64(&mut bridge, side, doorbell(side, ODB_MASK), mask));
        let map = (0..4).fold(0, |map, i| {
            map | (i | (partition(peer) as u32) << 2) << (8 * i)
        });
        none(write32(&mut bridge, side, doorbell(side, MESSAGE_MAP), map));
        for message in 0..4 {
            let value = 1 << 32 | 1 << 40;
            none(write64(
                &mut bridge,
                side,
                doorbell(side, IMSG + 8 * message),
                value,
            ));
        }
        show_lut(&mut bridge, side, 0, 0x100_0000 << partition(side));
        for vector in 0..64 {
            let value = if vector < 60 { 1 } else { 2 };
            none(write(
                &mut bridge,
                side,
                doorbell(side, VECTOR_MAP + vector),
                value,
                1,
            ));
        }
    }
    bridge
}

fn places(block: &'static Block) -> impl Iterator<Item = (&'static gas::Register, u64, Side)> {
    let owners: &[Side] = if block.count == 1 { &[P] } else { &Side::BOTH };
    owners.iter().flat_map(move |owner| {
        let first = if block.count == 1 {
            0
        } else {
            block.stride * partition(*owner)
        };
        block
            .registers
            .iter()
            .map(move |register| (register, block.offset + first + register.offset, *owner))
    })
}

#[test]
fn reset_values() {
    let bridge = bridge_with(false);
    for block in &BLOCKS {
        for (register, offset, owner) in places(block) {
            for side in Side::BOTH {
                let number = if block.count == 1 {
                    partition(side)
                } else {
                    partition(owner)
                };
                let expected = match register.role {
                    Role::PartitionNumber | Role::PartitionOwner => number,
                    Role::TargetPartitions => 0b10,
                    Role::Status => NORMAL.into(),
                    Role::LutEntries => 16,
                    Role::Requester => 0xf1 << 1,
                    _ => register.reset,
                };
                let last = offset + register.stride * (register.count as u64 - 1);
                assert_eq!(
                    read(&bridge, side, offset, register.size),
                    expected,
                    "{}",
                    register.name
                );
                if register.count > 1 && register.role == Role::Plain {
                    assert_eq!(read(&bridge, side, last, register.size), register.reset);
                }
            }
        }
    }
}

/// Each register that only holds its value: its own partition changes `own` bits, the other one `peer` bits, and both
/// see the same, unless each has one of its own.
#[test]
fn who_may_write_what() {
    let mut seen = 0;
    for block in &BLOCKS {
        for (register, offset, owner) in places(block) {
            if !matches!(
                register.role,
                Role::Plain
                    | Role::MrpcInput
                    | Role::MrpcOutput
                    | Role::MrpcStatus
                    | Role::MrpcReturn
                    | Role::DoorbellAllowed
                    | Role::DoorbellEnabled
                    | Role::DoorbellVector
                    | Role::MessageMap
                    | Role::MessageOutStatus
                    | Role::MessageIn
                    | Role::MessageInEnabled
                    | Role::MessageInSource
            ) {
                continue;
            }
            seen += 1;
            for side in Side::BOTH {
                let mut bridge = bridge_with(false);
                let own = block.count == 1 || side == owner;
                let mask = if own { register.own } else { register.peer };
                none(write(&mut bridge, side, offset, u64::MAX, register.size));
                let expected = register.reset & !mask | mask;
                let there = read(&bridge, side, offset, register.size);
                assert_eq!(there, expected, "{} by {side}", register.name);
                let seen = if block.count == 1 {
                    register.reset
                } else {
                    expected
                };
                let other = read(&bridge, side.peer(), offset, register.size);
                assert_eq!(other, seen, "{} as the other sees it", register.name);
            }
        }
    }
    assert!(seen > 60);
}

#[test]
fn bytes_that_are_not_written_stay() {
    let mut bridge = bridge();
    none(write64(&mut bridge, P, doorbell(P, ODB_MASK), u64::MAX));
    none(write(&mut bridge, P, doorbell(P, ODB_MASK + 5), 0, 1));
    assert_eq!(
        read64(&bridge, P, doorbell(P, ODB_MASK)),
        0xffff_00ff_ffff_ffff
    );
    assert_eq!(read(&bridge, P, doorbell(P, ODB_MASK + 4), 2), 0x00ff);
}

#[test]
fn what_the_switch_is() {
    let bridge = bridge();
    assert_eq!(read32(&bridge, S, 0x2000), 0x8536);
    let mut text = [0; 16];
    bridge.read(P, 0x2110, &mut text);
    assert_eq!(&text, b"PFX 96XG3       ");
    let mut text = [0; 8];
    bridge.read(P, 0x2124, &mut text);
    assert_eq!(&text, b"MSCC    ");
    for side in Side::BOTH {
        assert_eq!(read(&bridge, side, 0x2018, 1), partition(side));
        assert_eq!(read(&bridge, side, 0x1_0001, 1), partition(side));
        // Each can reach the other: ntp_info[].target_part_low.
        let target = read32(&bridge, side, 0x1_0024 + 16 * partition(side));
        assert_eq!(target, 1 << partition(side.peer()));
    }
    assert_eq!(read32(&bridge, P, 0x1_0024 + 32), 0, "no third partition");
}

/// The kernel makes these ids DMA aliases when it finds the device, before anything is enabled.
#[test]
fn proxy_ids_are_there_from_the_start() {
    let mut bridge = bridge();
    for entry in 0..7 {
        let value = read32(&bridge, P, control(S, REQUESTERS + 4 * entry));
        assert_eq!(value, (0xf1 + entry as u32) << 1);
    }
    assert_eq!(read32(&bridge, P, control(S, REQUESTERS + 28)), 0);
    assert_eq!(operate(&mut bridge, P, P, LOCK), LOCKED);
    none(write32(
        &mut bridge,
        P,
        control(P, REQUESTERS + 4),
        0x1234_ffff,
    ));
    let value = read32(&bridge, P, control(P, REQUESTERS + 4));
    assert_eq!(value, 0x1234_0001 | 0xf2 << 1);
}

#[test]
fn bars_that_are_windows_are_valid() {
    let mut bridge = bridge();
    for side in Side::BOTH {
        let valid = (0..6).filter(|bar| read32(&bridge, side, bar_entry(S, *bar, 0)) & 1 != 0);
        assert_eq!(valid.collect::<Vec<_>>(), [2, 4]);
    }
    assert_eq!(operate(&mut bridge, P, P, LOCK), LOCKED);
    for bar in 0..6 {
        none(write32(&mut bridge, P, bar_entry(P, bar, 0), u32::MAX));
        let valid = u32::from(bar == 2 || bar == 4);
        assert_eq!(read32(&bridge, P, bar_entry(P, bar, 0)), 0x7f_ff30 | valid);
    }
}

#[test]
fn lut_entries_are_half_of_the_first_window() {
    let count = |size| {
        let window = |size| Window {
            size,
            direct: false,
        };
        let bridge = Bridge::new(&[window(size), window(4096)]).unwrap();
        read(&bridge, P, control(S, LUT_COUNT), 2)
    };
    assert_eq!(
        [128 << 10, 2 << 20, 64 << 20, 1 << 30].map(count),
        [1, 16, 512, 512]
    );
    let mut bridge = bridge();
    assert_eq!(operate(&mut bridge, P, P, LOCK), LOCKED);
    for entry in [15, 16] {
        none(write64(
            &mut bridge,
            P,
            control(P, LUTS + 8 * entry),
            u64::MAX,
        ));
    }
    assert_eq!(read64(&bridge, P, control(P, LUTS + 8 * 15)), u64::MAX);
    assert_eq!(
        read64(&bridge, P, control(P, LUTS + 8 * 16)),
        0,
        "there is no such entry"
    );
}

#[test]
fn windows_that_a_switch_cannot_have() {
    let window = |size, direct| Window { size, direct };
    let family = Family::Switchtec;
    let error = |windows: &[Window]| Bridge::new(windows).unwrap_err();
    assert!(matches!(
        error(&[window(1 << 20, false)]),
        WindowError::Count {
            needed: 2,
            given: 1,
            ..
        }
    ));
    assert_eq!(
        error(&[window(1 << 20, true), window(1 << 20, true)]),
        WindowError::Direct { family, window: 0 }
    );
    assert!(matches!(
        error(&[window(64 << 10, false), window(1 << 20, true)]),
        WindowError::Size { window: 0, .. }
    ));
}

#[test]
fn entries_take_a_lock() {
    let mut bridge = bridge();
    let entry = control(S, LUTS);
    none(write64(&mut bridge, P, entry, 1));
    assert_eq!(read64(&bridge, P, entry), 0, "nobody has the lock");
    assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKED);
    assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKED, "again");
    none(write64(&mut bridge, S, entry, 1));
    assert_eq!(read64(&bridge, S, entry), 0, "the other has the lock");
    none(write64(&mut bridge, P, entry, 0x7_0000));
    assert_eq!(read64(&bridge, S, entry), 0x7_0000);
    assert_eq!(operate(&mut bridge, P, S, CFG), NORMAL);
    none(write64(&mut bridge, P, entry, 1));
    assert_eq!(
        read64(&bridge, P, entry),
        0x7_0000,
        "CFG gave the lock back"
    );
}

/// Both drivers lock both blocks in their probe: neither may lose what it writes, or take the other's lock for an error.
#[test]
fn a_lock_is_waited_for() {
    let mut bridge = bridge();
    assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKED);
    assert_eq!(operate(&mut bridge, S, S, LOCK), LOCKING);
    assert_eq!(read32(&bridge, P, control(S, STATUS)), LOCKED);
    assert_eq!(
        operate(&mut bridge, S, S, CFG),
        LOCKING,
        "it does not have it"
    );
    assert_eq!(operate(&mut bridge, P, S, CFG), NORMAL);
    assert_eq!(read32(&bridge, S, control(S, STATUS)), LOCKED);
    assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKING);
    assert_eq!(operate(&mut bridge, P, S, RESET), NORMAL, "waits no longer");
    assert_eq!(operate(&mut bridge, S, S, CFG), NORMAL);
    assert_eq!(read32(&bridge, P, control(S, STATUS)), NORMAL);
}

#[test]
fn a_host_that_goes_leaves_no_lock() {
    for detach in [true, false] {
        let mut bridge = bridge();
        assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKED);
        none(write64(&mut bridge, P, control(S, LUTS), 0x7_0000));
        assert_eq!(operate(&mut bridge, S, S, LOCK), LOCKING);
        none(if detach {
            bridge.detach(P)
        } else {
            bridge.reset(P)
        });
        assert_eq!(read32(&bridge, S, control(S, STATUS)), LOCKED);
        assert_eq!(
            read64(&bridge, S, control(S, LUTS)),
            0,
            "what it had written is gone"
        );
    }
}

#[test]
fn entries_take_effect_with_cfg() {
    let mut bridge = bridge();
    let_through(&mut bridge, S);
    assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKED);
    none(write32(
        &mut bridge,
        P,
        bar_entry(S, 2, 0),
        1 << 5 | 16 << 8 | 15 << 14,
    ));
    none(write64(&mut bridge, P, control(S, LUTS + 8), 0x55_0001));
    assert_eq!(bridge.translate(S, 0, LUT_SIZE, 4), Err(Blocked::Closed));
    assert_eq!(operate(&mut bridge, P, S, CFG), NORMAL);
    assert_eq!(bridge.translate(S, 0, LUT_SIZE + 8, 4), Ok(0x55_0008));
    assert_eq!(bridge.openings(P, 0), [], "it is the other side's window");

    assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKED);
    none(write64(&mut bridge, P, control(S, LUTS + 8), 0));
    assert_eq!(operate(&mut bridge, P, S, RESET), NORMAL);
    assert_eq!(
        read64(&bridge, P, control(S, LUTS + 8)),
        0x55_0001,
        "taken back"
    );
    assert_eq!(bridge.openings(S, 0).len(), 1);
}

#[test]
fn direct_windows() {
    let mut bridge = linked();
    assert_eq!(show_direct(&mut bridge, P, 2, 0x300_0000, 1 << 20), NORMAL);
    assert_eq!(
        show_direct(&mut bridge, P, 4, 0x1_0000_0000, 1 << 19),
        NORMAL
    );
    assert_eq!(bridge.translate(S, 0, 0x10_0004, 4), Ok(0x300_0004));
    assert_eq!(bridge.translate(S, 1, 0x7_fffc, 4), Ok(0x1_0007_fffc));
    assert_eq!(bridge.translate(S, 1, 0x8_0000, 4), Err(Blocked::Closed));
    assert_eq!(
        bridge.openings(S, 0).len(),
        2,
        "the LUT entry is still there"
    );
    assert_eq!(bridge.translate(P, 1, 0, 4), Err(Blocked::Closed));
}

/// What `switchtec_ntb_mw_set_trans` does when CFG fails: it clears the entry and does CFG again, without a lock of its own.
#[test]
fn what_cannot_be_had_is_an_error_and_changes_nothing() {
    let mut bridge = linked();
    assert_eq!(show_direct(&mut bridge, P, 4, 0, 1 << 19), NORMAL);
    assert_eq!(show_direct(&mut bridge, P, 4, 0, 1 << 21), LOCKED);
    assert_eq!(read32(&bridge, P, control(S, BAR_ERROR)), 1 << 31 | 4);
    assert_eq!(read32(&bridge, P, control(S, LUT_ERROR)), 0);
    assert_eq!(bridge.openings(S, 1)[0].size, 1 << 19);
    none(write32(&mut bridge, P, bar_entry(S, 4, 0), 0));
    assert_eq!(operate(&mut bridge, P, S, CFG), NORMAL);
    assert_eq!(bridge.openings(S, 1), []);
    assert_eq!(read32(&bridge, P, control(S, BAR_ERROR)), 0);

    assert_eq!(operate(&mut bridge, P, S, LOCK), LOCKED);
    none(write64(&mut bridge, P, control(S, LUTS + 24), 1 | 1 << 1));
    assert_eq!(operate(&mut bridge, P, S, CFG), LOCKED);
    assert_eq!(read32(&bridge, P, control(S, LUT_ERROR)), 1 << 31 | 3);
    assert_eq!(read32(&bridge, P, control(S, BAR_ERROR)), 0);
}

#[test]
fn a_mapped_window_cannot_be_moved() {
    let mut bridge = bridge_with(true);
    none(bridge.attach(P));
    none(bridge.attach(S));
    assert_eq!(show_direct(&mut bridge, P, 4, 1 << 20, 1 << 20), LOCKED);
    assert_eq!(read32(&bridge, P, control(S, BAR_ERROR)), 1 << 31 | 4);
    assert_eq!(show_direct(&mut bridge, P, 4, 0, 1 << 20), NORMAL);
    assert_eq!(bridge.openings(S, 1)[0].address, 0);
}

#[test]
fn what_a_window_needs() {
    let mut bridge = linked();
    let address = 0x100_0000 + 4;
    assert_eq!(bridge.translate(S, 0, 4, 4), Ok(address));
    none(bridge.config_write(P, 4, &[2, 0]));
    assert_eq!(bridge.translate(S, 0, 4, 4), Err(Blocked::NotMaster));
    none(bridge.config_write(P, 4, &[6, 0]));
    assert_eq!(operate(&mut bridge, S, S, LOCK), LOCKED);
    none(write32(&mut bridge, S, control(S, REQUESTERS), 0));
    assert_eq!(operate(&mut bridge, S, S, CFG), NORMAL);
    assert_eq!(bridge.translate(S, 0, 4, 4), Err(Blocked::Requester));
    let_through(&mut bridge, S);
    assert_eq!(bridge.translate(S, 0, 4, 4), Ok(address));
    assert_ne!(vectors(bridge.set_cable(false)), (0, 0));
    assert_eq!(bridge.translate(S, 0, 4, 4), Err(Blocked::NoLink));
    assert_ne!(vectors(bridge.set_cable(true)), (0, 0));
    assert_eq!(
        bridge.translate(S, 0, 4, 4),
        Ok(address),
        "the cable changes no entry"
    );
}

#[test]
fn doorbells() {
    let mut bridge = linked();
    let rung = |bit: u32| 1u64 << (32 + bit);
    none(write64(&mut bridge, P, doorbell(P, ODB), rung(3)));
    assert_eq!(
        read64(&bridge, S, doorbell(S, IDB)),
        rung(3),
        "pending, masked"
    );
    assert_eq!(read64(&bridge, P, doorbell(P, IDB)), 0);
    assert_eq!(read64(&bridge, P, doorbell(P, ODB)), 0, "only rings");
    let enabled = rung(3) | rung(4);
    let effect = write64(&mut bridge, S, doorbell(S, IDB_MASK), enabled);
    assert_eq!(vectors(effect), (0, 1 << 1), "unmasked");
    none(write64(&mut bridge, P, doorbell(P, ODB), rung(3)));
    let effect = write64(&mut bridge, P, doorbell(P, ODB), rung(3) | rung(4));
    assert_eq!(vectors(effect), (0, 1 << 1), "one more");
    none(write64(&mut bridge, S, doorbell(S, IDB), rung(3)));
    assert_eq!(read64(&bridge, S, doorbell(S, IDB)), rung(4), "ones clear");
    let effect = write64(&mut bridge, P, doorbell(P, ODB), rung(3));
    assert_eq!(vectors(effect), (0, 1 << 1));
    // Only the upper half may be rung by partition 0; the halves of a write are as good as the whole.
    none(write32(&mut bridge, P, doorbell(P, ODB), u32::MAX));
    none(write32(&mut bridge, P, doorbell(P, ODB + 4), 1 << 9));
    assert_eq!(
        read64(&bridge, S, doorbell(S, IDB)),
        rung(3) | rung(4) | rung(9)
    );
    // The peer's registers are not for writing.
    none(write64(&mut bridge, P, doorbell(S, IDB), u64::MAX));
    none(write64(&mut bridge, P, doorbell(S, ODB), u64::MAX));
    assert_eq!(
        read64(&bridge, S, doorbell(S, IDB)),
        rung(3) | rung(4) | rung(9)
    );
    assert_eq!(read64(&bridge, P, doorbell(P, IDB)), 0);
}

#[test]
fn each_doorbell_has_its_vector() {
    let mut bridge = linked();
    none(write(&mut bridge, P, doorbell(P, VECTOR_MAP + 5), 63, 1));
    none(write(&mut bridge, P, doorbell(P, VECTOR_MAP + 6), 64, 1));
    none(write64(&mut bridge, P, doorbell(P, IDB_MASK), 0xff));
    let effect = write64(&mut bridge, S, doorbell(S, ODB), 1 << 5 | 1 << 6 | 1 << 7);
    assert_eq!(
        vectors(effect),
        (1 << 63 | 1 << 1, 0),
        "there is no vector 64"
    );
    // The driver fills the map after it has unmasked messages: what is pending must not be lost.
    let effect = write(&mut bridge, P, doorbell(P, VECTOR_MAP + 6), 4, 1);
    assert_eq!(vectors(effect), (1 << 4, 0));
}

#[test]
fn messages() {
    let mut bridge = linked();
    let omsg = |i: u64| doorbell(P, OMSG + 8 * i);
    let imsg = |i: u64| doorbell(S, IMSG + 8 * i);
    let (status, mask) = (1 << 32, 1 << 40);
    assert_eq!(
        vectors(write32(&mut bridge, P, omsg(1), 0xabcd)),
        (0, 1 << 2)
    );
    assert_eq!(read64(&bridge, S, imsg(1)), 0xabcd | status | mask);
    assert_eq!(read64(&bridge, P, omsg(1)), 0xabcd);
    // The next one waits, and one more takes its place.
    none(write32(&mut bridge, P, omsg(1), 1));
    none(write32(&mut bridge, P, omsg(1), 2));
    assert_eq!(read64(&bridge, P, omsg(1)), 2 | 1 << 32, "it waits");
    assert_eq!(
        vectors(write32(&mut bridge, P, omsg(0), 7)),
        (0, 1 << 2),
        "another inbox"
    );
    let effect = write(&mut bridge, S, imsg(1) + 4, 1, 1);
    assert_eq!(vectors(effect), (0, 1 << 2), "it comes");
    assert_eq!(read64(&bridge, S, imsg(1)), 2 | status | mask);
    assert_eq!(read64(&bridge, P, omsg(1)), 2);
    none(write(&mut bridge, S, imsg(1) + 4, 0, 1));
    assert_eq!(
        read64(&bridge, S, imsg(1)),
        2 | status | mask,
        "zeros do not clear"
    );
    none(write(&mut bridge, S, imsg(1) + 4, 1, 1));
    assert_eq!(read64(&bridge, S, imsg(1)), 2 | mask);
    // A mask of 0 keeps it quiet until it is 1 again.
    none(write(&mut bridge, S, imsg(1) + 5, 0, 1));
    none(write32(&mut bridge, P, omsg(1), 3));
    assert_eq!(
        vectors(write(&mut bridge, S, imsg(1) + 5, 1, 1)),
        (0, 1 << 2)
    );
}

#[test]
fn messages_go_where_the_map_says() {
    let mut bridge = linked();
    // Message 0 to inbox 3, message 1 to nobody, message 2 to oneself.
    none(write32(
        &mut bridge,
        S,
        doorbell(S, MESSAGE_MAP),
        0x0004_0803,
    ));
    assert_eq!(
        vectors(write32(&mut bridge, S, doorbell(S, OMSG), 5)),
        (1 << 2, 0)
    );
    let inbox = read64(&bridge, P, doorbell(P, IMSG + 24));
    assert_eq!(inbox, 5 | 1 << 32 | 1 << 40 | 1 << 48, "from partition 1");
    for message in [1, 2] {
        none(write32(&mut bridge, S, doorbell(S, OMSG + 8 * message), 5));
    }
    for inbox in 0..3 {
        assert_eq!(read(&bridge, P, doorbell(P, IMSG + 8 * inbox + 4), 1), 0);
        assert_eq!(read(&bridge, S, doorbell(S, IMSG + 8 * inbox + 4), 1), 0);
    }
}

#[test]
fn nothing_crosses_without_a_cable() {
    let mut bridge = linked();
    assert_eq!(vectors(bridge.set_cable(false)), (1, 1));
    none(write64(&mut bridge, P, doorbell(P, ODB), u64::MAX));
    none(write32(&mut bridge, P, doorbell(P, OMSG), 5));
    assert_eq!(vectors(bridge.set_cable(true)), (1, 1));
    assert_eq!(read64(&bridge, S, doorbell(S, IDB)), 0);
    assert_eq!(read(&bridge, S, doorbell(S, IMSG + 4), 1), 0);
}

#[test]
fn what_rings() {
    let bridge = bridge();
    for side in Side::BOTH {
        assert!(bridge.rings(side, doorbell(side, ODB), 8));
        assert!(bridge.rings(side, doorbell(side, ODB + 4), 1));
        assert!(bridge.rings(side, doorbell(side, OMSG + 24), 4));
        assert!(!bridge.rings(side, doorbell(side, OMSG + 4), 4), "status");
        assert!(!bridge.rings(side, doorbell(side, ODB_MASK), 8));
        assert!(!bridge.rings(side, doorbell(side.peer(), ODB), 8));
        assert!(bridge.rings(side, doorbell(side, ODB - 1), 2));
        assert!(!bridge.rings(side, u64::MAX, 2));
    }
}

#[test]
fn firmware_commands() {
    let mut bridge = linked();
    none(write32(&mut bridge, P, MRPC_HEADER, 1 | 1 << 3));
    none(write32(&mut bridge, P, 0, 0x1234_5678));
    assert_eq!(vectors(write32(&mut bridge, P, MRPC_COMMAND, 65)), (1, 0));
    assert_eq!(read32(&bridge, P, MRPC_STATUS), 2);
    assert_eq!(read32(&bridge, P, MRPC_RETURN), 0);
    assert_eq!(read32(&bridge, P, 0x400), !0x1234_5678);
    assert_eq!(read32(&bridge, P, MRPC_HEADER), 1 | 1 << 3 | 1 << 5);
    assert_eq!(read32(&bridge, S, MRPC_STATUS), 0, "each host has its own");
    assert_eq!(read32(&bridge, S, 0x4114), 1 << 1, "part_event_summary");
    assert_eq!(read64(&bridge, S, 0x1810), 0b01, "part_event_bitmap");

    let header = read32(&bridge, P, MRPC_HEADER);
    none(write32(&mut bridge, P, MRPC_HEADER, header));
    assert_eq!(
        read32(&bridge, P, MRPC_HEADER),
        1 << 3 | 1 << 5,
        "cleared, counted"
    );
    assert_eq!(vectors(write32(&mut bridge, P, MRPC_COMMAND, 4)), (1, 0));
    assert_eq!(read32(&bridge, P, MRPC_STATUS), 0xff);
    assert_eq!(read32(&bridge, P, MRPC_RETURN), 0x6_4005);
    assert_eq!(read32(&bridge, P, 0x400), 0);
    none(write32(&mut bridge, P, MRPC_HEADER, 0));
    none(write32(&mut bridge, P, MRPC_COMMAND, 4));
}

#[test]
fn link_events() {
    let mut bridge = bridge_with(false);
    for side in Side::BOTH {
        none(write32(&mut bridge, P, link_state(side), 1 | 1 << 3));
    }
    let count = |bridge: &Bridge, side| read32(bridge, S, link_state(side)) >> 5 & 0xff;
    let speed = |bridge: &Bridge, side| read32(bridge, S, 0x13_4074 + 0x1000 * partition(side));
    assert_eq!(speed(&bridge, P), 0);
    assert_eq!(vectors(bridge.attach(P)), (1, 1));
    assert_eq!(speed(&bridge, P) >> 16 & 0x3ff, 0x103, "x16 at 8 GT/s");
    assert_eq!((count(&bridge, P), count(&bridge, S)), (1, 0));
    assert_eq!(read32(&bridge, P, 0x13_4c00), 1 << 12, "pff_event_summary");
    none(write32(&mut bridge, S, link_state(P), 1 | 1 << 3));
    assert_eq!(read32(&bridge, P, 0x13_4c00), 0);
    assert_eq!(vectors(bridge.attach(S)), (1, 1));
    assert_eq!(vectors(bridge.set_cable(false)), (1, 1));
    assert_eq!((count(&bridge, P), count(&bridge, S)), (2, 2));
    assert_eq!(speed(&bridge, P), 0);
    none(bridge.reset(P));
    none(bridge.set_cable(false));
    assert_eq!(vectors(bridge.set_cable(true)), (1, 1));
    // Not cleared, as the driver never does: it interrupts all the same.
    assert_eq!(vectors(bridge.reset(S)), (1, 1));
    assert_eq!((count(&bridge, P), count(&bridge, S)), (3, 5));
    assert_eq!(vectors(bridge.detach(S)), (1, 1));
    assert_eq!(count(&bridge, S), 6);
    none(write32(&mut bridge, P, link_state(S), 0));
    none(bridge.attach(S));
    for _ in 0..256 {
        none(bridge.reset(S));
    }
    assert_eq!(count(&bridge, S), 7, "modulo 256");
    assert_eq!(read32(&bridge, P, link_state(S)) >> 13, 0);
}

#[test]
fn a_reset_closes_the_windows_of_both_sides() {
    for detach in [true, false] {
        let mut bridge = linked();
        assert_eq!(show_direct(&mut bridge, P, 4, 0, 1 << 19), NORMAL);
        assert_eq!(show_direct(&mut bridge, S, 4, 0, 1 << 19), NORMAL);
        assert_eq!(
            vectors(write32(&mut bridge, P, doorbell(P, OMSG), 1)),
            (0, 1 << 2)
        );
        assert_eq!(
            vectors(if detach {
                bridge.detach(P)
            } else {
                bridge.reset(P)
            }),
            (1, 1)
        );
        for side in Side::BOTH {
            for window in 0..WINDOWS {
                assert_eq!(bridge.openings(side, window), [], "{side} {window}");
            }
        }
        assert!(!bridge.bus_master(P) && bridge.bus_master(S));
        assert!(!bridge.ready(P) && bridge.ready(S));
        assert_eq!(read64(&bridge, P, doorbell(P, ODB_MASK)), 0);
        assert_eq!(read32(&bridge, P, control(P, REQUESTERS)) & 1, 0);
        assert_eq!(
            read32(&bridge, S, control(S, REQUESTERS)) & 1,
            1,
            "the other's own stays"
        );
    }
}

#[test]
fn when_both_have_gone_all_is_new() {
    let mut bridge = linked();
    assert_ne!(vectors(bridge.detach(P)), (0, 0));
    assert_ne!(vectors(bridge.detach(S)), (0, 0));
    for side in Side::BOTH {
        assert_eq!(read32(&bridge, P, link_state(side)), 0);
        assert_eq!(read32(&bridge, P, control(side, REQUESTERS)) & 1, 0);
        assert!(!bridge.ready(side));
    }
}

proptest! {
    /// Whatever two hosts do, nothing panics, and translations stay where openings are.
    #[test]
    fn any_accesses(accesses in proptest::collection::vec(
        (any::<bool>(), 0..12u64, 0..0x2000u64, any::<u64>(), 1..9usize, 0..12u8), 1..200,
    )) {
        let mut bridge = linked();
        for (primary, block, offset, value, size, action) in accesses {
            let side = if primary { P } else { S };
            let starts = [
                0, 0x800, 0x4000, 0x1_0000, 0x1_4000, 0x1_5000, 0x1_6000, 0x1_7000, 0x7_5000,
                0x7_9000, 0x13_4c00, u64::MAX - 0x1000,
            ];
            let offset = starts[block as usize].saturating_add(offset);
            match action {
                0 => { let _ = bridge.attach(side); }
                1 => { let _ = bridge.detach(side); }
                2 => { let _ = bridge.reset(side); }
                3 => { let _ = bridge.set_cable(value & 1 != 0); }
                4 => { let _ = write32(&mut bridge, side, control(P, OPERATION), value as u32 % 4); }
                5 => { let _ = write32(&mut bridge, side, control(S, OPERATION), value as u32 % 4); }
                _ => { let _ = write(&mut bridge, side, offset, value, size.min(8)); }
            }
            let _ = read(&bridge, side, offset, size.min(8));
            for window in 0..WINDOWS {
                let room = bridge.layout().window(window);
                for opening in bridge.openings(side, window) {
                    prop_assert!(opening.offset + opening.size <= room);
                }
                if bridge.translate(side, window, value, size).is_ok() {
                    let inside = |opening: &Opening| {
                        opening.offset <= value && value + size as u64 <= opening.offset + opening.size
                    };
                    prop_assert!(bridge.openings(side, window).iter().any(inside));
                }
            }
        }
    }
}
