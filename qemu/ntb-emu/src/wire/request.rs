// SPDX-License-Identifier: GPL-2.0

//! From the bytes of one message to what it says, with every length and count checked.

use super::{
    Command, DeviceInfo, DmaMap, DmaRange, DmaUnmap, Header, IrqInfo, IrqSet, Malformed,
    RegionAccess, RegionInfo, Version, WriteOne, MAX_TRANSFER,
};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// One message from a client.
#[derive(Debug)]
pub enum Message<'a> {
    /// It asks something of us.
    Request(Header, Request<'a>),
    /// It answers something we asked.
    Reply(Reply<'a>),
}

/// A client's answer to one of our [`Command::DmaRead`] or [`Command::DmaWrite`] messages.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Its header.
    pub header: Header,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The data of an answered read of `count` bytes at `address`, if that is what this is.
    pub fn read_data(&self, address: u64, count: usize) -> Option<&'a [u8]> {
        if self.header.is_refusal() || Command::from(self.header.command.get()) != Command::DmaRead
        {
            return None;
        }
        let (range, data) = DmaRange::ref_from_prefix(self.body).ok()?;
        let same =
            range.address.get() == address && usize::try_from(range.count.get()) == Ok(count);
        (same && data.len() == count).then_some(data)
    }
}

/// What a client asks. Counts agree with the data; offsets, indices and addresses are not checked here.
#[derive(Debug)]
pub enum Request<'a> {
    /// Negotiate; with the JSON capabilities as sent, the NUL included.
    Version(Version, &'a [u8]),
    /// Guest memory becomes reachable.
    DmaMap(DmaMap),
    /// Guest memory goes away.
    DmaUnmap(DmaUnmap),
    /// What device is this?
    GetInfo(DeviceInfo),
    /// What is this region?
    GetRegionInfo(RegionInfo),
    /// What is this interrupt type?
    GetIrqInfo(IrqInfo),
    /// Change interrupt vectors; with the data that follows.
    SetIrqs(IrqSet, &'a [u8]),
    /// Read a region.
    RegionRead(RegionAccess),
    /// Write a region.
    RegionWrite(RegionAccess, &'a [u8]),
    /// Write regions several times, in this order; each at most 8 bytes.
    RegionWriteMulti(&'a [WriteOne]),
    /// Reset the device.
    Reset,
    /// Known or not, nothing this server does.
    Unsupported(Command),
}

/// Understands one complete message: `frame` is exactly as long as its header says.
///
/// # Errors
///
/// Anything whose lengths or counts do not agree.
pub fn parse(frame: &[u8]) -> Result<Message<'_>, Malformed> {
    let oversize = || Malformed::Size(u32::try_from(frame.len()).unwrap_or(u32::MAX));
    let (header, body) = Header::read_from_prefix(frame).map_err(|_| oversize())?;
    if usize::try_from(header.size.get()) != Ok(frame.len()) {
        return Err(Malformed::Size(header.size.get()));
    }
    if header.is_reply()? {
        return Ok(Message::Reply(Reply { header, body }));
    }
    let command = Command::from(header.command.get());
    let request = match command {
        Command::Version => {
            let (version, data) = prefix(command, body)?;
            Request::Version(version, data)
        }
        Command::DmaMap => Request::DmaMap(exact(command, body)?),
        Command::DmaUnmap => Request::DmaUnmap(exact(command, body)?),
        Command::GetInfo => Request::GetInfo(exact(command, body)?),
        Command::GetRegionInfo => Request::GetRegionInfo(exact(command, body)?),
        Command::GetIrqInfo => Request::GetIrqInfo(exact(command, body)?),
        Command::SetIrqs => {
            let (set, data) = prefix(command, body)?;
            Request::SetIrqs(set, data)
        }
        Command::RegionRead => {
            let access: RegionAccess = exact(command, body)?;
            if usize::try_from(access.count.get()).is_ok_and(|count| count <= MAX_TRANSFER) {
                Request::RegionRead(access)
            } else {
                return Err(Malformed::Count {
                    command,
                    named: access.count.get().into(),
                    carried: MAX_TRANSFER,
                });
            }
        }
        Command::RegionWrite => {
            let (access, data): (RegionAccess, _) = prefix(command, body)?;
            if usize::try_from(access.count.get()) != Ok(data.len()) {
                return Err(Malformed::Count {
                    command,
                    named: access.count.get().into(),
                    carried: data.len(),
                });
            }
            Request::RegionWrite(access, data)
        }
        Command::RegionWriteMulti => Request::RegionWriteMulti(writes(command, body)?),
        Command::Reset => {
            exact::<()>(command, body)?;
            Request::Reset
        }
        Command::DmaRead | Command::DmaWrite | Command::Other(_) => Request::Unsupported(command),
    };
    Ok(Message::Request(header, request))
}

fn exact<T: FromBytes>(command: Command, body: &[u8]) -> Result<T, Malformed> {
    T::read_from_bytes(body).map_err(|_| Malformed::Body {
        command,
        length: body.len(),
    })
}

fn prefix<T: FromBytes>(command: Command, body: &[u8]) -> Result<(T, &[u8]), Malformed> {
    T::read_from_prefix(body).map_err(|_| Malformed::Body {
        command,
        length: body.len(),
    })
}

fn writes(command: Command, body: &[u8]) -> Result<&[WriteOne], Malformed> {
    let (count, items): (zerocopy::native_endian::U64, _) = prefix(command, body)?;
    let writes = slice::<WriteOne>(command, items)?;
    if usize::try_from(count.get()) != Ok(writes.len()) {
        return Err(Malformed::Count {
            command,
            named: count.get(),
            carried: writes.len(),
        });
    }
    match writes.iter().find(|one| one.access.count.get() > 8) {
        Some(one) => Err(Malformed::Count {
            command,
            named: one.access.count.get().into(),
            carried: 8,
        }),
        None => Ok(writes),
    }
}

fn slice<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    command: Command,
    body: &[u8],
) -> Result<&[T], Malformed> {
    <[T]>::ref_from_bytes(body).map_err(|_| Malformed::Body {
        command,
        length: body.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{frame_length, HEADER_SIZE, MAX_FRAME, NO_REPLY};
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    fn frame(command: Command, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let mut bytes = Header::command(3, command, body.len(), flags)
            .as_bytes()
            .to_vec();
        bytes.extend(body);
        bytes
    }

    fn access(offset: u64, region: u32, count: u32) -> RegionAccess {
        RegionAccess {
            offset: offset.into(),
            region: region.into(),
            count: count.into(),
        }
    }

    #[test]
    fn fixed_bodies_must_have_their_exact_length() {
        let lengths = [
            (Command::DmaMap, 32),
            (Command::DmaUnmap, 24),
            (Command::GetInfo, 16),
            (Command::GetRegionInfo, 32),
            (Command::GetIrqInfo, 16),
            (Command::RegionRead, 16),
            (Command::Reset, 0),
        ];
        for (command, right) in lengths {
            for length in 0..64usize {
                let bytes = frame(command, 0, &[&vec![0; length]]);
                assert_eq!(
                    parse(&bytes).is_ok(),
                    length == right,
                    "{command:?} {length}"
                );
            }
        }
    }

    #[test]
    fn a_write_must_carry_what_it_names() {
        let ok = frame(
            Command::RegionWrite,
            NO_REPLY,
            &[access(8, 0, 4).as_bytes(), &[1, 2, 3, 4]],
        );
        let Ok(Message::Request(header, Request::RegionWrite(got, data))) = parse(&ok) else {
            panic!("not a write");
        };
        assert!(!header.wants_reply());
        assert_eq!((got.offset.get(), data), (8, &[1u8, 2, 3, 4][..]));
        for named in [0, 3, 5, u32::MAX] {
            let bad = frame(
                Command::RegionWrite,
                0,
                &[access(8, 0, named).as_bytes(), &[1, 2, 3, 4]],
            );
            assert_eq!(
                parse(&bad).unwrap_err(),
                Malformed::Count {
                    command: Command::RegionWrite,
                    named: named.into(),
                    carried: 4
                }
            );
        }
    }

    #[test]
    fn a_read_is_bounded() {
        let max = u32::try_from(MAX_TRANSFER).unwrap();
        assert!(parse(&frame(
            Command::RegionRead,
            0,
            &[access(0, 1, max).as_bytes()]
        ))
        .is_ok());
        assert!(parse(&frame(
            Command::RegionRead,
            0,
            &[access(0, 1, max + 1).as_bytes()]
        ))
        .is_err());
    }

    #[test]
    fn several_writes_must_agree_with_their_count() {
        let one = WriteOne {
            access: access(16, 1, 8),
            data: [7; 8],
        };
        let two = [one.as_bytes(), one.as_bytes()].concat();
        let build = |count: u64, items: &[u8]| {
            frame(
                Command::RegionWriteMulti,
                NO_REPLY,
                &[&count.to_ne_bytes(), items],
            )
        };
        let ok = build(2, &two);
        let Ok(Message::Request(_, Request::RegionWriteMulti(writes))) = parse(&ok) else {
            panic!("not writes");
        };
        assert_eq!(writes.len(), 2);
        assert!(parse(&build(1, &two)).is_err());
        assert!(parse(&build(u64::MAX, &two)).is_err());
        assert!(parse(&build(2, &two[..47])).is_err());
        let wide = WriteOne {
            access: access(16, 1, 9),
            data: [7; 8],
        };
        assert!(parse(&build(1, wide.as_bytes())).is_err());
    }

    #[test]
    fn read_data_wants_the_very_answer() {
        let range = DmaRange {
            address: 0x1000.into(),
            count: 4.into(),
        };
        let request = Header::command(9, Command::DmaRead, 16, 0);
        let mut bytes = request.reply(20).as_bytes().to_vec();
        bytes.extend(range.as_bytes());
        bytes.extend([1, 2, 3, 4]);
        let Ok(Message::Reply(reply)) = parse(&bytes) else {
            panic!("not a reply")
        };
        assert_eq!(reply.read_data(0x1000, 4), Some(&[1, 2, 3, 4][..]));
        assert_eq!(reply.read_data(0x1004, 4), None);
        assert_eq!(reply.read_data(0x1000, 8), None);
        let refusal = request.refusal(rustix::io::Errno::NODEV);
        let Ok(Message::Reply(reply)) = parse(refusal.as_bytes()) else {
            panic!("not a reply")
        };
        assert_eq!(reply.read_data(0x1000, 4), None);
    }

    proptest! {
        #[test]
        fn no_bytes_can_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = frame_length(&bytes);
            let _ = parse(&bytes);
        }

        #[test]
        fn no_body_can_make_it_panic(command in 0u16..20, flags in 0u32..64, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = frame(Command::from(command), 0, &[&body]);
            bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
            if let Ok(Message::Reply(reply)) = parse(&bytes) {
                let _ = reply.read_data(0, body.len());
            }
        }

        #[test]
        fn round_trip(offset: u64, region: u32, data in proptest::collection::vec(any::<u8>(), 0..64), id: u16) {
            let access = access(offset, region, u32::try_from(data.len()).unwrap());
            let mut bytes = Header::command(id, Command::RegionWrite, 16 + data.len(), 0).as_bytes().to_vec();
            bytes.extend(access.as_bytes());
            bytes.extend(&data);
            prop_assert_eq!(frame_length(&bytes), Ok(Some(bytes.len())));
            prop_assert!(bytes.len() >= HEADER_SIZE && bytes.len() <= MAX_FRAME);
            let Ok(Message::Request(header, Request::RegionWrite(got, carried))) = parse(&bytes) else {
                return Err(TestCaseError::fail("not a write"));
            };
            prop_assert_eq!((header.id.get(), got.offset.get(), got.region.get(), carried), (id, offset, region, &data[..]));
        }
    }
}
