// SPDX-License-Identifier: GPL-2.0

//! Which capabilities are shown, and what of them can be written: one table per capability.

use super::*;
use crate::{
    policy::{
        Read,
        Write, //
    },
    test_device::{
        express,
        get32,
        igb,
        nvme, //
    },
    Bar,
    BarFlags, //
};

/// What can be found out about a dword by using it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Observed {
    /// Bits that keep a write and are not forwarded.
    shadow: u32,
    /// Bits that keep a write and are forwarded.
    through: u32,
    /// Bits whose value comes from the device.
    live: u32,
    /// Bits forwarded when 1, and kept by nobody.
    clear: u32,
    /// Bits the lender lets be set and cleared.
    admitted: u32,
}

/// Uses every dword of the first 256 bytes but the base address registers.
fn observe(space: &Space) -> Vec<(u16, Observed)> {
    let (image, policy) = offered(space);
    let bars = [Bar::default(); 6];
    let mut found = Vec::new();
    for at in (0..256u16)
        .step_by(4)
        .filter(|at| !(0x10..0x28).contains(at))
    {
        let mut seen = Observed::default();
        let index = usize::from(at);
        // Bit by bit and byte by byte, so that neither the reset request nor bits cleared beside it hide another.
        for bit in 0..32 {
            let (at, shift) = (at + bit / 8, bit / 8 * 8);
            let byte = 1u32 << (bit % 8);
            let bit = 1u32 << bit;
            let mut shadow = image.clone();
            let old = u32::from(image[usize::from(at)]);
            policy.write(&mut shadow, &bars, at, 1, old & !byte);
            let cleared = get32(&shadow, index);
            let result = policy.write(&mut shadow, &bars, at, 1, cleared >> shift | byte);
            let set = get32(&shadow, index);
            assert_eq!((cleared ^ set) & !bit, 0);
            let kept = (cleared ^ set) & bit;
            match result {
                Write::Peer { value } if kept != 0 => {
                    assert_eq!(value & byte, byte);
                    seen.through |= kept;
                }
                Write::Peer { value } => seen.clear |= (value & byte) << shift,
                Write::Done => seen.shadow |= kept,
                Write::Reset => assert_eq!(kept, 0),
            }
            let set = policy.admit_write(at, 1, byte, 0).unwrap_or(0);
            let cleared = policy.admit_write(at, 1, !byte, byte).unwrap_or(byte);
            if set & byte != 0 && cleared & byte == 0 {
                seen.admitted |= bit;
            }
        }
        seen.live = policy.merge_read(&image, at, 4, !0) ^ policy.merge_read(&image, at, 4, 0);
        assert_eq!(policy.filter_read(at, 4, !0), seen.live);
        assert_eq!(policy.admit_read(at, 4), seen.live != 0);
        assert_eq!(policy.read(&image, at, 4) == Read::Peer, seen.live != 0);
        if seen != Observed::default() {
            found.push((at, seen));
        }
    }
    found
}

/// `offset: shadow, through, live, clear`.
type Row = (u16, u32, u32, u32, u32);

/// Checks that exactly these dwords can be written.
fn expect(space: &Space, rows: &[Row]) {
    let header: [Row; 3] = [
        (0x04, 0x0000_0400, 0x0000_0146, 0xf900_0000, 0xf900_0000),
        (0x0c, 0x0000_ffff, 0, 0, 0),
        (0x3c, 0x0000_00ff, 0, 0, 0),
    ];
    let mut expected: Vec<(u16, Observed)> = header
        .iter()
        .chain(rows)
        .map(|&(at, shadow, through, live, clear)| {
            let admitted = through | clear;
            (
                at,
                Observed {
                    shadow,
                    through,
                    live,
                    clear,
                    admitted,
                },
            )
        })
        .collect();
    expected.sort_by_key(|row| row.0);
    assert_eq!(observe(space), expected);
}

/// A device with one capability at 0x40.
fn with(id: u8, body: &[u8]) -> Space {
    let mut space = Space::new(0x1234, 0x5678, 0xff_0000);
    space.capability(0x40, id, body);
    space
}

