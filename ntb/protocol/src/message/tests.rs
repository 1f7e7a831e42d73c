// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::{
    ring::{
        Tag,
        REPLY_SLOTS,
        SLOT_SIZE, //
    },
    status::Status,
    window::NoSpace, //
};
use proptest::prelude::*;
use zerocopy::{
    FromBytes,
    FromZeros,
    Immutable,
    IntoBytes, //
};

fn tag(value: u16) -> Tag {
    Tag::try_from(value).unwrap()
}

/// A slot with rubbish in it, so that what is not written shows.
const RUBBISH: [u8; SLOT_SIZE] = [0xa5; SLOT_SIZE];

#[test]
fn the_header_is_pinned() {
    let mut slot = RUBBISH;
    let request = List {
        index: 0x0102_0304.into(),
    };
    let length = encode_request(&mut slot, 0xaabb_ccdd, tag(15), 0x1122_3344, &request);
    assert_eq!(length, 20);
    assert_eq!(
        slot[..20],
        [
            0xdd, 0xcc, 0xbb, 0xaa, // sequence
            2, 0, // kind
            4, 0, // length
            15, 0, // tag
            0, 0, // status
            0x44, 0x33, 0x22, 0x11, // epoch
            4, 3, 2, 1, // body
        ]
    );
    assert!(slot[20..].iter().all(|&byte| byte == 0xa5));
    assert_eq!((HEADER_SIZE, MAX_BODY, NO_TAG), (16, 496, 0xffff));
}

/// Where each field of a body lies: a body in which only it is set has only those bytes set.
macro_rules! fields {
    ($name:ident: $size:literal, $($field:ident @ $offset:literal + $length:literal),*) => {
        assert_eq!(size_of::<$name>(), $size, stringify!($name));
        let mut covered = [false; $size];
        $(
            let mut value = $name::new_zeroed();
            value.$field.as_mut_bytes().fill(0xff);
            let mut expected = [0u8; $size];
            expected[$offset..$offset + $length].fill(0xff);
            assert_eq!(value.as_bytes(), expected, "{}.{}", stringify!($name), stringify!($field));
            covered[$offset..$offset + $length].fill(true);
        )*
        assert!(covered.iter().all(|&covered| covered), "{}", stringify!($name));
    };
}

#[test]
fn every_body_is_pinned() {
    fields!(Header: 16, sequence @ 0 + 4, kind @ 4 + 2, length @ 6 + 2, tag @ 8 + 2, status @ 10 + 2, epoch @ 12 + 4);
    fields!(Windows: 28, mmio_window @ 0 + 1, msi_window @ 1 + 1, reserved @ 2 + 2, msi_offset @ 4 + 8,
        dma_needed @ 12 + 8, dma_available @ 20 + 8);
    fields!(Version: 40, min @ 0 + 2, max @ 2 + 2, slot_size @ 4 + 4, features @ 8 + 4, windows @ 12 + 28);
    fields!(VersionReply: 40, version @ 0 + 2, reserved0 @ 2 + 2, slot_size @ 4 + 4, features @ 8 + 4,
        windows @ 12 + 28);
    fields!(Attach: 32, nonce @ 0 + 32);
    fields!(AttachReply: 64, nonce @ 0 + 32, proof @ 32 + 32);
    fields!(Prove: 32, proof @ 0 + 32);
    fields!(List: 4, index @ 0 + 4);
    fields!(BarInfo: 12, size @ 0 + 8, flags @ 8 + 4);
    fields!(Offer: 88, address @ 0 + 4, vendor @ 4 + 2, device @ 6 + 2, class @ 8 + 4, revision @ 12 + 1,
        state @ 13 + 1, isolation @ 14 + 1, reserved @ 15 + 1, bars @ 16 + 72);
    fields!(Open: 4, address @ 0 + 4);
    fields!(OpenBar: 24, address @ 0 + 8, size @ 8 + 8, flags @ 16 + 4, reserved @ 20 + 4);
    fields!(OpenReply: 192, epoch @ 0 + 4, config_size @ 4 + 2, reserved @ 6 + 2, mmio_base @ 8 + 8,
        mmio_size @ 16 + 8, dma_base @ 24 + 8, dma_size @ 32 + 8, msi_base @ 40 + 8, bars @ 48 + 144);
    fields!(Image: 2, offset @ 0 + 2);
    fields!(ImageReply: 256, bytes @ 0 + 256);
    fields!(ConfigRead: 3, offset @ 0 + 2, size @ 2 + 1);
    fields!(ConfigValue: 4, value @ 0 + 4);
    fields!(ConfigWrite: 7, offset @ 0 + 2, size @ 2 + 1, value @ 3 + 4);
    fields!(OfferChanged: 4, address @ 0 + 4);
    fields!(Revoked: 5, address @ 0 + 4, reason @ 4 + 1);
    fields!(TakeBack: 8, address @ 0 + 4, seconds @ 4 + 4);
    fields!(DeviceError: 4, address @ 0 + 4);
    fields!(Interrupt: 4, address @ 0 + 4);
    fields!(NoSpaceDetail: 16, needed @ 0 + 8, available @ 8 + 8);
    assert_eq!(
        size_of::<Empty>() + size_of::<Reset>() + size_of::<Clunk>() + size_of::<Unmask>(),
        0
    );
}

