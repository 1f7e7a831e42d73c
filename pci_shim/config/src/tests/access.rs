// SPDX-License-Identifier: GPL-2.0

//! Single accesses: sizes, edges, base addresses, resets.

use super::*;
use crate::{
    policy::{
        Read,
        Write, //
    },
    test_device::{
        get16,
        get32,
        igb,
        nvme, //
    },
    Bar,
    BarFlags, //
};
use proptest::prelude::*;

const COMMAND: u16 = 0x04;
const STATUS: u16 = 0x06;
/// Device Control of `nvme()`.
const DEVCTL: u16 = 0x88;
const FLR: u32 = 0x8000;

#[test]
fn reads_of_every_size() {
    let (image, policy) = offered(&nvme());
    let table = [
        (0x00, 4, Read::Shadow(0x0010_1b36)),
        (0x00, 2, Read::Shadow(0x1b36)),
        (0x02, 2, Read::Shadow(0x0010)),
        (0x01, 1, Read::Shadow(0x1b)),
        (0x0b, 1, Read::Shadow(0x01)),
        (0x14, 4, Read::Shadow(0xfe)),
        // Beyond the first 256 bytes, and the very last.
        (0x100, 4, Read::Shadow(0)),
        (0xffc, 4, Read::Shadow(0)),
        (0xfff, 1, Read::Shadow(0)),
        // Command is known here, Status is not; the lower half of Status is.
        (COMMAND, 2, Read::Shadow(0x0506)),
        (COMMAND, 4, Read::Peer),
        (STATUS, 2, Read::Peer),
        (STATUS, 1, Read::Shadow(0x10)),
        (STATUS + 1, 1, Read::Peer),
        (DEVCTL, 2, Read::Shadow(0x2810)),
        (DEVCTL + 2, 2, Read::Peer),
        // Nobody answers: beyond the end, across, odd sizes.
        (0x1000, 1, Read::Shadow(0xff)),
        (0x1000, 4, Read::Shadow(0xffff_ffff)),
        (u16::MAX, 1, Read::Shadow(0xff)),
        (0xfffe, 2, Read::Shadow(0xffff)),
        (0x01, 2, Read::Shadow(0xffff)),
        (0x02, 4, Read::Shadow(0xffff_ffff)),
        (0x00, 0, Read::Shadow(0xffff_ffff)),
        (0x00, 3, Read::Shadow(0xffff_ffff)),
        (0x00, 8, Read::Shadow(0xffff_ffff)),
    ];
    for (offset, size, expected) in table {
        assert_eq!(
            policy.read(&image, offset, size),
            expected,
            "{offset:#x}+{size}"
        );
    }
}

#[test]
fn a_conventional_device_ends_at_256() {
    let (image, policy) = offered(&igb().conventional());
    assert_eq!(policy.read(&image, 0xfc, 4), Read::Shadow(0));
    assert_eq!(policy.read(&image, 0x100, 4), Read::Shadow(!0));
    assert_eq!(policy.merge_read(&image, 0x100, 2, 0), 0xffff);
}

#[test]
fn a_live_read_is_merged_with_the_shadow() {
    let (image, policy) = offered(&nvme());
    // The device's list bit is the device's; ours says what we show. Reserved and hidden bits do not get through.
    assert_eq!(policy.merge_read(&image, STATUS, 2, 0xffff), 0xf910);
    assert_eq!(policy.merge_read(&image, STATUS, 2, 0x2008), 0x2010);
    assert_eq!(policy.merge_read(&image, STATUS + 1, 1, 0x20), 0x20);
    assert_eq!(
        policy.merge_read(&image, COMMAND, 4, 0xffff_ffff),
        0xf910_0506
    );
    assert_eq!(policy.merge_read(&image, DEVCTL + 2, 2, 0x0021), 0x0021);
    assert_eq!(policy.merge_read(&image, DEVCTL + 2, 2, 0xffc0), 0x0000);
    // And on the lender's side already.
    assert_eq!(policy.filter_read(STATUS, 2, 0xffff), 0xf900);
    assert_eq!(policy.filter_read(STATUS + 1, 1, 0xff), 0xf9);
    assert_eq!(policy.filter_read(0x00, 4, !0), 0);
    assert_eq!(policy.filter_read(0x100, 4, !0), 0);
    assert_eq!(policy.filter_read(0x05, 2, !0), 0);
}

