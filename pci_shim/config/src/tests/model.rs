// SPDX-License-Identifier: GPL-2.0

//! Borrower, lender and device together: the same accesses through the policy, and what has to hold after each.

use super::{
    image::any_raw,
    *, //
};
use crate::{
    policy::{
        Read,
        Write, //
    },
    test_device::{
        igb,
        nvme, //
    },
    Bar,
    IntxGate, //
};
use proptest::prelude::*;

/// Where writes may go at all, bytes.
const WRITABLE: usize = 256;

/// A device in which every bit can be written, but for Status and Device Status, whose bits are cleared by writing 1.
#[derive(Clone)]
struct Device {
    bytes: Vec<u8>,
    /// Offsets of the bytes in which writing 1 clears.
    clearing: Vec<usize>,
}

impl Device {
    fn read(&self, offset: u16, size: u8) -> u32 {
        let at = usize::from(offset);
        let mut value = [0; 4];
        value[..usize::from(size)].copy_from_slice(&self.bytes[at..at + usize::from(size)]);
        u32::from_le_bytes(value)
    }

    fn write(&mut self, offset: u16, size: u8, value: u32) {
        for (index, byte) in value
            .to_le_bytes()
            .into_iter()
            .take(usize::from(size))
            .enumerate()
        {
            let at = usize::from(offset) + index;
            if self.clearing.contains(&at) {
                self.bytes[at] &= !byte;
            } else {
                self.bytes[at] = byte;
            }
        }
    }
}

/// The two hosts and the device.
struct Pair {
    device: Device,
    policy: Policy,
    image: Vec<u8>,
    bars: [Bar; 6],
    /// The lender's, if it relays INTx.
    gate: Option<IntxGate>,
}

impl Pair {
    fn new(space: &Space, express: usize) -> Self {
        Self::with(space, express, None)
    }

    fn with(space: &Space, express: usize, gate: Option<IntxGate>) -> Self {
        let (image, policy) = offered_with(space, gate.is_some());
        let mut space = space.clone();
        if gate.is_some() {
            // The lender begins a lease with the device masked.
            space.bytes[5] |= 0x04;
        }
        Self {
            gate,
            device: Device {
                bytes: space.bytes.clone(),
                clearing: vec![6, 7, express + 0xa, express + 0xb],
            },
            policy,
            image,
            bars: space.bars,
        }
    }

    /// The borrower writes; says whether the device was reached.
    fn write(&mut self, offset: u16, size: u8, value: u32) -> bool {
        match self
            .policy
            .write(&mut self.image, &self.bars, offset, size, value)
        {
            Write::Done | Write::Reset => false,
            Write::Peer { value } => {
                let current = self.device.read(offset, size);
                let value = self
                    .policy
                    .admit_write(offset, size, value, current)
                    .expect("the lender admits what the borrower forwards");
                let value = match &mut self.gate {
                    Some(gate) => gate.write(offset, size, value),
                    None => value,
                };
                self.device.write(offset, size, value);
                true
            }
        }
    }

    /// The borrower reads.
    fn read(&self, offset: u16, size: u8) -> u32 {
        match self.policy.read(&self.image, offset, size) {
            Read::Shadow(value) => value,
            Read::Peer => {
                assert!(self.policy.admit_read(offset, size));
                let value = self
                    .policy
                    .filter_read(offset, size, self.device.read(offset, size));
                self.policy.merge_read(&self.image, offset, size, value)
            }
        }
    }
}

impl Pair {
    /// A reset, and what the lender's kernel restores by itself: the header, and Device Control.
    fn reset(&mut self, first: &[u8], express: usize) {
        let bytes = &mut self.device.bytes;
        let header = bytes[..0x40].to_vec();
        let control = [bytes[express + 8], bytes[express + 9]];
        bytes.copy_from_slice(first);
        for (at, bits) in reachable(express, Some(0x50), 0x70) {
            bytes[at] &= !bits;
        }
        bytes[..0x40].copy_from_slice(&header);
        bytes[express + 8..express + 10].copy_from_slice(&control);
    }
}

/// What may change in the device, by byte: written bits and cleared bits.
fn reachable(express: usize, msi: Option<usize>, msix: usize) -> Vec<(usize, u8)> {
    let mut bits = vec![
        (0x04, 0x46),
        (0x05, 0x05), // SERR#, and INTx disable, which the lender sets
        (0x07, 0xf9),
        (express + 8, 0x10),
        (express + 9, 0x79),
        (express + 0xa, 0x0f),
        (msix + 3, 0xc0),
    ];
    if let Some(msi) = msi {
        bits.push((msi + 2, 0x71));
        bits.push((msi + 4, 0xfc));
        bits.extend((msi + 5..msi + 14).map(|at| (at, 0xff)));
        bits.extend((msi + 16..msi + 20).map(|at| (at, 0xff)));
    }
    bits
}