#[test]
fn numbers_are_little_endian() {
    let windows = Windows {
        msi_offset: 0x0102_0304_0506_0708.into(),
        ..Default::default()
    };
    assert_eq!(windows.as_bytes()[4..12], [8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn requests_and_events_have_their_kinds() {
    assert_eq!(
        [
            Version::KIND,
            List::KIND,
            Open::KIND,
            Image::KIND,
            ConfigRead::KIND,
            ConfigWrite::KIND,
            Reset::KIND,
            Clunk::KIND,
            Attach::KIND,
            Prove::KIND,
            OfferChanged::KIND,
            Revoked::KIND,
            TakeBack::KIND,
            DeviceError::KIND,
            Interrupt::KIND,
            Unmask::KIND
        ]
        .map(u16::from),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 32, 33, 34, 35, 36, 37]
    );
}

#[test]
fn byte_enums_are_pinned() {
    for value in 0..=u8::MAX {
        let state = match value {
            1 => Ok(OfferState::Available),
            2 => Ok(OfferState::Taken),
            _ => Err(value),
        };
        let isolation = match value {
            1 => Ok(Isolation::Iommu),
            2 => Ok(Isolation::Unsafe),
            _ => Err(value),
        };
        let offer = Offer {
            state: value,
            isolation: value,
            ..Default::default()
        };
        assert_eq!((offer.state(), offer.isolation()), (state, isolation));

        let reason = match value {
            1 => Ok(RevokeReason::Reclaimed),
            2 => Ok(RevokeReason::Forced),
            3 => Ok(RevokeReason::Gone),
            4 => Ok(RevokeReason::Failed),
            _ => Err(value),
        };
        let revoked = Revoked {
            reason: value,
            ..Default::default()
        };
        assert_eq!(revoked.reason(), reason);
        assert_eq!(reason.map(u8::from).unwrap_or(value), value);
    }
    assert_eq!(OfferState::Taken.as_str(), "taken");
    assert_eq!(Isolation::Unsafe.as_str(), "unsafe");
    assert_eq!(RevokeReason::Gone.as_str(), "gone");
}

#[test]
fn unknown_bar_flags_are_refused() {
    assert_eq!((BarFlags::MEM64.bits(), BarFlags::PREFETCH.bits()), (1, 2));
    let bar = |flags: u32| {
        BarInfo {
            flags: flags.into(),
            ..Default::default()
        }
        .flags()
    };
    assert_eq!(bar(0), Some(BarFlags::empty()));
    assert_eq!(bar(3), Some(BarFlags::all()));
    assert_eq!(bar(4), None);
    assert_eq!(
        OpenBar {
            flags: 8.into(),
            ..Default::default()
        }
        .flags(),
        None
    );
}

#[test]
fn a_request_its_reply_and_its_refusals() {
    let mut slot = RUBBISH;
    let request = ConfigRead {
        offset: 0x44.into(),
        size: 2,
    };
    let length = encode_request(&mut slot, 9, tag(3), 77, &request);
    let (header, bytes) = parse(&slot[..length]).unwrap();
    assert_eq!(
        header,
        ParsedHeader {
            sequence: 9,
            kind: Ok(Kind::ConfigRead),
            tag: Some(tag(3)),
            status: Status::Ok,
            epoch: 77,
            length: 3
        }
    );
    assert_eq!(body::<ConfigRead>(bytes), Ok(request));

    let value = ConfigValue {
        value: 0xbeef.into(),
    };
    let mut answer = RUBBISH;
    encode_reply::<ConfigRead>(&mut answer, &header, &value);
    let (reply_header, bytes) = parse(&answer).unwrap();
    assert_eq!(
        reply_header,
        ParsedHeader {
            length: 4,
            ..header
        }
    );
    assert_eq!(reply::<ConfigRead>(&reply_header, bytes), Ok(value));
    // A reply to something else is not taken, whatever its size.
    assert_eq!(
        reply::<ConfigWrite>(&reply_header, bytes),
        Err(Failure::Malformed(Malformed::Kind {
            expected: Kind::ConfigWrite,
            found: 5
        }))
    );

    assert_eq!(
        encode_error(&mut answer, &header, Status::Stale),
        HEADER_SIZE
    );
    let (refusal, bytes) = parse(&answer).unwrap();
    assert_eq!(
        refusal,
        ParsedHeader {
            status: Status::Stale,
            length: 0,
            ..header
        }
    );
    assert_eq!(
        reply::<ConfigRead>(&refusal, bytes),
        Err(Failure::Status(Status::Stale))
    );

    let no_space = NoSpace {
        needed: 3 << 30,
        available: 1 << 30,
    };
    encode_no_space(&mut answer, &header, no_space);
    let (refusal, bytes) = parse(&answer).unwrap();
    assert_eq!((refusal.status, refusal.length), (Status::NoSpace, 16));
    assert_eq!(
        reply::<ConfigRead>(&refusal, bytes),
        Err(Failure::NoSpace(no_space))
    );
    assert_eq!(
        reply::<ConfigRead>(&refusal, &[]),
        Err(Failure::Status(Status::NoSpace))
    );

    // An answer without the body it should have.
    let empty = ParsedHeader {
        length: 0,
        ..header
    };
    let failure = reply::<ConfigRead>(&empty, &[]).unwrap_err();
    assert_eq!(
        failure,
        Failure::Malformed(Malformed::Body {
            expected: 4,
            found: 0
        })
    );
    assert_eq!(
        (failure.errno(), Failure::NoSpace(no_space).errno()),
        (71, 28)
    );
}

#[test]
fn a_request_of_an_unknown_kind_can_be_refused_by_name() {
    let mut slot = RUBBISH;
    encode_request(&mut slot, 1, tag(0), 0, &Reset {});
    slot[4] = 200;
    let (header, _) = parse(&slot).unwrap();
    assert_eq!(header.kind, Err(200));
    let mut answer = RUBBISH;
    encode_error(&mut answer, &header, Status::Unsupported);
    let (refusal, _) = parse(&answer).unwrap();
    assert_eq!(
        (refusal.kind, refusal.status),
        (Err(200), Status::Unsupported)
    );
}

#[test]
fn an_event_has_no_tag() {
    let mut slot = RUBBISH;
    let event = Revoked {
        address: 0x20.into(),
        reason: RevokeReason::Forced.into(),
    };
    let length = encode_event(&mut slot, 5, 6, &event);
    assert_eq!(slot[8..10], [0xff, 0xff]);
    let (header, bytes) = parse(&slot[..length]).unwrap();
    assert_eq!((header.tag, header.kind), (None, Ok(Kind::Revoked)));
    assert_eq!(body::<Revoked>(bytes), Ok(event));
}

#[test]
fn every_header_field_is_checked() {
    let mut good = RUBBISH;
    encode_request(&mut good, 1, tag(0), 0, &Reset {});
    let with = |at: usize, value: u16| {
        let mut slot = good;
        slot[at..at + 2].copy_from_slice(&value.to_le_bytes());
        parse(&slot).map(|(header, body)| (header, body.len()))
    };
    let max = MAX_BODY as u16;
    assert_eq!(with(6, max).map(|(_, length)| length), Ok(MAX_BODY));
    assert_eq!(with(6, max + 1), Err(Malformed::Length(max + 1)));
    assert_eq!(with(6, u16::MAX), Err(Malformed::Length(u16::MAX)));
    assert_eq!(with(8, REPLY_SLOTS), Err(Malformed::Tag(REPLY_SLOTS)));
    assert_eq!(with(8, NO_TAG - 1), Err(Malformed::Tag(NO_TAG - 1)));
    assert_eq!(with(8, NO_TAG).map(|(header, _)| header.tag), Ok(None));
    assert_eq!(with(10, 11), Err(Malformed::Status(11)));
    assert_eq!(
        with(10, 10).map(|(header, _)| header.status),
        Ok(Status::Gone)
    );

    for size in 0..HEADER_SIZE {
        assert_eq!(parse(&good[..size]), Err(Malformed::Short(size)));
    }
    assert!(parse(&good[..HEADER_SIZE]).is_ok());
    for error in [
        Malformed::Short(1),
        Malformed::Length(2),
        Malformed::Tag(3),
        Malformed::Status(4),
    ] {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_body_has_exactly_its_size() {
    let bytes = [0u8; 42];
    assert!(body::<Version>(&bytes[..40]).is_ok());
    for size in [0, 39, 41, 42] {
        assert_eq!(
            body::<Version>(&bytes[..size]),
            Err(Malformed::Body {
                expected: 40,
                found: size
            })
        );
    }
    assert_eq!(body::<Empty>(&[]), Ok(Empty {}));
    assert_eq!(
        body::<Empty>(&[0]),
        Err(Malformed::Body {
            expected: 0,
            found: 1
        })
    );
}

/// Any bytes of the right number are a body, which comes out of a slot as it went in.
fn round_trip<T>(bytes: &[u8], head: &Head) -> Result<(), TestCaseError>
where
    T: FromBytes + IntoBytes + Immutable + PartialEq + core::fmt::Debug,
{
    let (value, _) = T::read_from_prefix(bytes).unwrap();
    let mut slot = RUBBISH;
    let length = encode(&mut slot, head, &value);
    let (header, bytes) = parse(&slot[..length]).unwrap();
    prop_assert_eq!(
        (
            header.sequence,
            header.kind,
            header.tag,
            header.status,
            header.epoch
        ),
        (
            head.sequence,
            Ok(head.kind),
            head.tag,
            head.status,
            head.epoch
        )
    );
    prop_assert_eq!(body::<T>(bytes), Ok(value));
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_slots_are_no_trouble(slot in prop::collection::vec(any::<u8>(), 0..=SLOT_SIZE + 8)) {
        if let Ok((header, bytes)) = parse(&slot) {
            prop_assert_eq!(bytes.len(), usize::from(header.length));
            prop_assert_eq!(bytes, &slot[HEADER_SIZE..HEADER_SIZE + bytes.len()]);
            let _ = reply::<Version>(&header, bytes);
            let _ = reply::<Open>(&header, bytes);
            let _ = body::<Offer>(bytes);
        }
    }

    /// As above, with headers that are right more often.
    #[test]
    fn nearly_good_slots_are_no_trouble(
        mut slot in prop::collection::vec(any::<u8>(), SLOT_SIZE),
        kind in 0u16..40, length in 0u16..600, tag in 0u16..18, status in 0u16..13,
    ) {
        for (at, value) in [(4, kind), (6, length), (8, tag), (10, status)] {
            slot[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        let good = usize::from(length) <= MAX_BODY && tag < REPLY_SLOTS && status <= 10;
        prop_assert_eq!(parse(&slot).is_ok(), good);
        if let Ok((header, bytes)) = parse(&slot) {
            prop_assert_eq!(header.kind.map_or_else(|raw| raw, u16::from), kind);
            // Refusing never fails, and keeps what belongs to the request.
            let mut answer = RUBBISH;
            encode_error(&mut answer, &header, Status::Malformed);
            let (refusal, _) = parse(&answer).unwrap();
            prop_assert_eq!(refusal, ParsedHeader { status: Status::Malformed, length: 0, ..header });
            let _ = (reply::<List>(&header, bytes), reply::<Image>(&header, bytes));
        }
    }

    #[test]
    fn bodies_round_trip(
        bytes in prop::collection::vec(any::<u8>(), MAX_BODY),
        sequence: u32, epoch: u32, tag in prop::option::of(0..REPLY_SLOTS), status in 0u16..=10,
    ) {
        let head = |kind| Head {
            sequence,
            kind,
            tag: tag.map(|tag| Tag::try_from(tag).unwrap()),
            status: Status::try_from(status).unwrap(),
            epoch,
        };
        round_trip::<Version>(&bytes, &head(Kind::Version))?;
        round_trip::<VersionReply>(&bytes, &head(Kind::Version))?;
        round_trip::<List>(&bytes, &head(Kind::List))?;
        round_trip::<Offer>(&bytes, &head(Kind::List))?;
        round_trip::<Open>(&bytes, &head(Kind::Open))?;
        round_trip::<OpenReply>(&bytes, &head(Kind::Open))?;
        round_trip::<Image>(&bytes, &head(Kind::Image))?;
        round_trip::<ImageReply>(&bytes, &head(Kind::Image))?;
        round_trip::<ConfigRead>(&bytes, &head(Kind::ConfigRead))?;
        round_trip::<ConfigValue>(&bytes, &head(Kind::ConfigRead))?;
        round_trip::<ConfigWrite>(&bytes, &head(Kind::ConfigWrite))?;
        round_trip::<Empty>(&bytes, &head(Kind::Reset))?;
        round_trip::<OfferChanged>(&bytes, &head(Kind::OfferChanged))?;
        round_trip::<Revoked>(&bytes, &head(Kind::Revoked))?;
        round_trip::<TakeBack>(&bytes, &head(Kind::TakeBack))?;
        round_trip::<DeviceError>(&bytes, &head(Kind::DeviceError))?;
        round_trip::<Interrupt>(&bytes, &head(Kind::Interrupt))?;
        round_trip::<Unmask>(&bytes, &head(Kind::Unmask))?;
        round_trip::<NoSpaceDetail>(&bytes, &head(Kind::Open))?;
        // The largest there can be.
        round_trip::<[u8; MAX_BODY]>(&bytes, &head(Kind::Image))?;
    }
}