#[test]
fn the_image_remembers_what_is_live() {
    let mut device = nvme();
    // Detected parity error.
    device.put8(usize::from(STATUS) + 1, 0x80);
    let (image, policy) = offered(&device);
    assert_eq!(policy.read(&image, STATUS, 2), Read::Peer);
    assert_eq!(policy.remembered(&image, STATUS, 2), 0x8010);
    assert_eq!(policy.remembered(&image, STATUS + 1, 1), 0x80);
    assert_eq!(policy.remembered(&image, STATUS, 4), 0xffff_ffff);
    assert_eq!(policy.remembered(&image, 0xfff0, 4), 0xffff_ffff);
    assert!(policy.clears(STATUS, 2, 0x8000));
    assert!(policy.clears(STATUS + 1, 1, 0x80));
    assert!(!policy.clears(STATUS, 2, 0x0010));
    assert!(!policy.clears(COMMAND, 2, 0xffff));
    assert!(!policy.clears(STATUS, 4, !0));
}

#[test]
fn only_what_is_live_may_be_read_from_the_device() {
    let (_, policy) = offered(&igb());
    for (offset, size, admitted) in [
        (STATUS, 2, true),
        (STATUS, 1, false),
        (COMMAND, 2, false),
        (COMMAND, 4, true),
        (0x00, 4, false),
        (0x18, 4, false), // the I/O register
        (0x30, 4, false), // the expansion ROM
        (0x64, 4, true),  // MSI pending bits
        (0x67, 1, true),
        (0xa8, 4, true),
        (0xe4, 4, false), // vital product data: reading moves it
        (0x104, 4, false),
        (0x101, 4, false),
        (0x07, 2, false),
        (0xffff, 4, false),
        (STATUS, 0, false),
    ] {
        assert_eq!(
            policy.admit_read(offset, size),
            admitted,
            "{offset:#x}+{size}"
        );
    }
}

/// Writes, and returns what came of it with the register's new value.
fn write(policy: &Policy, image: &mut [u8], offset: u16, size: u8, value: u32) -> (Write, u16) {
    let result = policy.write(image, &nvme().bars, offset, size, value);
    (result, get16(image, usize::from(offset & !1)))
}

#[test]
fn command_in_steps() {
    let (mut image, policy) = offered(&nvme());
    let peer = |value| Write::Peer { value };
    let mut step = |size, value| write(&policy, &mut image, COMMAND, size, value);
    assert_eq!(step(2, 0x0506), (Write::Done, 0x0506), "as it is");
    assert_eq!(step(2, 0x0502), (peer(0x0102), 0x0502), "bus master off");
    assert_eq!(step(1, 0x06), (peer(0x06), 0x0506), "and on, by the byte");
    assert_eq!(
        step(2, 0x0106),
        (Write::Done, 0x0106),
        "INTx disable is ours"
    );
    assert_eq!(
        step(2, 0xffff),
        (peer(0x0146), 0x0546),
        "all that can be set"
    );
    assert_eq!(step(2, 0), (peer(0), 0));
    // With Status in the same dword: what is written there clears, and is not kept.
    let before = get16(&image, 6);
    let both = policy.write(&mut image, &nvme().bars, COMMAND, 4, 0x2800_0002);
    assert_eq!(both, peer(0x2800_0002));
    assert_eq!((get16(&image, 4), get16(&image, 6)), (0x0002, before));
}

#[test]
fn with_a_relay_intx_is_the_devices() {
    let (mut image, policy) = offered_with(&nvme(), true);
    let peer = |value| Write::Peer { value };
    let mut step = |size, value| write(&policy, &mut image, COMMAND, size, value);
    assert_eq!(step(2, 0x0106), (Write::Done, 0x0106), "as it is");
    assert_eq!(step(2, 0x0506), (peer(0x0506), 0x0506), "disabled");
    assert_eq!(step(1, 0x06), (Write::Done, 0x0506), "not of that byte");
    assert_eq!(step(2, 0x0106), (peer(0x0106), 0x0106), "and enabled");
    // Status says whether an interrupt is pending, and is not written.
    assert_eq!(policy.read(&image, STATUS, 2), Read::Peer);
    assert_eq!(policy.read(&image, STATUS, 1), Read::Peer);
    assert_eq!(policy.read(&image, COMMAND, 2), Read::Shadow(0x0106));
    assert!(policy.admit_read(STATUS, 1));
    assert_eq!(policy.filter_read(STATUS, 2, 0xffff), 0xf908);
    assert_eq!(policy.merge_read(&image, STATUS, 2, 0x0008), 0x0018);
    assert_eq!(
        policy.write(&mut image, &nvme().bars, STATUS, 2, 0x0008),
        Write::Done
    );
    assert_eq!(
        policy.admit_write(COMMAND, 2, 0x0006, 0xffff),
        Some(0xffff & !0x0546 | 0x0006)
    );
    assert_eq!(policy.admit_write(COMMAND, 2, 0x0406, 0), Some(0x0406));
    assert_eq!(policy.admit_write(STATUS, 1, 0xff, 0xff), None);
}