fn access() -> impl Strategy<Value = (u16, u8, u32)> {
    let offset = prop_oneof![
        4 => 0u16..0x100,
        3 => prop::sample::select(vec![0x04u16, 0x06, 0x40, 0x50, 0x54, 0x58, 0x5c, 0x60, 0x70, 0x88, 0xa8]),
        1 => any::<u16>(),
    ];
    let value = prop_oneof![
        any::<u32>(),
        Just(0),
        Just(!0),
        (0u32..32).prop_map(|shift| 1 << shift)
    ];
    (offset, prop::sample::select(vec![1u8, 2, 4]), value)
        .prop_map(|(offset, size, value)| (offset - offset % u16::from(size), size, value))
}

/// Whether two states of a device differ in reachable bits only.
fn in_bounds(first: &[u8], now: &[u8], reachable: &[(usize, u8)]) -> Result<(), TestCaseError> {
    for (at, (old, new)) in first.iter().zip(now).take(WRITABLE).enumerate() {
        if old != new {
            let allowed = reachable.iter().find(|&&(place, _)| place == at);
            let allowed = allowed.map_or(0, |&(_, bits)| bits);
            prop_assert_eq!((old ^ new) & !allowed, 0, "byte {:#x}", at);
        }
    }
    Ok(())
}

fn check(
    mut pair: Pair,
    reachable: &[(usize, u8)],
    steps: &[(u16, u8, u32)],
) -> Result<(), TestCaseError> {
    let first = pair.device.bytes.clone();
    for &(offset, size, value) in steps {
        let before = pair.device.bytes[..WRITABLE].to_vec();
        let reached = pair.write(offset, size, value);
        prop_assert!(reached || pair.device.bytes[..WRITABLE] == before);

        in_bounds(&first, &pair.device.bytes, reachable)?;
        // Bits that are written through are the same on both sides; INTx disable and cleared bits are not of them. With a relay
        // INTx disable is the borrower's in a gate that is open, else set.
        if let Some(gate) = &pair.gate {
            let (shadow, device) = (pair.image[0x05] & 0x04, pair.device.bytes[0x05] & 0x04);
            prop_assert_eq!(device == 0, gate.is_open());
            prop_assert!(shadow == 0 || device != 0);
        }
        for &(at, bits) in reachable {
            let bits = match at {
                0x05 => bits & !0x04,
                _ if pair.device.clearing.contains(&at) => 0,
                _ => bits,
            };
            prop_assert_eq!(
                (pair.image[at] ^ pair.device.bytes[at]) & bits,
                0,
                "byte {:#x}",
                at
            );
        }
        // Whatever way it is read, a byte is the same.
        if usize::from(offset) + 4 <= pair.image.len() {
            let at = offset - offset % 4;
            let dword = pair.read(at, 4);
            let words = [pair.read(at, 2), pair.read(at + 2, 2)];
            prop_assert_eq!(dword, words[0] | words[1] << 16);
            let bytes = [0, 1, 2, 3].map(|index| pair.read(at + index, 1));
            prop_assert_eq!(
                dword,
                bytes[0] | bytes[1] << 8 | bytes[2] << 16 | bytes[3] << 24
            );
        }
    }
    prop_assert_eq!(&pair.device.bytes[WRITABLE..], &first[WRITABLE..]);
    Ok(())
}

