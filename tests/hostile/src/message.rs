// SPDX-License-Identifier: GPL-2.0

//! Slots, scratchpads and indices a peer may write.

use arbitrary::{Arbitrary, Unstructured};
use devlend_protocol::{
    body,
    encode,
    encode_error,
    grant,
    message::{
        Attach,
        AttachReply,
        ConfigRead,
        ConfigValue,
        ConfigWrite,
        DeviceError,
        Image,
        Interrupt,
        Kind,
        List,
        Offer,
        OfferChanged,
        Open,
        OpenReply,
        Prove,
        Revoked,
        TakeBack,
        Unmask,
        Version,
        VersionReply, //
    },
    parse,
    reply,
    Announcement,
    Consumer,
    DmaMode,
    DmaPlan,
    Head,
    Producer,
    Status,
    HEADER_SIZE,
    REQUEST_SLOTS,
    SCRATCHPADS,
    SLOT_SIZE, //
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    words: [u32; SCRATCHPADS],
    ours: u32,
    theirs: u32,
    slot: &'a [u8],
}

/// Encodes a body that was found good, and finds it again.
macro_rules! again {
    ($name:ty, $head:expr, $bytes:expr) => {
        if let Ok(value) = body::<$name>($bytes) {
            let mut slot = [0; SLOT_SIZE];
            let length = encode(&mut slot, $head, &value);
            let (header, bytes) = parse(&slot[..length]).unwrap();
            assert_eq!(bytes, $bytes);
            assert_eq!((header.sequence, header.tag), ($head.sequence, $head.tag));
        }
    };
}

/// Any bytes as what is in shared memory.
pub fn run(bytes: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    if let Ok(Some(announcement)) = Announcement::from_words(&input.words) {
        assert_eq!(announcement.to_words(), input.words);
        let _ = announcement.control_offset(u64::from(input.theirs));
    }
    if let Ok(pending) = (Consumer { next: input.ours }).pending(input.theirs) {
        assert!(pending <= REQUEST_SLOTS);
    }
    if let Ok(space) = (Producer { next: input.ours }).space(input.theirs) {
        assert!(space <= REQUEST_SLOTS);
    }

    let Ok((header, bytes)) = parse(input.slot) else {
        return;
    };
    assert_eq!(
        bytes,
        &input.slot[HEADER_SIZE..][..usize::from(header.length)]
    );
    let mut answer = [0; SLOT_SIZE];
    encode_error(&mut answer, &header, Status::Malformed);
    let (refusal, _) = parse(&answer).unwrap();
    assert_eq!(
        (refusal.kind, refusal.tag, refusal.sequence, refusal.epoch),
        (header.kind, header.tag, header.sequence, header.epoch)
    );

    let Ok(kind) = header.kind else { return };
    let head = &Head {
        sequence: header.sequence,
        kind,
        tag: header.tag,
        status: header.status,
        epoch: header.epoch,
    };
    match kind {
        Kind::Version => {
            again!(Version, head, bytes);
            again!(VersionReply, head, bytes);
            let _ = reply::<Version>(&header, bytes);
        }
        Kind::Attach => {
            again!(Attach, head, bytes);
            again!(AttachReply, head, bytes);
            let _ = reply::<Attach>(&header, bytes);
        }
        Kind::Prove => again!(Prove, head, bytes),
        Kind::List => {
            again!(List, head, bytes);
            again!(Offer, head, bytes);
            if let Ok(offer) = reply::<List>(&header, bytes) {
                let _ = (
                    offer.state(),
                    offer.isolation(),
                    offer.bars.map(|bar| bar.flags()),
                );
            }
        }
        Kind::Open => {
            again!(Open, head, bytes);
            again!(OpenReply, head, bytes);
            if let Ok(open) = reply::<Open>(&header, bytes) {
                let window = u64::from(input.theirs) << 8;
                for mode in [DmaMode::Linear, DmaMode::Iommu] {
                    let dma = DmaPlan {
                        mode,
                        needed: input.ours.into(),
                        limit: u64::MAX,
                    };
                    if let Ok(extents) = grant::check(&open, window, &dma) {
                        assert!(extents.iter().next().is_some());
                        for extent in extents.iter() {
                            assert!(extent.length > 0 && extent.offset <= window);
                            assert!(extent.length <= window - extent.offset);
                        }
                        assert!(mode == DmaMode::Linear || open.dma_base.get() == 0);
                    }
                }
            }
        }
        Kind::Image => {
            again!(Image, head, bytes);
            let _ = reply::<Image>(&header, bytes);
        }
        Kind::ConfigRead => {
            again!(ConfigRead, head, bytes);
            again!(ConfigValue, head, bytes);
        }
        Kind::ConfigWrite => again!(ConfigWrite, head, bytes),
        Kind::OfferChanged => again!(OfferChanged, head, bytes),
        Kind::TakeBack => again!(TakeBack, head, bytes),
        Kind::DeviceError => again!(DeviceError, head, bytes),
        Kind::Interrupt => again!(Interrupt, head, bytes),
        Kind::Unmask => again!(Unmask, head, bytes),
        Kind::Revoked => {
            again!(Revoked, head, bytes);
            if let Ok(revoked) = body::<Revoked>(bytes) {
                let _ = revoked.reason();
            }
        }
        Kind::Reset | Kind::Clunk => {}
    }
}