#[test]
fn clearing_always_goes_to_the_device() {
    let (mut image, policy) = offered(&nvme());
    let shadow = image.clone();
    for value in [0xf900, 0x0100, 0x8000] {
        assert_eq!(
            policy.write(&mut image, &nvme().bars, STATUS, 2, value),
            Write::Peer { value }
        );
    }
    assert_eq!(
        policy.write(&mut image, &nvme().bars, STATUS, 2, 0xffff),
        Write::Peer { value: 0xf900 }
    );
    for value in [0, 0x0010, 0x06ff] {
        assert_eq!(
            policy.write(&mut image, &nvme().bars, STATUS, 2, value),
            Write::Done
        );
    }
    assert_eq!(
        policy.write(&mut image, &nvme().bars, DEVCTL + 2, 1, 0x3f),
        Write::Peer { value: 0x0f }
    );
    assert_eq!(image, shadow);
}

#[test]
fn what_the_lender_writes() {
    let (_, policy) = offered(&nvme());
    let table = [
        // The borrower's four bits, the device's own others, and INTx never on.
        (COMMAND, 2, 0xffff, 0x0000, Some(0x0546)),
        (COMMAND, 2, 0x0000, 0xffff, Some(0xfeb9 & !0x0146 | 0x0400)),
        (COMMAND, 1, 0x06, 0x01, Some(0x07)),
        (COMMAND + 1, 1, 0x00, 0x00, Some(0x04)),
        // Nothing in Status is cleared that was not asked for.
        (COMMAND, 4, 0x0000_0006, 0xf9ff_0400, Some(0x0000_0406)),
        (COMMAND, 4, 0x2000_0006, 0xf9ff_0400, Some(0x2000_0406)),
        (STATUS, 2, 0xffff, 0xffff, Some(0xf900)),
        (STATUS, 2, 0x0000, 0xffff, Some(0x0000)),
        (STATUS, 1, 0xff, 0xff, None),
        // Error reporting, payload size and phantom functions stay; a reset is never started by a write.
        (DEVCTL, 2, 0xffff, 0x0620, Some(0x7f30)),
        (DEVCTL, 2, 0x0000, 0xffff, Some(0x06ef)),
        (DEVCTL, 4, 0x0004_2810, 0xffff_ffff, Some(0x0004_2eff)),
        // MSI-X: control only.
        (0x42, 2, 0xffff, 0x0040, Some(0xc040)),
        (0x40, 4, 0xffff_ffff, 0x0040_8011, Some(0xc040_8011)),
        (0x40, 2, 0xffff, 0, None),
        (0x44, 4, 0xffff_ffff, 0, None),
        // Base addresses, ROM, power state, link, the notepad: never.
        (0x10, 4, 0xffff_ffff, 0, None),
        (0x14, 4, 0, 0, None),
        (0x30, 4, 1, 0, None),
        (0x3c, 1, 0, 0, None),
        (0x64, 2, 3, 0, None),
        (0x90, 2, 3, 0, None),
        (0xa8, 2, 0, 0, None),
        (0x0f, 1, 0x40, 0, None),
        // No accesses.
        (0x100, 4, 0, 0, None),
        (0x05, 2, 0, 0, None),
        (COMMAND, 3, 0, 0, None),
        (u16::MAX, 1, 0, 0, None),
    ];
    for (offset, size, value, current, expected) in table {
        assert_eq!(
            policy.admit_write(offset, size, value, current),
            expected,
            "{offset:#x}+{size} {value:#x} over {current:#x}"
        );
    }
}

