// SPDX-License-Identifier: GPL-2.0

//! What entries mean.

use super::super::gas::BLOCKS;
use super::*;
use crate::model::switchtec::gas::BlockId;
use proptest::prelude::*;

const TARGET: u64 = 1;

fn frame(fixed: bool) -> Frame {
    Frame {
        sizes: [2 << 20, 1 << 32],
        fixed,
        luts: 16,
        target: TARGET,
    }
}

fn entries() -> Bank {
    let mut bank = Bank::new(&BLOCKS[BlockId::Control as usize]);
    bank.set(Role::Requester, 0, ENABLED);
    bank
}

fn enable_luts(bank: &mut Bank, count: u64) {
    let control = bank.get(Role::BarControl, 2);
    let control = control & DIRECT | LUT | 16 << 8 | (count - 1) << 14;
    bank.set(Role::BarControl, 2, control);
}

fn set_direct(bank: &mut Bank, bar: usize, address: u64, size: u64) {
    let control = bank.get(Role::BarControl, bar);
    bank.set(Role::BarControl, bar, control | DIRECT);
    let low = size & 0xffff_f000 | u64::from(size.ilog2());
    bank.set(Role::WindowSize, bar, low);
    bank.set(Role::WindowSizeHigh, bar, size >> 32);
    bank.set(Role::WindowTarget, bar, address | TARGET);
}

fn map(bank: &Bank) -> Map {
    Map::new(bank, &frame(false)).unwrap()
}

fn fault(bank: &Bank) -> Fault {
    Map::new(bank, &frame(false)).unwrap_err()
}

#[test]
fn nothing_is_open_after_a_reset() {
    let map = map(&entries());
    for window in 0..=WINDOWS {
        assert_eq!(map.translate(window, 0, 4), Err(Blocked::Closed));
        assert_eq!(map.openings(window), []);
    }
}

#[test]
fn lut_entries_show_64_kib_each() {
    let mut bank = entries();
    enable_luts(&mut bank, 16);
    bank.set(Role::LutEntry, 0, 0x1234_0000 | TARGET << 1 | ENABLED);
    bank.set(
        Role::LutEntry,
        15,
        0xffff_ffff_ffff_0000 | TARGET << 1 | ENABLED,
    );
    bank.set(Role::LutEntry, 14, 0x5_0000 | TARGET << 1);
    let map = map(&bank);
    assert_eq!(map.translate(0, 0xfff8, 8), Ok(0x1234_fff8));
    assert_eq!(map.translate(0, 0xfffc, 8), Err(Blocked::Closed), "across");
    assert_eq!(map.translate(0, 0x1_0000, 4), Err(Blocked::Closed));
    assert_eq!(
        map.translate(0, 0xe_0000, 4),
        Err(Blocked::Closed),
        "not enabled"
    );
    assert_eq!(map.translate(0, 0xf_0010, 4), Ok(0xffff_ffff_ffff_0010));
    assert_eq!(map.translate(0, 0xf_fff8, 8), Err(Blocked::Address));
    assert_eq!(map.translate(0, 0x10_0000, 4), Err(Blocked::Closed));
    assert_eq!(map.translate(1, 0, 4), Err(Blocked::Closed));
    let openings = map.openings(0);
    assert_eq!(openings.len(), 2);
    assert_eq!(openings[1].offset, 0xf_0000);
    assert_eq!(openings[0].address, 0x1234_0000);
}

#[test]
fn the_direct_window_is_behind_the_lut() {
    let mut bank = entries();
    enable_luts(&mut bank, 16);
    set_direct(&mut bank, 2, 0x4000_0000, 1 << 20);
    set_direct(&mut bank, 4, 0, 1 << 32);
    let map = map(&bank);
    assert_eq!(map.translate(0, 0xf_fff8, 8), Err(Blocked::Closed));
    assert_eq!(map.translate(0, 0x10_0008, 8), Ok(0x4000_0008));
    assert_eq!(map.translate(0, 0x1f_fff8, 8), Ok(0x400f_fff8));
    assert_eq!(map.translate(0, 0x1f_fffc, 8), Err(Blocked::Closed));
    assert_eq!(map.translate(1, 0xfee0_0000, 4), Ok(0xfee0_0000));
    let opening = |offset, size, address| Opening {
        offset,
        size,
        address,
    };
    assert_eq!(map.openings(0), [opening(1 << 20, 1 << 20, 0x4000_0000)]);
    assert_eq!(map.openings(1), [opening(0, 1 << 32, 0)]);
}

#[test]
fn only_the_low_bits_come_from_the_offset() {
    let mut bank = entries();
    set_direct(&mut bank, 4, 0x60_0000, 0x30_0000);
    let map = map(&bank);
    assert_eq!(map.translate(1, 0x1f_fff8, 8), Ok(0x7f_fff8));
    assert_eq!(map.translate(1, 0x1f_fffc, 8), Err(Blocked::Closed));
    assert_eq!(map.translate(1, 0x20_0008, 8), Ok(0x60_0008), "again");
    assert_eq!(map.translate(1, 0x30_0000, 1), Err(Blocked::Closed));
    let sizes: Vec<u64> = map.openings(1).iter().map(|opening| opening.size).collect();
    assert_eq!(sizes, [0x20_0000, 0x10_0000]);
}

#[test]
fn without_a_requester_nothing_gets_through() {
    let mut bank = entries();
    bank.set(Role::Requester, 0, 0x8_0000);
    set_direct(&mut bank, 4, 0, 1 << 20);
    let map = map(&bank);
    assert_eq!(map.translate(1, 0, 4), Err(Blocked::Requester));
    assert_eq!(map.openings(1).len(), 1);
}

