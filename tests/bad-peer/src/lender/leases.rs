// SPDX-License-Identifier: GPL-2.0

//! Leases that are lies: in the answer to the open, or in the configuration space.
//!
//! One device for each; a line of `ADDRESS NAME` on standard output tells which is which.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use devlend_protocol::{
    encode_error, encode_no_space, encode_reply, Kind, NoSpace, Open, OpenBar, OpenReply,
    ParsedHeader, Status, HEADER_SIZE,
};

use super::{address, device, Lender};
use crate::session::{Session, Slot};

/// A change to an honest answer.
enum Lie {
    /// To the lease.
    Lease(fn(&mut OpenReply)),
    /// To the configuration space.
    Image(fn(&mut [u8], &mut fastrand::Rng)),
    /// Something else than a lease.
    Refusal(fn(&ParsedHeader, &mut Slot) -> usize),
    /// The truth, but each part of the configuration space only after a while.
    Slow(Duration),
    /// The honest answer, spoilt as a message.
    Message(fn(&mut Slot, usize) -> usize),
}

use Lie::{Image, Lease, Message, Refusal, Slow};

const K: u64 = 1 << 10;

/// No driver knows it.
const CLASS: u32 = 0xff_0000;

fn bar(lease: &mut OpenReply, index: usize, address: u64, size: u64, flags: u32) {
    lease.bars[index] = OpenBar {
        address: address.into(),
        size: size.into(),
        flags: flags.into(),
        reserved: 0.into(),
    };
}

/// The address of the first BAR.
fn first(lease: &OpenReply) -> u64 {
    lease.bars[0].address.get()
}

const LIES: &[(&str, Lie)] = &[
    ("truth", Lease(|_| {})),
    ("no-epoch", Lease(|it| it.epoch = 0.into())),
    ("no-space", Lease(|it| it.config_size = 0.into())),
    ("odd-space", Lease(|it| it.config_size = 257.into())),
    ("much-space", Lease(|it| it.config_size = u16::MAX.into())),
    ("mmio-beyond", Lease(|it| it.mmio_size = u64::MAX.into())),
    ("mmio-none", Lease(|it| it.mmio_size = 0.into())),
    (
        "mmio-elsewhere",
        Lease(|it| it.mmio_base = (1 << 50).into()),
    ),
    (
        "dma-wraps",
        Lease(|it| it.dma_base = (u64::MAX - 4095).into()),
    ),
    ("dma-small", Lease(|it| it.dma_size = 4096.into())),
    ("dma-anywhere", Lease(|it| it.dma_base = 1.into())),
    ("msi-anywhere", Lease(|it| it.msi_base = u64::MAX.into())),
    ("no-bars", Lease(|it| it.bars = Default::default())),
    ("bar-odd-size", Lease(|it| bar(it, 0, first(it), 12 * K, 1))),
    ("bar-tiny", Lease(|it| bar(it, 0, first(it), 8, 1))),
    ("bar-huge", Lease(|it| bar(it, 0, 0, 1 << 63, 1))),
    ("bar-all", Lease(|it| bar(it, 0, first(it), u64::MAX, 1))),
    (
        "bar-odd-address",
        Lease(|it| bar(it, 0, first(it) + 4096, 16 * K, 1)),
    ),
    ("bar-outside", Lease(|it| bar(it, 0, 1 << 40, 16 * K, 1))),
    (
        "bar-wraps",
        Lease(|it| bar(it, 0, u64::MAX - 16 * K + 1, 16 * K, 1)),
    ),
    (
        "bar-unknown-flags",
        Lease(|it| bar(it, 0, first(it), 16 * K, 1 << 31 | 1)),
    ),
    (
        "bar-upper-in-use",
        Lease(|it| bar(it, 1, first(it), 4 * K, 0)),
    ),
    (
        "bar-wide-at-the-end",
        Lease(|it| bar(it, 5, first(it), 4 * K, 1)),
    ),
    ("bars-overlap", Lease(|it| bar(it, 2, first(it), 16 * K, 1))),
    (
        "bars-nested",
        Lease(|it| bar(it, 2, first(it) + 8 * K, 4 * K, 1)),
    ),
    (
        "addresses-wrap",
        Lease(|it| {
            it.mmio_base = (u64::MAX - 64 * K + 1).into();
            bar(it, 0, u64::MAX - 16 * K + 1, 16 * K, 1);
        }),
    ),
    (
        "status-taken",
        Refusal(|header, out| encode_error(out, header, Status::Taken)),
    ),
    (
        "status-not-found",
        Refusal(|header, out| encode_error(out, header, Status::NotFound)),
    ),
    (
        "status-ok-without-body",
        Refusal(|header, out| encode_error(out, header, Status::Ok)),
    ),
    (
        "status-no-room",
        Refusal(|header, out| {
            let no_space = NoSpace {
                needed: u64::MAX,
                available: u64::MAX,
            };
            encode_no_space(out, header, no_space)
        }),
    ),
    ("silence", Refusal(|_, _| 0)),
    ("image-bit-by-bit", Slow(Duration::from_secs(2))),
    (
        "unknown-status",
        Message(|slot, length| spoil(slot, length, 10, 99)),
    ),
    (
        "unknown-kind",
        Message(|slot, length| spoil(slot, length, 4, 77)),
    ),
    (
        "another-kind",
        Message(|slot, length| spoil(slot, length, 4, 2)),
    ),
    (
        "too-short",
        Message(|slot, length| spoil(slot, length, 6, 191)),
    ),
    (
        "too-long",
        Message(|slot, length| spoil(slot, length, 6, 497)),
    ),
    (
        "unknown-tag",
        Message(|slot, length| spoil(slot, length, 8, 16)),
    ),
    (
        "another-number",
        Message(|slot, length| spoil(slot, length, 0, 7)),
    ),
    ("image-of-nothing", Image(|image, _| image.fill(0xff))),
    ("image-of-zeros", Image(|image, _| image.fill(0))),
    ("image-of-a-bridge", Image(|image, _| image[0x0e] = 1)),
    ("image-of-a-cardbus", Image(|image, _| image[0x0e] = 2)),
    (
        "class-of-a-bridge",
        Image(|image, _| device::put(image, 9, &[0, 4, 6])),
    ),
    (
        "class-of-a-screen",
        Image(|image, _| device::put(image, 9, &[0, 0, 3])),
    ),
    (
        "class-of-an-interrupt-controller",
        Image(|image, _| device::put(image, 9, &[0x10, 0, 8])),
    ),
    ("many-functions", Image(|image, _| image[0x0e] = 0x80)),
    (
        "bars-of-its-own",
        Image(|image, rng| (0x10..0x28).for_each(|at| image[at] = rng.u8(..))),
    ),
    (
        "capabilities-in-a-loop",
        Image(|image, _| image[0x61] = 0x40),
    ),
    ("capability-of-itself", Image(|image, _| image[0x41] = 0x40)),
    ("capabilities-beyond", Image(|image, _| image[0x41] = 0xff)),
    (
        "capabilities-in-the-header",
        Image(|image, _| image[0x34] = 0x04),
    ),
    (
        "capabilities-upon-each-other",
        Image(|image, _| {
            for at in (0x40..0xfc).step_by(4) {
                device::put(image, at, &[0x09, at as u8 + 4, 0xff, 0xff]);
            }
        }),
    ),
    ("a-root-port", Image(|image, _| image[0x62] = 0x42)),
    (
        "many-vectors",
        Image(|image, _| device::put(image, 0x52, &[0xff, 0x07])),
    ),
    (
        "vectors-nowhere",
        Image(|image, _| device::put(image, 0x54, &[0xff; 8])),
    ),
    (
        "extended-capabilities-in-a-loop",
        Image(|image, _| {
            device::put(image, 0x100, &0x2001_0003_u32.to_le_bytes());
            device::put(image, 0x200, &0x1001_0001_u32.to_le_bytes());
        }),
    ),
    ("noise-1", Image(noise)),
    ("noise-2", Image(noise)),
    ("noise-3", Image(noise)),
    ("noise-4", Image(noise)),
];