#[test]
fn a_reset_is_asked_for_and_not_written() {
    let (mut image, policy) = offered(&nvme());
    let shadow = image.clone();
    let bars = nvme().bars;
    for (offset, size, value) in [
        (DEVCTL, 2, FLR | 0x2810),
        (DEVCTL, 2, FLR),
        (DEVCTL, 4, FLR | 0x000f_0000),
        (DEVCTL + 1, 1, FLR >> 8),
    ] {
        assert_eq!(
            policy.write(&mut image, &bars, offset, size, value),
            Write::Reset
        );
        assert_eq!(image, shadow);
    }
    // The bit in the other byte is none.
    assert_eq!(
        policy.write(&mut image, &bars, DEVCTL, 1, FLR | 0x10),
        Write::Done
    );

    // A device that cannot do it ignores the bit.
    let mut space = nvme();
    space.put32(0x84, 0x0000_8000);
    let (mut image, policy) = offered(&space);
    assert_eq!(
        policy.write(&mut image, &bars, DEVCTL, 2, FLR | 0x2810),
        Write::Done
    );
    assert_eq!(policy.read(&image, DEVCTL, 2), Read::Shadow(0x2810));
}

#[test]
fn power_states_stay_in_the_shadow() {
    let (mut image, policy) = offered(&nvme());
    assert_eq!(policy.read(&image, 0x64, 2), Read::Shadow(0x0008));
    assert_eq!(
        write(&policy, &mut image, 0x64, 2, 0xffff),
        (Write::Done, 0x000b)
    );
    assert_eq!(
        write(&policy, &mut image, 0x64, 2, 0),
        (Write::Done, 0x0008)
    );
}

#[test]
fn bytes_of_a_dword_are_written_apart() {
    let (mut image, policy) = offered(&nvme());
    let bars = nvme().bars;
    policy.write(&mut image, &bars, 0x0c, 1, 0xffff_ff40);
    policy.write(&mut image, &bars, 0x0d, 1, 0x20);
    policy.write(&mut image, &bars, 0x0e, 2, 0xffff);
    assert_eq!(image[0x0c..0x10], [0x40, 0x20, 0, 0]);
    policy.write(&mut image, &bars, 0x3c, 4, 0xffff_ffff);
    assert_eq!(image[0x3c..0x40], [0xff, 0, 0, 0]);
}

#[test]
fn nothing_else_takes_a_write() {
    let (image, policy) = offered(&igb());
    let bars = igb().bars;
    for at in
        (0..0x1010u16).filter(|at| !matches!(at, 0x04..=0x05 | 0x0c..=0x0d | 0x10..=0x27 | 0x3c))
    {
        let capability =
            matches!(at, 0x44 | 0x52..=0x63 | 0x73 | 0xa8..=0xa9 | 0xb0..=0xb1 | 0xc8..=0xc9);
        let clear = matches!(at, 0x07 | 0xaa);
        let mut shadow = image.clone();
        let result = policy.write(&mut shadow, &bars, at, 1, 0xff);
        if !capability && !clear {
            assert_eq!(result, Write::Done, "{at:#x}");
        }
        if !capability {
            assert_eq!(shadow, image, "{at:#x}");
        }
    }
    for (offset, size) in [
        (0x04, 0),
        (0x04, 3),
        (0x04, 8),
        (0x05, 2),
        (0x06, 4),
        (0xffff, 4),
    ] {
        let mut shadow = image.clone();
        assert_eq!(
            policy.write(&mut shadow, &bars, offset, size, !0),
            Write::Done
        );
        assert_eq!(shadow, image);
    }
}

/// What the kernel does to find a register's size: writes all ones, reads, puts back.
fn size_of_bar(policy: &Policy, image: &mut [u8], bars: &[Bar; 6], index: u16) -> (u32, u32) {
    let at = 0x10 + index * 4;
    let read = |image: &[u8]| match policy.read(image, at, 4) {
        Read::Shadow(value) => value,
        Read::Peer => panic!("a base address register is never the device's"),
    };
    let old = read(image);
    assert_eq!(policy.write(image, bars, at, 4, !0), Write::Done);
    let mask = read(image);
    assert_eq!(policy.write(image, bars, at, 4, old), Write::Done);
    assert_eq!(read(image), old);
    (old, mask)
}

