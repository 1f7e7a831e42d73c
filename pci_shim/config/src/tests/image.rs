// SPDX-License-Identifier: GPL-2.0

//! What the borrower sees of whole devices.

use super::*;
use crate::{
    test_device::{
        get16,
        igb,
        nvme, //
    },
    Bar,
    BarFlags, //
};
use proptest::prelude::*;

/// Zeros but for the given bytes.
fn zeros_but(size: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for &(at, part) in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

/// 52 bytes of the PCI Express capability: no phantom functions, nothing of a port, DEVCAP2 and DEVCTL2 without what
/// does not cross the bridge.
const EXPRESS: [u8; 0x34] = [
    0x10, 0x00, 0x02, 0x00, 0xc0, 0x8f, 0x00, 0x10, // flags, DEVCAP
    0x10, 0x28, 0x09, 0x00, 0x11, 0x0c, 0x00, 0x00, // DEVCTL, DEVSTA, LNKCAP
    0x40, 0x00, 0x11, 0x10, 0, 0, 0, 0, // LNKCTL, LNKSTA
    0, 0, 0, 0, 0, 0, 0, 0, //
    0, 0, 0, 0, 0x1f, 0x01, 0x01, 0x00, // DEVCAP2
    0x09, 0x00, 0x00, 0x00, 0x0e, 0x00, 0x00, 0x00, // DEVCTL2, LNKCAP2
    0x03, 0x00, 0x01, 0x00, // LNKCTL2, LNKSTA2
];

#[test]
fn nvme_down_to_the_last_byte() {
    let mut express = EXPRESS;
    express[1] = 0x60;
    let expected = zeros_but(
        4096,
        &[
            (0x00, &[0x36, 0x1b, 0x10, 0x00, 0x06, 0x05, 0x10, 0x00]),
            (0x08, &[0x02, 0x02, 0x08, 0x01, 0x10]),
            (0x10, &[0x04, 0, 0, 0, 0xfe]),
            (0x2c, &[0xf4, 0x1a, 0x00, 0x11]),
            (0x34, &[0x40]),
            (0x40, &[0x11, 0x80, 0x40, 0, 0, 0x20, 0, 0, 0, 0x30, 0, 0]),
            (0x60, &[0x01, 0x00, 0x03, 0x02, 0x08, 0, 0, 0]),
            (0x80, &express),
        ],
    );
    assert_eq!(image(&nvme()).unwrap(), expected);
}

#[test]
fn igb_down_to_the_last_byte() {
    let expected = zeros_but(
        4096,
        &[
            (0x00, &[0x86, 0x80, 0xc9, 0x10, 0x06, 0x04, 0x10, 0x00]),
            (0x08, &[0x02, 0x00, 0x00, 0x02]),
            (0x10, &[0, 0, 0xa0, 0xfe, 0, 0, 0x40, 0xfe]),
            (0x1c, &[0x08, 0, 0xb0, 0xfe]),
            (0x2c, &[0xf4, 0x1a, 0x00, 0x11]),
            (0x34, &[0x40]),
            (0x40, &[0x01, 0x50, 0x23, 0x00, 0x08, 0, 0, 0]),
            (
                0x50,
                &[
                    0x05, 0x70, 0x81, 0x01, 0x00, 0x80, 0xe0, 0xfe, 0x01, 0, 0, 0, 0x41, 0, 0x99,
                    0x99, 1, 0, 0, 0, 2, 0, 0, 0,
                ],
            ),
            (
                0x70,
                &[0x11, 0xa0, 0x09, 0x80, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0],
            ),
            (0xa0, &EXPRESS),
            // Stands in for error reporting, and points to the serial number, the last.
            (0x100, &[0, 0, 0, 0x14]),
            (0x140, &[0x03, 0, 0x01, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ],
    );
    assert_eq!(image(&igb()).unwrap(), expected);
}

#[test]
fn a_pin_is_there_if_it_is_relayed() {
    for (pin, shown) in [(0, 0), (1, 1), (2, 1), (3, 1), (4, 1), (0xff, 1)] {
        let mut space = nvme();
        space.put8(0x3d, pin);
        let without = image_with(&space, false).unwrap();
        let with = image_with(&space, true).unwrap();
        assert_eq!((without[0x3d], with[0x3d]), (0, shown));
        // The line is a notepad, and starts empty; Status is asked for; and what has a pin is not disabled.
        assert_eq!((with[0x3c], with[0x06] & 0x08), (0, 0));
        let command = |image: &[u8]| get16(image, 0x04);
        assert_eq!(command(&without), 0x0506);
        assert_eq!(command(&with), if shown == 0 { 0x0506 } else { 0x0106 });
    }
}

#[test]
fn a_conventional_device_has_256_bytes() {
    let image = image(&igb().conventional()).unwrap();
    assert_eq!(image.len(), 256);
    assert_eq!(image[0xa0..0xd4], EXPRESS);
}

#[test]
fn what_comes_out_can_be_taken_in() {
    for space in [nvme(), igb(), nvme().conventional(), Space::new(1, 2, 3)] {
        Policy::of(&image(&space).unwrap()).unwrap();
    }
}

#[test]
fn presenting_an_image_changes_nothing_more() {
    for mut space in [nvme(), igb(), igb().conventional()] {
        for intx in [true, false] {
            let once = image_with(&space, intx).unwrap();
            space.bytes.clone_from(&once);
            assert_eq!(image_with(&space, intx).unwrap(), once);
        }
    }
}

#[test]
fn refused_spaces() {
    let change = |change: fn(&mut Space)| {
        let mut space = nvme();
        change(&mut space);
        image(&space)
    };
    for header_type in [1, 2, 0x7f] {
        let mut space = nvme();
        space.put8(0x0e, header_type | 0x80);
        assert_eq!(image(&space), Err(Malformed::HeaderType(header_type)));
    }
    assert_eq!(change(|s| s.put16(0, 0xffff)), Err(Malformed::Absent));
    assert_eq!(change(|s| s.bytes.fill(0xff)), Err(Malformed::Absent));
    for size in [0, 64, 255, 257, 4095] {
        let mut space = nvme();
        space.bytes.truncate(size);
        assert_eq!(image(&space), Err(Malformed::Size(size)));
    }
    let space = nvme();
    let mut short = [0; 4095];
    assert_eq!(
        present(&space.bytes, &space.bars, true, &mut short),
        Err(Malformed::Size(4095))
    );
    let mut long = [0xaa; 5000];
    assert_eq!(
        present(&space.bytes, &space.bars, true, &mut long),
        Ok(4096)
    );
    assert_eq!(long[4096..], [0xaa; 904]);
}

#[test]
fn the_borrower_refuses_what_present_does_not_make() {
    let good = image(&nvme()).unwrap();
    let with = |at: usize, value: u8| {
        let mut image = good.clone();
        image[at] = value;
        Policy::of(&image).map(|_| ())
    };
    assert_eq!(with(0x0e, 0x80), Err(Malformed::HeaderType(0x80)));
    assert_eq!(with(0x3d, 1), Ok(()));
    assert_eq!(with(0x3d, 2), Err(Malformed::Pin(2)));
    assert_eq!(with(0x3d, 0xff), Err(Malformed::Pin(0xff)));
    assert_eq!(with(0x0e, 1), Err(Malformed::HeaderType(1)));
    // 0x40 -> 0x80 -> 0x60 -> 0x80.
    assert_eq!(with(0x61, 0x80), Err(Malformed::Loop(0x80)));
    assert_eq!(with(0x41, 0x40), Err(Malformed::Loop(0x40)));
    // A second power management capability, in MSI-X's place.
    assert_eq!(with(0x40, 0x01), Err(Malformed::Twice(0x60)));
    assert_eq!(
        with(0x34, 0xf8).map(|_| ()),
        Ok(()),
        "an unknown one ends it"
    );
    let mut cut = good.clone();
    cut[0x34] = 0xfc;
    cut[0xfc] = 0x11;
    assert_eq!(Policy::of(&cut), Err(Malformed::Cut(0xfc)));
    // MSI-X of 12 bytes with something 8 bytes further.
    let mut across = good.clone();
    across[0x41] = 0x48;
    across[0x48..0x4a].copy_from_slice(&[0x09, 0]);
    assert_eq!(Policy::of(&across), Err(Malformed::Cut(0x40)));
    let mut port = good.clone();
    port[0x82] = 0x42;
    assert_eq!(Policy::of(&port), Err(Malformed::PortType(4)));

    assert_eq!(Policy::of(&good[..512]), Err(Malformed::Size(512)));
    assert_eq!(Policy::of(&[]), Err(Malformed::Size(0)));
    assert_eq!(Policy::of(&[0xff; 256]), Err(Malformed::Absent));
    for error in [
        Malformed::Size(1),
        Malformed::Absent,
        Malformed::HeaderType(1),
        Malformed::PortType(2),
        Malformed::Bar(3),
        Malformed::Loop(4),
        Malformed::Cut(5),
        Malformed::Twice(6),
    ] {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn impossible_bars() {
    const NONE: BarFlags = BarFlags::empty();
    let bar = |size, flags, address| Bar {
        size,
        flags,
        address,
    };
    let check = |bars: &[(usize, Bar)]| {
        let mut all = [Bar::default(); 6];
        for &(index, bar) in bars {
            all[index] = bar;
        }
        crate::check_bars(&all)
    };
    let good = [
        (0, bar(16, NONE, 0)),
        (0, bar(16, NONE, 0xffff_fff0)),
        (5, bar(1 << 31, BarFlags::PREFETCH, 1 << 31)),
        (4, bar(1 << 40, BarFlags::MEM64, 3 << 40)),
        (0, bar(1 << 63, BarFlags::all(), 0)),
        (0, bar(16, BarFlags::MEM64, u64::MAX - 15)),
    ];
    for bars in good {
        assert_eq!(check(&[bars]), Ok(()), "{bars:?}");
    }
    let bad = [
        (0, bar(8, NONE, 0)),
        (1, bar(1, NONE, 0)),
        (2, bar(24, NONE, 0)),
        (3, bar(u64::MAX, BarFlags::MEM64, 0)),
        (0, bar(0x1000, NONE, 0x800)),
        (0, bar(0x1000, NONE, 0x1_0000_0000)),
        (0, bar(1 << 33, NONE, 0)),
        (5, bar(0x1000, BarFlags::MEM64, 0)),
    ];
    for (index, bar) in bad {
        assert_eq!(
            check(&[(index, bar)]),
            Err(Malformed::Bar(index)),
            "{bar:?}"
        );
    }
    let wide = bar(16, BarFlags::MEM64, 0);
    assert_eq!(check(&[(0, wide), (1, wide)]), Err(Malformed::Bar(1)));
    assert_eq!(check(&[(0, wide), (2, wide), (4, wide)]), Ok(()));

    let mut space = nvme();
    space.bars[0].size = 3;
    assert_eq!(image(&space), Err(Malformed::Bar(0)));
}

/// Any six registers that can exist, in the places a generator of places gives them.
pub(super) fn any_bars() -> impl Strategy<Value = [Bar; 6]> {
    prop::array::uniform6((any::<bool>(), 4u32..64, 0u32..4, any::<u64>())).prop_map(|parts| {
        let mut bars = [Bar::default(); 6];
        let mut upper = false;
        for (index, (present, shift, flags, address)) in parts.into_iter().enumerate() {
            if upper || !present {
                upper = false;
                continue;
            }
            let mut flags = BarFlags::from_bits_truncate(flags);
            if index == 5 {
                flags.remove(BarFlags::MEM64);
            }
            upper = flags.contains(BarFlags::MEM64);
            let (size, address) = if upper {
                (1u64 << shift, address)
            } else {
                (1u64 << (shift % 28 + 4), address & 0xffff_ffff)
            };
            bars[index] = Bar {
                size,
                flags,
                address: address & !(size - 1),
            };
        }
        bars
    })
}

/// Bytes like a configuration space: anything at all, or one of the devices with some bytes changed.
pub(super) fn any_raw() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((0x00usize..0x200, any::<u8>()), 0..40);
    // Pointers and ids that have something to do with each other.
    let links = prop::collection::vec(
        (
            0x10usize..0x40,
            prop::sample::select(vec![1u8, 3, 5, 9, 0x10, 0x11, 0x12]),
            0x10u8..0x40,
        ),
        0..20,
    );
    prop_oneof![
        prop::collection::vec(any::<u8>(), 256),
        prop::collection::vec(any::<u8>(), 0x300).prop_map(|bytes| bytes
            .into_iter()
            .cycle()
            .take(4096)
            .collect()),
        (any::<bool>(), any::<bool>(), changes, links).prop_map(|(first, long, changes, links)| {
            let mut bytes = if first { nvme() } else { igb() }.bytes;
            for (at, value) in changes {
                bytes[at] = value;
            }
            for (at, id, next) in links {
                bytes[at * 4] = id;
                bytes[at * 4 + 1] = next * 4;
            }
            if !long {
                bytes.truncate(256);
            }
            bytes
        }),
    ]
    .prop_map(|mut bytes| {
        // Mostly an endpoint, else everything is refused at once.
        if bytes[0x0f] & 7 != 0 {
            bytes[0x0e] &= 0x80;
        }
        bytes
    })
}

proptest! {
    /// Whatever the device reads as: it ends, and what is made of it is something the borrower takes.
    #[test]
    fn images_of_arbitrary_spaces(raw in any_raw(), bars in any_bars(), intx: bool) {
        let mut out = vec![0xaa; raw.len()];
        let Ok(size) = present(&raw, &bars, intx, &mut out) else { return Ok(()) };
        prop_assert_eq!(size, raw.len());
        prop_assert!(Policy::of(&out).is_ok(), "{:?}", Policy::of(&out));

        // Never shown, whatever the device says.
        prop_assert_eq!(out[0x04] & 1, 0, "I/O decoding");
        prop_assert_eq!(out[0x0e], 0, "header type");
        for hidden in [0x0f..0x10, 0x28..0x2c, 0x30..0x34, 0x35..0x3d] {
            prop_assert!(out[hidden].iter().all(|&byte| byte == 0));
        }
        prop_assert_eq!(out[0x3d], u8::from(intx && raw[0x3d] != 0), "interrupt pin");
        // Only known capabilities in the list, and it ends; nothing beside them.
        let mut covered = vec![false; 256];
        covered[..0x40].fill(true);
        let mut at = usize::from(out[0x34]);
        let mut count = 0;
        while at != 0 {
            prop_assert!([1, 5, 9, 0x10, 0x11].contains(&out[at]));
            let length = match out[at] {
                1 => 8,
                5 => 24,
                9 => usize::from(out[at + 2]).max(3),
                0x10 => 0x34,
                _ => 12,
            };
            for covered in covered.iter_mut().skip(at).take(length) {
                *covered = true;
            }
            at = usize::from(out[at + 1]);
            count += 1;
            prop_assert!(count <= 48);
        }
        prop_assert_eq!(out[6] & 0x10 != 0, count > 0);
        for (at, covered) in covered.iter().enumerate() {
            prop_assert!(*covered || out[at] == 0, "{:#x}", at);
        }
        // Of the extended space, the serial number.
        let shown = out.iter().skip(0x100).filter(|&&byte| byte != 0).count();
        prop_assert!(shown <= 16);
    }

    /// Images from a hostile lender.
    #[test]
    fn policies_of_arbitrary_images(image in any_raw()) {
        let _ = Policy::of(&image);
    }

    #[test]
    fn arbitrary_bars_are_checked(parts in prop::array::uniform6((any::<u64>(), any::<u32>(), any::<u64>()))) {
        let bars = parts.map(|(size, flags, address)| Bar {
            size: if flags & 4 == 0 { size } else { 1 << (size % 64) },
            flags: BarFlags::from_bits_truncate(flags),
            address,
        });
        if crate::check_bars(&bars).is_ok() {
            let mut out = vec![0; 4096];
            prop_assert!(present(&nvme().bytes, &bars, false, &mut out).is_ok());
        }
    }
}