/// The rows of a PCI Express capability of the second version.
const fn express_rows(at: u16) -> [Row; 3] {
    [
        (
            at + 0x08,
            0x0000_00ef,
            0x0000_7910,
            0x003f_0000,
            0x000f_0000,
        ),
        (at + 0x10, 0x0000_03cb, 0, 0, 0),
        (at + 0x28, 0x0000_035f, 0, 0, 0),
    ]
}

#[test]
fn header_only() {
    expect(&Space::new(0x1234, 0x5678, 0xff_0000), &[]);
}

#[test]
fn whole_devices() {
    let [control, link, control2] = express_rows(0x80);
    expect(
        &nvme(),
        &[
            (0x40, 0, 0xc000_0000, 0, 0),
            (0x64, 0x0000_0003, 0, 0, 0),
            control,
            link,
            control2,
        ],
    );
    let [control, link, control2] = express_rows(0xa0);
    expect(
        &igb(),
        &[
            (0x44, 0x0000_0003, 0, 0, 0),
            (0x50, 0, 0x0071_0000, 0, 0),
            (0x54, 0, 0xffff_fffc, 0, 0),
            (0x58, 0, 0xffff_ffff, 0, 0),
            (0x5c, 0, 0x0000_ffff, 0, 0),
            (0x60, 0, 0xffff_ffff, 0, 0),
            (0x64, 0, 0, 0xffff_ffff, 0),
            (0x70, 0, 0xc000_0000, 0, 0),
            control,
            link,
            control2,
        ],
    );
}

#[test]
fn msi_in_its_four_shapes() {
    let control: Row = (0x40, 0, 0x0071_0000, 0, 0);
    let low: Row = (0x44, 0, 0xffff_fffc, 0, 0);
    let flags = |value: u16| [value.to_le_bytes().to_vec(), vec![0; 20]].concat();
    expect(
        &with(5, &flags(0)),
        &[control, low, (0x48, 0, 0x0000_ffff, 0, 0)],
    );
    expect(
        &with(5, &flags(0x80)),
        &[
            control,
            low,
            (0x48, 0, 0xffff_ffff, 0, 0),
            (0x4c, 0, 0x0000_ffff, 0, 0),
        ],
    );
    expect(
        &with(5, &flags(0x100)),
        &[
            control,
            low,
            (0x48, 0, 0x0000_ffff, 0, 0),
            (0x4c, 0, 0xffff_ffff, 0, 0),
            (0x50, 0, 0, 0xffff_ffff, 0),
        ],
    );
    expect(
        &with(5, &flags(0x180)),
        &[
            control,
            low,
            (0x48, 0, 0xffff_ffff, 0, 0),
            (0x4c, 0, 0x0000_ffff, 0, 0),
            (0x50, 0, 0xffff_ffff, 0, 0),
            (0x54, 0, 0, 0xffff_ffff, 0),
        ],
    );
}

#[test]
fn express_in_its_shapes() {
    let first = {
        let mut body = express();
        body[0] = 0x01;
        body
    };
    let [control, link, control2] = express_rows(0x40);
    expect(&with(0x10, &express()), &[control, link, control2]);
    expect(&with(0x10, &first), &[control, link]);
    // Legacy endpoint.
    let mut legacy = express();
    legacy[0] = 0x12;
    expect(&with(0x10, &legacy), &[control, link, control2]);
    // In the root complex: no link.
    let mut integrated = express();
    integrated[0] = 0x92;
    expect(&with(0x10, &integrated), &[control, control2]);
    integrated[0] = 0x91;
    expect(&with(0x10, &integrated), &[control]);
    // Ports, bridges and the event collector are not lent.
    for kind in (0..16).filter(|kind| ![0, 1, 9].contains(kind)) {
        let mut port = express();
        port[0] = kind << 4 | 2;
        assert_eq!(image(&with(0x10, &port)), Err(Malformed::PortType(kind)));
    }
}