#[test]
fn sizing_of_whole_devices() {
    let sizes = |space: &Space| {
        let (mut image, policy) = offered(space);
        [0, 1, 2, 3, 4, 5].map(|index| size_of_bar(&policy, &mut image, &space.bars, index))
    };
    let none = (0, 0);
    assert_eq!(
        sizes(&nvme()),
        [
            (4, 0xffff_c004),
            (0xfe, 0xffff_ffff),
            none,
            none,
            none,
            none
        ]
    );
    assert_eq!(
        sizes(&igb()),
        [
            (0xfea0_0000, 0xfffe_0000),
            (0xfe40_0000, 0xffc0_0000),
            none,
            (0xfeb0_0008, 0xffff_c008),
            none,
            none
        ]
    );
}

#[test]
fn sizing_of_every_size() {
    for shift in 4..64 {
        for flags in [BarFlags::MEM64, BarFlags::all()] {
            let mut space = Space::new(1, 2, 3);
            let size = 1u64 << shift;
            space.bar(2, size, flags, size);
            let (mut image, policy) = offered(&space);
            let (low, low_mask) = size_of_bar(&policy, &mut image, &space.bars, 2);
            let (high, high_mask) = size_of_bar(&policy, &mut image, &space.bars, 3);
            let join = |low: u32, high: u32| u64::from(low & !0xf) | u64::from(high) << 32;
            assert_eq!(join(low, high), size);
            assert_eq!(!join(low_mask, high_mask) + 1, size, "{shift}");
            let prefetch = u32::from(flags.contains(BarFlags::PREFETCH)) << 3;
            assert_eq!((low & 0xf, low_mask & 0xf), (4 | prefetch, 4 | prefetch));
        }
    }
    for shift in 4..32 {
        let mut space = Space::new(1, 2, 3);
        space.bar(5, 1 << shift, BarFlags::empty(), 0);
        let (mut image, policy) = offered(&space);
        let (old, mask) = size_of_bar(&policy, &mut image, &space.bars, 5);
        assert_eq!((old, !mask + 1), (0, 1 << shift));
    }
}

#[test]
fn a_base_address_can_be_moved_in_the_shadow() {
    let space = nvme();
    let (mut image, policy) = offered(&space);
    policy.write(&mut image, &space.bars, 0x10, 4, 0x1234_5678);
    policy.write(&mut image, &space.bars, 0x14, 4, 0x9);
    assert_eq!(get32(&image, 0x10), 0x1234_4004);
    assert_eq!(get32(&image, 0x14), 0x9);
    // By the byte, too.
    policy.write(&mut image, &space.bars, 0x13, 1, 0xff);
    policy.write(&mut image, &space.bars, 0x10, 1, 0xff);
    assert_eq!(get32(&image, 0x10), 0xff34_4004);
}

proptest! {
    /// Base address registers that a hostile lender tells, and that nobody checked.
    #[test]
    fn unchecked_bars_are_no_trouble(
        parts in prop::array::uniform6((any::<u64>(), any::<u32>(), any::<u64>())),
        index in 0u16..6,
        value: u32,
    ) {
        let bars = parts.map(|(size, flags, address)| Bar {
            size,
            flags: BarFlags::from_bits_truncate(flags),
            address,
        });
        let (mut image, policy) = offered(&nvme());
        prop_assert_eq!(policy.write(&mut image, &bars, 0x10 + index * 4, 4, value), Write::Done);
    }

    /// Sizing is the same for all registers that can exist side by side, in any order.
    #[test]
    fn sizing_side_by_side(bars in super::image::any_bars()) {
        let mut space = Space::new(1, 2, 3);
        for (index, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.size > 0) {
            space.bar(index, bar.size, bar.flags, bar.address);
        }
        let (mut image, policy) = offered(&space);
        for index in (0..6).rev() {
            let (old, mask) = size_of_bar(&policy, &mut image, &bars, index);
            let bar = bars[usize::from(index)];
            if bar.size > 0 {
                prop_assert_eq!(mask & !0xf, !(bar.size - 1) as u32 & !0xf);
                prop_assert_eq!(old & !0xf, bar.address as u32 & !0xf);
                prop_assert_eq!(old & 0xf, mask & 0xf);
            } else if index > 0 && bars[usize::from(index) - 1].flags.contains(BarFlags::MEM64) {
                let below = bars[usize::from(index) - 1];
                prop_assert_eq!(mask, (!(below.size - 1) >> 32) as u32);
                prop_assert_eq!(old, (below.address >> 32) as u32);
            } else {
                prop_assert_eq!((old, mask), (0, 0));
            }
        }
    }
}
