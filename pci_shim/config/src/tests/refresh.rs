// SPDX-License-Identifier: GPL-2.0

//! The lender's view of what a borrower sees.

use super::*;
use crate::{
    test_device::{
        get16,
        get32,
        igb,
        nvme, //
    },
    Write, //
};

/// Only these registers are read, and only the bits that the device has a say in are taken.
#[test]
fn only_what_the_device_holds_is_read() {
    let (image, policy) = offered(&igb());
    let mut seen = image.clone();
    let mut read = Vec::new();
    policy.refresh(&mut seen, |at| {
        read.push(at);
        !get32(&image, at.into())
    });
    assert_eq!(read, [0x04, 0x50, 0x54, 0x58, 0x5c, 0x60, 0x64, 0x70, 0xa8]);
    let changed: Vec<(usize, u32)> = (0..image.len())
        .step_by(4)
        .map(|at| (at, get32(&image, at) ^ get32(&seen, at)))
        .filter(|&(_, bits)| bits != 0)
        .collect();
    assert_eq!(
        changed,
        [
            (0x04, 0xf900_0146),
            (0x50, 0x0071_0000),
            (0x54, 0xffff_fffc),
            (0x58, 0xffff_ffff),
            (0x5c, 0x0000_ffff),
            (0x60, 0xffff_ffff),
            (0x64, 0xffff_ffff),
            (0x70, 0xc000_0000),
            (0xa8, 0x003f_7910),
        ]
    );
}

/// After the borrower's writes the view is its shadow, but for the bits that live there alone.
#[test]
fn it_follows_the_borrowers_writes() {
    let space = nvme();
    let (image, policy) = offered(&space);
    let mut shadow = image.clone();
    let mut device = space.bytes.clone();
    for (offset, value) in [(0x04, 0x0406), (0x42, 0xc000), (0x64, 3), (0x88, 0x5810)] {
        if let Write::Peer { value } = policy.write(&mut shadow, &space.bars, offset, 2, value) {
            let at = usize::from(offset);
            let current = u32::from(get16(&device, at));
            let value = policy.admit_write(offset, 2, value, current).unwrap();
            device[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        }
    }
    let mut seen = image.clone();
    policy.refresh(&mut seen, |at| get32(&device, at.into()));
    let differ: Vec<usize> = (0..seen.len())
        .filter(|&at| seen[at] != shadow[at])
        .collect();
    assert_eq!(differ, [0x64], "the power state is the borrower's alone");
    assert_ne!(seen, image);
}