#[test]
fn the_first_version_of_express_shows_its_twenty_bytes() {
    let mut body = express();
    body[0] = 0x01;
    let image = image(&with(0x10, &body)).unwrap();
    assert_eq!(image[0x42..0x46], [0x01, 0x00, 0xc0, 0x8f]);
    assert!(image[0x54..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_vendor_capability_is_shown_and_fixed() {
    let space = with(9, &[10, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(&space, &[]);
    let image = image(&space).unwrap();
    assert_eq!(
        image[0x40..0x4c],
        [9, 0, 10, 1, 2, 3, 4, 5, 6, 7, 0, 0],
        "ten bytes, as it says"
    );
}

#[test]
fn a_vendor_capability_does_not_reach_into_the_next() {
    let mut space = with(9, &[0xff, 1, 2, 3, 4, 5]);
    space.put32(0x4c, 0xdead_beef);
    space.capability(0x48, 1, &[0x03, 0x00, 0, 0, 0, 0]);
    space.put32(0x50, 0xdead_beef);
    let (image, _) = offered(&space);
    assert_eq!(image[0x40..0x48], [9, 0x48, 0xff, 1, 2, 3, 4, 5]);
    assert_eq!(image[0x48..0x50], [1, 0, 3, 0, 8, 0, 0, 0]);
    assert!(image[0x50..].iter().all(|&byte| byte == 0));
    // At the very end.
    let mut space = Space::new(1, 2, 3);
    space.capability(0xfc, 9, &[0xff, 7]);
    let (image, _) = offered(&space);
    assert_eq!(image[0xfc..0x100], [9, 0, 0xff, 7]);
    assert_eq!(image[0x100], 0);
}

/// Whoever maps them, and the kernel does, would get whatever lies there.
#[test]
fn vectors_outside_of_the_registers_are_hidden() {
    let shown = |vectors: u16, table: u32, pending: u32| {
        let mut space = Space::new(0x1234, 0x5678, 0xff_0000);
        space.bar(0, 0x1_0000, BarFlags::empty(), 0xfe00_0000);
        space.bar(2, 0x1000, BarFlags::MEM64, 0x10_0000_0000);
        let words = [vectors - 1, 0, 0, 0, 0];
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        body[2..6].copy_from_slice(&table.to_le_bytes());
        body[6..10].copy_from_slice(&pending.to_le_bytes());
        space.capability(0x40, 0x11, &body);
        offered(&space).0[0x34] == 0x40
    };
    assert!(shown(2048, 0, 0x8000), "all there can be");
    assert!(shown(64, 2, 0xfff8), "in two registers");
    assert!(shown(256, 2, 0x8000), "up to the end");
    assert!(!shown(257, 2, 0x8000), "beyond the end");
    assert!(!shown(1, 0x1002, 0), "behind the end");
    assert!(!shown(1, 0xffff_fff8, 0), "far behind it");
    assert!(!shown(1, 0, 0x1_0000), "pending bits behind the end");
    assert!(
        shown(64, 0, 0xfff8) && !shown(65, 0, 0xfff8),
        "pending bits up to the end"
    );
    for nowhere in [1, 3, 4, 5, 6, 7] {
        assert!(!shown(1, nowhere, 0) && !shown(1, 0, nowhere));
    }
}

#[test]
fn all_other_capabilities_are_hidden() {
    for id in 0..=u8::MAX {
        let mut space = with(id, &[0; 0x3a]);
        space.bar(0, 0x1000, BarFlags::empty(), 0xfe00_0000);
        let (image, _) = offered(&space);
        let shown = [1, 5, 9, 0x11].contains(&id) || id == 0x10;
        assert_eq!(image[0x34] == 0x40, shown, "{id:#x}");
        assert_eq!(image[0x06] & 0x10 != 0, shown);
        assert_eq!(image[0x40..].iter().any(|&byte| byte != 0), shown);
    }
}

#[test]
fn broken_lists_are_cut_where_they_break() {
    let list = |space: &Space| {
        let image = offered(space).0;
        let mut at = image[0x34];
        let mut list = Vec::new();
        while at != 0 {
            list.push(at);
            at = image[usize::from(at) + 1];
        }
        list
    };
    let change = |changes: &[(usize, u8)]| {
        let mut space = nvme();
        for &(at, value) in changes {
            space.put8(at, value);
        }
        list(&space)
    };
    assert_eq!(change(&[]), [0x40, 0x80, 0x60]);
    // Reserved low bits of pointers.
    assert_eq!(change(&[(0x34, 0x43), (0x41, 0x81)]), [0x40, 0x80, 0x60]);
    // No list, says the status register.
    assert_eq!(change(&[(0x06, 0)]), []);
    // Into the header.
    assert_eq!(change(&[(0x34, 0x3c)]), []);
    assert_eq!(change(&[(0x81, 0x10)]), [0x40, 0x80]);
    // Loops.
    assert_eq!(change(&[(0x41, 0x40)]), [0x40]);
    assert_eq!(change(&[(0x61, 0x40)]), [0x40, 0x80, 0x60]);
    // All ones at the end.
    assert_eq!(
        change(&[(0x61, 0xff), (0xfc, 0xff), (0xfd, 0xff)]),
        [0x40, 0x80, 0x60]
    );
    // Cut off by the end, or by the next: not shown, the rest is.
    assert_eq!(
        change(&[(0x61, 0xf8), (0xf8, 5), (0xf9, 0)]),
        [0x40, 0x80, 0x60]
    );
    assert_eq!(
        change(&[(0x41, 0x84), (0x84, 0), (0x85, 0x80)]),
        [0x40, 0x60]
    );
    // A second of a kind.
    assert_eq!(
        change(&[(0x61, 0xc0), (0xc0, 1), (0xc1, 0)]),
        [0x40, 0x80, 0x60]
    );
}

#[test]
fn the_serial_number_wherever_it_is() {
    const SERIAL: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    let shown = |space: &Space| image(space).unwrap()[0x100..].to_vec();
    let expected = |at: usize| {
        let mut bytes = vec![0; 0xf00];
        bytes[..4].copy_from_slice(&((at as u32) << 20).to_le_bytes());
        bytes[at - 0x100..at - 0xfc].copy_from_slice(&[3, 0, 1, 0]);
        bytes[at - 0xfc..at - 0xf4].copy_from_slice(&SERIAL);
        bytes
    };
    let device = || Space::new(1, 2, 3);

    let mut first = device();
    first.extended(0x100, 3, 1, &SERIAL);
    first.extended(0x200, 0x10, 1, &[0xff; 60]);
    assert_eq!(shown(&first), expected(0x100));

    let mut behind = device();
    behind.extended(0x100, 0x1e, 1, &[0xff; 12]);
    behind.extended(0x800, 0x0b, 1, &[0xff; 12]);
    behind.extended(0xff4, 3, 1, &SERIAL);
    assert_eq!(shown(&behind), expected(0xff4));

    // Cut off by the end.
    let mut cut = device();
    cut.extended(0x100, 1, 1, &[]);
    cut.extended(0xff8, 3, 1, &[]);
    assert_eq!(shown(&cut), [0; 0xf00]);

    // None, a list that is none, a loop, a pointer into the first 256 bytes.
    let none = [0u32, !0, 0x1001_0001, 0x0ff1_0001, 0x0001_0001];
    for header in none {
        let mut space = device();
        space.put32(0x100, header);
        assert_eq!(shown(&space), [0; 0xf00], "{header:#x}");
    }
}

#[test]
fn extended_capabilities_that_are_hidden() {
    for id in (0..0x100)
        .chain([0x103, 0x8003, 0xff03, 0xfffe, 0xffff])
        .filter(|&id| id != 3)
    {
        let mut space = Space::new(1, 2, 3);
        space.extended(0x100, id, 1, &[0xff; 60]);
        let image = image(&space).unwrap();
        assert!(image[0x100..].iter().all(|&byte| byte == 0), "{id:#x}");
    }
}
