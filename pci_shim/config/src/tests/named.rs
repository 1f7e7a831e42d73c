// SPDX-License-Identifier: GPL-2.0

//! Each capability by name, with registers as devices have them: what is shown of it, and what its registers do.

use super::*;
use crate::{
    policy::{
        Read,
        Write, //
    },
    test_device::{
        get16,
        get32, //
    },
    BarFlags, //
};

/// A device with one capability at 0x40.
fn with(id: u8, body: &[u8]) -> Space {
    let mut space = Space::new(0x1234, 0x5678, 0xff_0000);
    space.bar(0, 0x1_0000, BarFlags::empty(), 0xfe00_0000);
    space.capability(0x40, id, body);
    space
}

/// A device with one extended capability at 0x100, whose registers all have bits set.
fn with_extended(id: u16) -> Space {
    let mut space = Space::new(0x1234, 0x5678, 0xff_0000);
    space.extended(0x100, id, 1, &[0xa5; 0x60]);
    space
}

#[test]
fn power_management_without_events_and_with_a_state_of_ones_own() {
    // Version 3, auxiliary current, D1, D2, PME from everywhere; D0, PME enabled and pending, data.
    let space = with(1, &[0xc3, 0xff, 0x00, 0x81, 0x40, 0x7f]);
    let (mut image, policy) = offered(&space);
    assert_eq!(get16(&image, 0x42), 0x07c3, "no PME");
    assert_eq!(
        get32(&image, 0x44),
        0x0000_0008,
        "no status, no data; a change of state resets nothing"
    );
    let before = image.clone();
    for state in [3, 0, 2, 1, 0] {
        let written = policy.write(&mut image, &space.bars, 0x44, 2, state | 0xff00);
        assert_eq!(written, Write::Done, "the device stays awake");
        assert_eq!(policy.read(&image, 0x44, 2), Read::Shadow(8 | state));
        assert_eq!(policy.admit_write(0x44, 2, state, 0), None);
    }
    assert_eq!(image, before);
    assert!(!policy.admit_read(0x44, 2));
}

#[test]
fn msi_is_set_up_in_the_device() {
    // 32 messages, 64 bits, masks, extended data; on, with sixteen of them.
    let space = with(5, &[0xcb, 0x07, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x41, 0]);
    let (mut image, policy) = offered(&space);
    assert_eq!(get16(&image, 0x42), 0x01cb, "no extended data");
    let mut write =
        |offset, size, value| policy.write(&mut image, &space.bars, offset, size, value);
    let peer = |value| Write::Peer { value };
    assert_eq!(write(0x44, 4, 0x1234_5678), peer(0x1234_5678));
    assert_eq!(write(0x48, 4, 0x0000_00fe), peer(0x0000_00fe));
    assert_eq!(write(0x4c, 2, 0x4142), peer(0x4142));
    assert_eq!(write(0x50, 4, 0x0000_00ff), peer(0x0000_00ff));
    assert_eq!(write(0x42, 2, 0xffff), peer(0x0071));
    assert_eq!(
        write(0x54, 4, !0),
        Write::Done,
        "pending bits are read only"
    );
    assert_eq!(policy.read(&image, 0x54, 4), Read::Peer);
    assert_eq!(policy.admit_write(0x54, 4, !0, 0), None);
}

#[test]
fn msix_is_turned_on_in_the_device_and_moves_nowhere() {
    // Sixteen vectors in BAR 0, off and masked.
    let space = with(0x11, &[0x0f, 0x40, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0]);
    let (mut image, policy) = offered(&space);
    assert_eq!(
        image[0x40..0x4c],
        [0x11, 0, 0x0f, 0x40, 0, 0x20, 0, 0, 0, 0x30, 0, 0]
    );
    let mut write =
        |offset, size, value| policy.write(&mut image, &space.bars, offset, size, value);
    assert_eq!(write(0x42, 2, 0x8000), Write::Peer { value: 0x8000 });
    assert_eq!(write(0x42, 2, 0xffff), Write::Peer { value: 0xc000 });
    assert_eq!(write(0x44, 4, !0), Write::Done);
    assert_eq!(write(0x48, 4, !0), Write::Done);
    assert_eq!(
        get16(&image, 0x42),
        0xc00f,
        "the number of vectors is fixed"
    );
    assert_eq!(get32(&image, 0x44), 0x2000);
    assert_eq!(policy.admit_write(0x42, 2, 0x8000, 0x000f), Some(0x800f));
    assert_eq!(policy.admit_write(0x44, 4, 0, 0x2000), None);
}

