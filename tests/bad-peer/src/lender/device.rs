// SPDX-License-Identifier: GPL-2.0

//! A device that is not there: its offer, its lease and its configuration space, as an honest lender would tell them.

use anyhow::Result;
use devlend_protocol::{
    body, encode_error, encode_reply, Address, BarFlags, BarInfo, Clunk, ConfigRead, ConfigValue,
    ConfigWrite, Empty, Image, ImageReply, Isolation, Kind, List, Offer, OfferState, Open, OpenBar,
    OpenReply, ParsedHeader, Reset, Status, CONTROL_SIZE, IMAGE_CHUNK,
};

use crate::session::{Session, Slot};

/// Size of its one BAR, bytes.
pub const BAR: u64 = 16 << 10;
/// Size of its configuration space, bytes.
pub const CONFIG: usize = 4096;

/// Where its registers are in our memory: behind the control block, at a multiple of their size.
pub fn registers(session: &Session) -> u64 {
    (session.own.physical + CONTROL_SIZE as u64).next_multiple_of(BAR)
}

/// The offer of a device.
pub fn offer(address: Address, number: u16, class: u32) -> Offer {
    let mut bars = [BarInfo::default(); 6];
    bars[0] = BarInfo {
        size: BAR.into(),
        flags: BarFlags::MEM64.bits().into(),
    };
    Offer {
        address: u32::from(address).into(),
        vendor: 0x1b36.into(),
        device: number.into(),
        class: class.into(),
        revision: 1,
        state: OfferState::Available.into(),
        isolation: Isolation::Unsafe.into(),
        reserved: 0,
        bars,
    }
}

/// A lease of it.
pub fn lease(session: &Session, epoch: u32) -> Result<OpenReply> {
    let mut bars = [OpenBar::default(); 6];
    bars[0] = OpenBar {
        address: registers(session).into(),
        size: BAR.into(),
        flags: BarFlags::MEM64.bits().into(),
        reserved: 0.into(),
    };
    Ok(OpenReply {
        epoch: epoch.into(),
        config_size: (CONFIG as u16).into(),
        reserved: 0.into(),
        mmio_base: 0.into(),
        mmio_size: session.window_size()?.into(),
        dma_base: (1 << 40).into(),
        dma_size: (1 << 40).into(),
        msi_base: (1 << 41).into(),
        bars,
    })
}

/// Stores bytes.
pub fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Its configuration space: power management, MSI-X in the BAR's second half, PCI Express.
pub fn image(session: &Session, number: u16, class: u32) -> Vec<u8> {
    let mut image = vec![0; CONFIG];
    put(&mut image, 0x00, &0x1b36_u16.to_le_bytes());
    put(&mut image, 0x02, &number.to_le_bytes());
    // Capabilities are there.
    put(&mut image, 0x06, &0x0010_u16.to_le_bytes());
    put(&mut image, 0x08, &(class << 8 | 1).to_le_bytes());
    put(&mut image, 0x10, &(registers(session) | 4).to_le_bytes());
    put(&mut image, 0x34, &[0x40]);
    put(&mut image, 0x40, &[0x01, 0x50, 0x03, 0x00, 0x08, 0, 0, 0]);
    // Four vectors: table at 8 KiB, pending bits at 12 KiB.
    put(&mut image, 0x50, &[0x11, 0x60, 0x03, 0x00]);
    put(&mut image, 0x54, &0x2000_u32.to_le_bytes());
    put(&mut image, 0x58, &0x3000_u32.to_le_bytes());
    // An endpoint of the second version that can be reset.
    put(&mut image, 0x60, &[0x10, 0x00, 0x02, 0x00]);
    put(&mut image, 0x64, &0x1000_8000_u32.to_le_bytes());
    image
}

/// Answers as an honest lender of these devices does; what is asked about a lease is answered whatever its epoch.
pub fn answer(
    session: &Session,
    header: &ParsedHeader,
    bytes: &[u8],
    out: &mut Slot,
    offers: &[Offer],
    image: &[u8],
) -> Result<usize> {
    let refuse = |out: &mut Slot, status| encode_error(out, header, status);
    Ok(match header.kind {
        Ok(Kind::List) => {
            let asked: List = read(bytes)?;
            match offers.get(asked.index.get() as usize) {
                Some(offer) => encode_reply::<List>(out, header, offer),
                None => refuse(out, Status::NotFound),
            }
        }
        Ok(Kind::Open) => {
            let asked: Open = read(bytes)?;
            let lease = lease(session, asked.address.get())?;
            encode_reply::<Open>(out, header, &lease)
        }
        Ok(Kind::Image) => {
            let asked: Image = read(bytes)?;
            let start = usize::from(asked.offset.get());
            let mut bytes = [0; IMAGE_CHUNK];
            if let Some(chunk) = image.get(start..start + IMAGE_CHUNK) {
                bytes.copy_from_slice(chunk);
            }
            encode_reply::<Image>(out, header, &ImageReply { bytes })
        }
        Ok(Kind::ConfigRead) => {
            let value = ConfigValue { value: 0.into() };
            encode_reply::<ConfigRead>(out, header, &value)
        }
        Ok(Kind::ConfigWrite) => encode_reply::<ConfigWrite>(out, header, &Empty {}),
        Ok(Kind::Reset) => encode_reply::<Reset>(out, header, &Empty {}),
        Ok(Kind::Clunk) => encode_reply::<Clunk>(out, header, &Empty {}),
        _ => refuse(out, Status::Unsupported),
    })
}

/// A body of the host's.
pub fn read<T: zerocopy::FromBytes>(bytes: &[u8]) -> Result<T> {
    body(bytes).map_err(|error| anyhow::anyhow!("the host's request: {error}"))
}