proptest! {
    /// No sequence of writes by the borrower moves a bit of the device that it must not, and none of those it may gets
    /// lost.
    #[test]
    fn nvme_stays_in_bounds(steps in prop::collection::vec(access(), 1..60)) {
        check(Pair::new(&nvme(), 0x80), &reachable(0x80, None, 0x40), &steps)?;
    }

    #[test]
    fn relayed_intx_stays_in_bounds(
        steps in prop::collection::vec(access(), 1..60),
        unmasked: bool,
    ) {
        let mut gate = IntxGate::default();
        let mut pair = Pair::with(&nvme(), 0x80, Some(gate));
        if unmasked {
            gate.unmask();
            pair.gate = Some(gate);
            pair.device.bytes[5] &= !0x04;
        }
        check(pair, &reachable(0x80, None, 0x40), &steps)?;
    }

    #[test]
    fn igb_stays_in_bounds(steps in prop::collection::vec(access(), 1..60)) {
        check(Pair::new(&igb(), 0xa0), &reachable(0xa0, Some(0x50), 0x70), &steps)?;
    }

    /// A lender under a borrower that does not keep to the policy: the same bounds.
    #[test]
    fn a_hostile_borrower_stays_in_bounds(
        steps in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u32>()), 1..60),
        aligned in prop::collection::vec(access(), 0..60),
    ) {
        let mut pair = Pair::new(&igb(), 0xa0);
        let first = pair.device.bytes.clone();
        let reachable = reachable(0xa0, Some(0x50), 0x70);
        for (offset, size, value) in steps.into_iter().chain(aligned) {
            let readable = matches!(size, 1 | 2 | 4) && usize::from(offset) + usize::from(size) <= 4096;
            let current = if readable { pair.device.read(offset, size) } else { 0 };
            if let Some(value) = pair.policy.admit_write(offset, size, value, current) {
                prop_assert!(readable && offset % u16::from(size) == 0);
                pair.device.write(offset, size, value);
            }
            in_bounds(&first, &pair.device.bytes, &reachable)?;
        }
        prop_assert_eq!(&pair.device.bytes[WRITABLE..], &first[WRITABLE..]);
        // It was off, and is not to be had.
        let command = u16::from_le_bytes([pair.device.bytes[4], pair.device.bytes[5]]);
        prop_assert!(command & 0x400 != 0);
    }

    /// Any image that is taken can be used in any way; what is forwarded is admitted.
    #[test]
    fn arbitrary_images_and_accesses(
        raw in any_raw(),
        bars in super::image::any_bars(),
        steps in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u32>(), any::<u32>()), 0..20),
        aligned in prop::collection::vec((access(), any::<u32>()), 0..40),
        hostile: bool,
        intx: bool,
    ) {
        let mut image = vec![0; raw.len()];
        if hostile {
            image.copy_from_slice(&raw);
        } else if present(&raw, &bars, intx, &mut image).is_err() {
            return Ok(());
        }
        let Ok(policy) = Policy::of(&image) else { return Ok(()) };
        let aligned = aligned.into_iter().map(|((offset, size, value), device)| (offset, size, value, device));
        for (offset, size, value, device) in steps.into_iter().chain(aligned) {
            let limit = match size {
                1 => 0xff,
                2 => 0xffff,
                _ => u32::MAX,
            };
            if policy.read(&image, offset, size) == Read::Peer {
                prop_assert!(policy.admit_read(offset, size));
                prop_assert!(policy.filter_read(offset, size, device) <= limit);
                prop_assert!(policy.merge_read(&image, offset, size, device) <= limit);
            }
            if let Write::Peer { value } = policy.write(&mut image, &bars, offset, size, value) {
                prop_assert!(value <= limit);
                let admitted = policy.admit_write(offset, size, value, device);
                prop_assert!(admitted.is_some_and(|admitted| admitted <= limit));
            }
        }
        // What was written into the shadow is still an image, and so is what the device says of it.
        prop_assert_eq!(Policy::of(&image), Ok(policy));
        let mut registers = raw.chunks_exact(4).cycle();
        policy.refresh(&mut image, |_| {
            let bytes = registers.next().and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        });
        prop_assert_eq!(Policy::of(&image), Ok(policy));
    }

    /// A reset in the middle, saved and restored by the lender, is not noticed.
    #[test]
    fn a_reset_takes_nothing_away(
        before in prop::collection::vec(access(), 1..40),
        after in prop::collection::vec(access(), 1..40),
    ) {
        const EXPRESS: usize = 0xa0;
        let mut pair = Pair::new(&igb(), EXPRESS);
        let first = pair.device.bytes.clone();
        for &(offset, size, value) in &before {
            pair.write(offset, size, value);
        }
        let saved = pair.policy.save(|at| pair.device.read(at, 4));
        pair.reset(&first, EXPRESS);
        let policy = pair.policy;
        let device = std::cell::RefCell::new(&mut pair.device);
        policy.restore(
            &saved,
            |at| device.borrow().read(at, 4),
            |at, value| device.borrow_mut().write(at, 4, value),
        );
        check(pair, &reachable(EXPRESS, Some(0x50), 0x70), &after)?;
    }
}

#[test]
fn what_enables_is_restored_last() {
    let (_, policy) = offered(&igb());
    let saved = policy.save(|_| !0);
    let mut order = Vec::new();
    policy.restore(&saved, |_| 0, |at, value| order.push((at, value)));
    assert_eq!(
        order,
        [
            (0xa8, 0x0000_7910),
            (0x70, 0xc000_0000),
            (0x60, 0xffff_ffff),
            (0x5c, 0x0000_ffff),
            (0x58, 0xffff_ffff),
            (0x54, 0xffff_fffc),
            (0x50, 0x0071_0000),
            (0x04, 0x0000_0546),
        ]
    );
    // Status and Device Status are not cleared along the way.
    order.clear();
    policy.restore(&saved, |_| !0, |at, value| order.push((at, value)));
    assert_eq!(order[0], (0xa8, 0x0000_7fff));
    assert_eq!(order[7], (0x04, 0x0000_ffff));
    // A device without capabilities has nothing but Command.
    let (_, policy) = offered(&Space::new(1, 2, 3));
    order.clear();
    policy.restore(
        &policy.save(|_| 6),
        |_| 0,
        |at, value| order.push((at, value)),
    );
    assert_eq!(order, [(0x04, 0x0406)]);
}