#[test]
fn express_without_what_belongs_to_the_lenders_fabric() {
    let space = with(0x10, &crate::test_device::express());
    let (mut image, policy) = offered(&space);
    // Payload size and error reporting are kept here, read request size and ordering go to the device.
    let written = policy.write(&mut image, &space.bars, 0x48, 2, 0x50ff);
    assert_eq!(written, Write::Peer { value: 0x5010 });
    assert_eq!(get16(&image, 0x48), 0x50ff);
    assert_eq!(policy.admit_write(0x48, 2, 0xffff, 0x200f), Some(0x791f));
    // The link is the lender's.
    assert_eq!(
        policy.write(&mut image, &space.bars, 0x50, 2, 3),
        Write::Done
    );
    assert_eq!(policy.admit_write(0x50, 2, 3, 0), None);
    // A reset is a request of its own, for devices that have it.
    assert_eq!(
        policy.write(&mut image, &space.bars, 0x48, 2, 0x8000),
        Write::Reset
    );
    let mut body = crate::test_device::express();
    body[5] &= !0x10;
    let space = with(0x10, &body);
    let (mut image, policy) = offered(&space);
    assert_ne!(
        policy.write(&mut image, &space.bars, 0x48, 2, 0x8000),
        Write::Reset
    );
}

#[test]
fn vendor_specific_registers_are_shown_and_written_by_nobody() {
    let space = with(9, &[8, 0x12, 0x34, 0x56, 0x78, 0x9a]);
    let (mut image, policy) = offered(&space);
    let before = image.clone();
    assert_eq!(image[0x40..0x48], [9, 0, 8, 0x12, 0x34, 0x56, 0x78, 0x9a]);
    for at in 0x40..0x48 {
        assert_eq!(
            policy.write(&mut image, &space.bars, at, 1, 0xff),
            Write::Done
        );
        assert_eq!(policy.admit_write(at, 1, 0xff, 0), None);
        assert!(!policy.admit_read(at, 1));
    }
    assert_eq!(image, before);
}

/// Whoever writes the address of vital product data starts a read, or a write, of the device's memory.
#[test]
fn vital_product_data_is_hidden_and_cannot_be_moved() {
    let space = with(3, &[0x00, 0x80, 1, 2, 3, 4]);
    let (mut image, policy) = offered(&space);
    assert_eq!(image[0x34], 0);
    assert!(image[0x40..].iter().all(|&byte| byte == 0));
    for at in [0x40, 0x42, 0x44] {
        assert_eq!(
            policy.write(&mut image, &space.bars, at, 2, 0x8000),
            Write::Done
        );
        assert_eq!(policy.admit_write(at, 2, 0x8000, 0), None);
        assert!(!policy.admit_read(at, 2));
    }
}

/// Names as in `linux/pci_regs.h`, and why they are hidden.
#[test]
fn hidden_in_the_extended_space() {
    for (id, name) in [
        (0x01, "AER: errors go to the lender's root port"),
        (0x02, "VC: channels of the lender's fabric"),
        (0x04, "PWR: power budgets of the lender's slots"),
        (0x0b, "VNDR: nobody knows what it does"),
        (0x0d, "ACS: what the lender's fabric lets pass"),
        (0x0e, "ARI: functions beside it"),
        (0x0f, "ATS: the lender's IOMMU"),
        (0x10, "SR-IOV: functions that the borrower cannot reach"),
        (0x13, "PRI: the lender's IOMMU"),
        (0x15, "REBAR: the lender's addresses"),
        (0x17, "TPH: caches of the lender's processors"),
        (0x18, "LTR: the lender's fabric"),
        (0x19, "SECPCI: the lender's link"),
        (0x1b, "PASID: the lender's IOMMU"),
        (0x1d, "DPC: a port's"),
        (0x1e, "L1SS: the lender's link"),
        (0x1f, "PTM: the lender's clock"),
        (0x23, "DVSEC: nobody knows what it does"),
        (
            0x2e,
            "DOE: a mailbox whose other end may be the lender's kernel",
        ),
    ] {
        let space = with_extended(id);
        let (mut image, policy) = offered(&space);
        assert!(image[0x100..].iter().all(|&byte| byte == 0), "{name}");
        for at in (0x100..0x168).step_by(4) {
            assert_eq!(policy.read(&image, at, 4), Read::Shadow(0), "{name}");
            assert_eq!(
                policy.write(&mut image, &space.bars, at, 4, !0),
                Write::Done,
                "{name}"
            );
            assert!(!policy.admit_read(at, 4), "{name}");
            assert_eq!(policy.admit_write(at, 4, !0, 0), None, "{name}");
        }
        assert!(image[0x100..].iter().all(|&byte| byte == 0), "{name}");
    }
}

/// Errors that a device reports reach its borrower as an event; the bits that say so in Device Status are the device's own.
#[test]
fn what_is_left_of_errors_without_aer() {
    let mut space = with(0x10, &crate::test_device::express());
    space.extended(0x100, 0x01, 2, &[0xff; 0x44]);
    let (mut image, policy) = offered(&space);
    assert_eq!(policy.read(&image, 0x4a, 2), Read::Peer);
    assert_eq!(
        policy.write(&mut image, &space.bars, 0x4a, 2, 0xf),
        Write::Peer { value: 0xf }
    );
    // Whether they are reported at all is the lender's choice.
    assert_eq!(policy.admit_write(0x48, 2, 0x0000, 0x000f), Some(0x000f));
    assert_eq!(policy.admit_write(0x48, 2, 0x000f, 0x0000), Some(0x0000));
}
