// SPDX-License-Identifier: GPL-2.0

//! A virtual function is shown as a function that stands alone.

use super::*;
use crate::{
    test_device::{
        express,
        get16,
        get32, //
    },
    Bar,
    BarFlags,
    Read,
    VirtualFunction,
    Write, //
};

const FUNCTION: VirtualFunction = VirtualFunction {
    vendor: 0x8086,
    device: 0x10ca,
    class: 0x02_0000,
    revision: 3,
};

/// A virtual function of an 82576, as the SR-IOV specification has it: no ids, no memory enable bit, no base addresses.
fn igbvf() -> Space {
    const WIDE: BarFlags = BarFlags::MEM64.union(BarFlags::PREFETCH);
    let mut space = Space::new(0xffff, 0xffff, 0x02_0000);
    space.put8(0x08, 3);
    space.capability(0x70, 0x11, &[0x02, 0, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0]);
    space.capability(0xa0, 0x10, &express());
    space.extended(0x100, 0x0e, 1, &[0, 0, 0, 0]);
    for (index, address) in [(0, 0x38_0000_0000), (3, 0x38_0002_0000)] {
        space.bars[index] = Bar {
            size: 0x4000,
            flags: WIDE,
            address,
        };
    }
    space
}

/// What the lender makes of it before it shows it.
fn completed(space: &Space) -> Space {
    let mut completed = space.clone();
    for at in (0..space.bytes.len()).step_by(4) {
        let value = FUNCTION.complete(at as u16, get32(&space.bytes, at));
        completed.put32(at, value);
    }
    completed
}

#[test]
fn nothing_but_ids_class_and_the_memory_bit_is_filled_in() {
    let raw = igbvf();
    let completed = completed(&raw);
    let changed: Vec<usize> = (0..raw.bytes.len())
        .filter(|&at| raw.bytes[at] != completed.bytes[at])
        .collect();
    assert_eq!(changed, [0, 1, 2, 3, 4]);
    assert_eq!(completed.bytes[..5], [0x86, 0x80, 0xca, 0x10, 0x02]);
    assert_eq!(completed.bytes[8..12], [3, 0, 0, 2]);
}

#[test]
fn the_borrower_sees_a_function_that_stands_alone() {
    let (image, policy) = offered(&completed(&igbvf()));
    assert_eq!(get32(&image, 0x00), 0x10ca_8086);
    assert_eq!(get32(&image, 0x08), 0x0200_0003);
    assert_eq!(get32(&image, 0x2c), 0x1100_1af4);
    // It decodes memory, as any device does that the lender has enabled.
    assert_eq!(get16(&image, 0x04), 0x0002);
    let bars: Vec<u32> = (0..6).map(|bar| get32(&image, 0x10 + 4 * bar)).collect();
    assert_eq!(bars, [0xc, 0x38, 0, 0x0002_000c, 0x38, 0]);
    assert_eq!((image[0x34], image[0x71], image[0xa1]), (0x70, 0xa0, 0));
    assert_eq!(policy.read(&image, 0, 2), Read::Shadow(0x8086));
}

#[test]
fn the_kernel_can_size_its_bars_and_ask_for_a_reset() {
    let space = completed(&igbvf());
    let (mut image, policy) = offered(&space);
    let mut write = |offset, value| policy.write(&mut image, &space.bars, offset, 4, value);
    assert_eq!(write(0x10, !0), Write::Done);
    assert_eq!(write(0x14, !0), Write::Done);
    // FLR, which every virtual function has.
    assert_eq!(write(0xa8, 0x8000), Write::Reset);
    assert_eq!(get32(&image, 0x10), 0xffff_c00c);
    assert_eq!(get32(&image, 0x14), 0xffff_ffff);
}

#[test]
fn a_virtual_function_that_is_gone_is_absent() {
    let mut gone = igbvf();
    gone.bytes.fill(0xff);
    assert_eq!(image(&completed(&gone)), Err(Malformed::Absent));
    // Without the ids of the physical function there is nothing to show.
    assert_eq!(image(&igbvf()), Err(Malformed::Absent));
}