/// Overwrites 16 bits of the header.
fn spoil(slot: &mut Slot, length: usize, at: usize, value: u16) -> usize {
    device::put(slot, at, &value.to_le_bytes());
    length.max(HEADER_SIZE)
}

/// Noise in the place of an endpoint's configuration space.
fn noise(image: &mut [u8], rng: &mut fastrand::Rng) {
    let class = image[0x08..0x0c].to_vec();
    rng.fill(&mut image[4..]);
    // Of a class that no driver knows.
    device::put(image, 8, &class);
    image[0x0e] &= 0x80;
    image[0x06] |= 0x10;
}

pub struct Leases {
    rng: fastrand::Rng,
    /// The images of leases that were opened, by their epoch.
    images: BTreeMap<u32, Vec<u8>>,
    is_told: bool,
}

impl Leases {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            images: BTreeMap::new(),
            is_told: false,
        }
    }

    fn open(
        &mut self,
        session: &Session,
        header: &ParsedHeader,
        asked: Open,
        out: &mut Slot,
    ) -> Result<usize> {
        let at = asked.address.get();
        let number = (at >> 3 & 0xff) as u8;
        let Some((_, lie)) = LIES.get(usize::from(number)) else {
            return Ok(encode_error(out, header, Status::NotFound));
        };
        let mut lease = device::lease(session, at)?;
        let mut image = device::image(session, number.into(), CLASS);
        let length = match lie {
            Lease(change) => {
                change(&mut lease);
                encode_reply::<Open>(out, header, &lease)
            }
            Image(change) => {
                change(&mut image, &mut self.rng);
                encode_reply::<Open>(out, header, &lease)
            }
            Slow(_) => encode_reply::<Open>(out, header, &lease),
            Refusal(refuse) => refuse(header, out),
            Message(spoil) => {
                let length = encode_reply::<Open>(out, header, &lease);
                spoil(out, length)
            }
        };
        self.images.insert(at, image);
        Ok(length)
    }
}

impl Lender for Leases {
    fn answer(
        &mut self,
        session: &mut Session,
        header: &ParsedHeader,
        body: &[u8],
        out: &mut Slot,
    ) -> Result<usize> {
        if header.kind == Ok(Kind::Open) {
            return self.open(session, header, device::read(body)?, out);
        }
        // The epoch is the address.
        let lie = LIES.get((header.epoch >> 3 & 0xff) as usize);
        if let (Ok(Kind::Image), Some((_, Slow(time)))) = (header.kind, lie) {
            sleep(*time);
        }
        let offers: Vec<_> = (0..)
            .zip(LIES)
            .map(|(number, _)| device::offer(address(number), number.into(), CLASS))
            .collect();
        let image = self.images.get(&header.epoch);
        let image = image.map_or(&[][..], Vec::as_slice);
        device::answer(session, header, body, out, &offers, image)
    }

    fn tick(&mut self, _: &mut Session) -> Result<()> {
        if !core::mem::replace(&mut self.is_told, true) {
            for (number, (name, _)) in (0..).zip(LIES) {
                println!("{} {name}", address(number));
            }
        }
        Ok(())
    }
}

const _: () = assert!(LIES.len() < 256);