#[test]
fn what_cannot_be_had_is_named() {
    type Change = fn(&mut Bank);
    let wrong: [(&str, Fault, Change); 11] = [
        ("not a window", Fault::Bar(3), |b| {
            b.set(Role::BarControl, 3, DIRECT)
        }),
        ("a second LUT", Fault::Bar(4), |b| {
            b.set(Role::BarControl, 4, LUT | 16 << 8)
        }),
        ("too many entries", Fault::Bar(2), |b| enable_luts(b, 17)),
        ("entries of 32K", Fault::Bar(2), |b| {
            b.set(Role::BarControl, 2, LUT | 15 << 8)
        }),
        ("no size", Fault::Bar(4), |b| {
            b.set(Role::BarControl, 4, DIRECT)
        }),
        ("larger than its BAR", Fault::Bar(4), |b| {
            set_direct(b, 4, 0, 1 << 33)
        }),
        ("larger than what is left", Fault::Bar(2), |b| {
            enable_luts(b, 16);
            set_direct(b, 2, 0, 1 << 21);
        }),
        ("begins in the middle", Fault::Bar(2), |b| {
            enable_luts(b, 8);
            set_direct(b, 2, 0, 1 << 20);
        }),
        ("unaligned address", Fault::Bar(4), |b| {
            set_direct(b, 4, 0x8_0000, 1 << 20)
        }),
        ("to itself", Fault::Bar(4), |b| {
            set_direct(b, 4, 0, 1 << 20);
            b.set(Role::WindowTarget, 4, 0);
        }),
        ("LUT entry to nobody", Fault::Lut(7), |b| {
            enable_luts(b, 16);
            b.set(Role::LutEntry, 7, 2 << 1 | ENABLED);
        }),
    ];
    for (name, expected, change) in wrong {
        let mut bank = entries();
        change(&mut bank);
        assert_eq!(fault(&bank), expected, "{name}");
    }
}

#[test]
fn a_mapped_window_shows_the_peers_memory_from_0_on() {
    let frame = frame(true);
    let mut bank = entries();
    set_direct(&mut bank, 4, 1 << 32, 1 << 32);
    assert_eq!(Map::new(&bank, &frame), Err(Fault::Bar(4)));
    set_direct(&mut bank, 4, 0, 1 << 32);
    assert!(Map::new(&bank, &frame).is_ok());
    set_direct(&mut bank, 2, 1 << 20, 1 << 20);
    assert!(Map::new(&bank, &frame).is_ok(), "the other one is free");
}

proptest! {
    /// Whatever is written: an access lands in an opening that has its offset, and openings stay in their BAR.
    #[test]
    fn translation_stays_in_its_window(
        controls in proptest::collection::vec(any::<u32>(), 6),
        sizes in proptest::collection::vec(any::<u32>(), 6),
        shifts in proptest::collection::vec(0..64u32, 6),
        highs in proptest::collection::vec(0..4u64, 6),
        targets in proptest::collection::vec(any::<u64>(), 6),
        luts in proptest::collection::vec(any::<u64>(), 16),
        nice in any::<bool>(),
        window in 0..3usize,
        offset in any::<u64>(),
        length in 0..16u64,
    ) {
        let mut bank = entries();
        for bar in 0..6 {
            let mut control = u64::from(controls[bar]) & 0x7f_ff30;
            let mut size = u64::from(sizes[bar]);
            let mut target = targets[bar];
            if nice {
                // Most of what is arbitrary cannot be had: look at what comes near.
                let there = BARS.contains(&bar);
                control = if there { control & DIRECT } else { 0 };
                let bytes = (u64::from(sizes[bar]) & 0x1f_ffff | highs[bar] << 20).max(0x1000);
                size = bytes & !0xfff | u64::from(bytes.ilog2());
                target = target >> bytes.ilog2() << bytes.ilog2() | TARGET;
                bank.set(Role::WindowSizeHigh, bar, 0);
            } else {
                bank.set(Role::WindowSizeHigh, bar, highs[bar]);
                size = size & !0x3f | u64::from(shifts[bar]);
            }
            bank.set(Role::BarControl, bar, control);
            bank.set(Role::WindowSize, bar, size);
            bank.set(Role::WindowTarget, bar, target);
        }
        if nice && controls[0] & 1 != 0 {
            enable_luts(&mut bank, u64::from(controls[1]) % 16 + 1);
        }
        for (index, entry) in luts.iter().enumerate() {
            let entry = if nice { entry & !0xfffe | TARGET << 1 } else { *entry };
            bank.set(Role::LutEntry, index, entry);
        }
        let frame = frame(controls[5] & 1 != 0);
        if let Ok(map) = Map::new(&bank, &frame) {
            let room = frame.sizes.get(window).copied().unwrap_or(0);
            let openings = map.openings(window);
            for opening in &openings {
                prop_assert!(opening.offset + opening.size <= room);
            }
            let offset = if nice { offset % (4 << 20) } else { offset };
            match map.translate(window, offset, length) {
                Ok(address) => {
                    let found = openings.iter().find(|opening| {
                        opening.offset <= offset && offset + length <= opening.offset + opening.size
                    });
                    prop_assert!(found.is_some());
                    let opening = found.unwrap();
                    prop_assert_eq!(address, opening.address + (offset - opening.offset));
                }
                Err(Blocked::Closed) => {
                    let inside = openings.iter().any(|opening| {
                        let end = offset.checked_add(length);
                        opening.offset <= offset
                            && end.is_some_and(|end| end <= opening.offset + opening.size)
                    });
                    prop_assert!(!inside || length == 0);
                }
                Err(_) => {}
            }
        }
    }
}
