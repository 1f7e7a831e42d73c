// SPDX-License-Identifier: GPL-2.0

//! A client that may send anything, alone or beside a peer that does nothing wrong.

use std::collections::HashSet;
use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};

use arbitrary::{Arbitrary, Unstructured};
use ntb_emu::link::{EndSpec, Link, LinkSpec};
use ntb_emu::model::amd::peer_offset;
use ntb_emu::model::{Family, Window};
use ntb_emu::session::{serve, Session};
use ntb_emu::side::Side;
use ntb_emu::socket::{Frame, MAX_FDS};
use ntb_emu::waits::Waits;
use ntb_emu::wire::{
    frame_length, parse, Command, DmaMap, DmaRange, DmaUnmap, Header, IrqSet, Message,
    RegionAccess, RegionInfo, WriteOne, HEADER_SIZE, MAX_FRAME, NO_REPLY,
};
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use zerocopy::{FromBytes, IntoBytes};

const RAM: u64 = 1 << 16;
/// What the peer shows of its RAM.
const SHOWN: std::ops::Range<u64> = 0x4000..0x8000;
const PATTERN: u8 = 0x5a;

/// Any bytes, taken in one of three ways.
pub fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0..=31, bytes)) => understand(bytes),
        Some((32..=63, bytes)) => stream(&mut Unstructured::new(bytes)),
        Some((_, bytes)) => story(&mut Unstructured::new(bytes)),
        None => {}
    }
}

/// One message after the other, and what they say.
fn understand(mut bytes: &[u8]) {
    while let Ok(Some(length)) = frame_length(bytes) {
        assert!((HEADER_SIZE..=MAX_FRAME).contains(&length));
        let Some((frame, rest)) = bytes.split_at_checked(length) else {
            return;
        };
        bytes = rest;
        match parse(frame) {
            Ok(Message::Request(_, ntb_emu::wire::Request::RegionWrite(access, data))) => {
                assert_eq!(usize::try_from(access.count.get()), Ok(data.len()));
            }
            Ok(Message::Request(_, ntb_emu::wire::Request::RegionWriteMulti(writes))) => {
                assert!(writes.iter().all(|one| one.access.count.get() <= 8));
            }
            Ok(Message::Request(_, ntb_emu::wire::Request::RegionRead(access))) => {
                assert!(access.count.get() as usize <= MAX_FRAME);
            }
            Ok(Message::Reply(reply)) => {
                let named = DmaRange::read_from_prefix(reply.body);
                let (address, count) = named.map_or((0, 4), |(range, _)| {
                    (range.address.get(), range.count.get() as usize)
                });
                let data = reply.read_data(address, count);
                assert!(data.is_none_or(|data| data.len() == count));
                assert!(reply.read_data(!address, count).is_none());
            }
            _ => {}
        }
    }
    // Lengths that do not agree with what is there.
    let _ = parse(bytes);
}

fn link() -> Link {
    let window = |size, direct| Window { size, direct };
    let end = |name: &str, host, ram: &File| EndSpec {
        name: name.into(),
        host,
        ram: format!("/proc/self/fd/{}", ram.as_raw_fd()).into(),
    };
    let spec = LinkSpec {
        name: "ab".into(),
        family: Family::Amd,
        windows: vec![
            window(1 << 20, false),
            window(64 << 20, false),
            window(1 << 20, true),
        ],
        ends: [end("a", 0, &OTHER), end("b", 1, &OTHER)],
    };
    Link::new(spec, Waits::new(2)).unwrap()
}

/// Nothing of a client is left.
fn check_gone(link: &Link, side: Side) {
    let end = link.end(side);
    assert!(end.connection().is_none());
    assert_eq!((end.memory.ranges(), end.interrupts.pending()), (0, 0));
    assert_eq!(end.interrupts.fire(u64::MAX), 0);
    assert!(!link.model().link());
}

static RAMS: LazyLock<[File; 2]> = LazyLock::new(|| [sealed(), sealed()]);
static OTHER: LazyLock<File> = LazyLock::new(sealed);
static SHRINKABLE: LazyLock<File> = LazyLock::new(|| {
    memfd_create("shrinkable", MemfdFlags::CLOEXEC)
        .unwrap()
        .into()
});
static EVENT: LazyLock<OwnedFd> = LazyLock::new(|| eventfd(0, EventfdFlags::NONBLOCK).unwrap());
static PIPE: LazyLock<OwnedFd> = LazyLock::new(|| rustix::pipe::pipe().unwrap().1);

fn sealed() -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("sealed", flags).unwrap());
    file.set_len(RAM).unwrap();
    fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    file
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Ram,
    Shrinkable,
    Event,
    Pipe,
}

impl Kind {
    fn open(self, side: Side) -> OwnedFd {
        let file = match self {
            Self::Ram => RAMS[usize::from(side == Side::Secondary)].as_fd(),
            Self::Shrinkable => SHRINKABLE.as_fd(),
            Self::Event => EVENT.as_fd(),
            Self::Pipe => PIPE.as_fd(),
        };
        file.try_clone_to_owned().unwrap()
    }
}

/// A stream in pieces, with descriptors anywhere, to a server with all it has.
fn stream(source: &mut Unstructured<'_>) {
    let link = link();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let greeting = Header::command(0, Command::Version, 4, 0);
    send(&ours, &[greeting.as_bytes(), &[0; 4]].concat(), &[]);
    // Less than a socket takes, for nobody receives yet.
    for _ in 0..20 {
        let Ok((head, kind, fds, body)) = source.arbitrary::<(Option<Head>, Kind, u8, Vec<u8>)>()
        else {
            break;
        };
        let body = &body[..body.len().min(1000)];
        let fds: Vec<_> = (0..fds % 20).map(|_| kind.open(Side::Primary)).collect();
        match head {
            Some(head) => send(
                &ours,
                &[head.of(body.len()).as_bytes(), body].concat(),
                &fds,
            ),
            None if body.is_empty() => {}
            None => send(&ours, body, &fds),
        }
    }
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = serve(&link, Side::Primary, theirs);
    check_gone(&link, Side::Primary);
    let mut received = Vec::new();
    let _ = ours.read_to_end(&mut received);
    // The greeting is not even looked at if descriptors behind it are too many.
    let first = frame_length(&received).unwrap();
    assert!(received.is_empty() || first == Some(HEADER_SIZE + 4));
}

fn send(socket: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags).unwrap();
}

/// A header of a message of some length, mostly.
#[derive(Arbitrary, Debug)]
struct Head {
    command: u8,
    flags: u8,
    skew: u8,
}

impl Head {
    fn of(&self, body: usize) -> Header {
        let mut header = Header::command(1, u16::from(self.command % 18).into(), body, 0);
        header.flags = u32::from(self.flags & 0x3f).into();
        if self.skew > 250 {
            header.size = u32::from(self.skew).into();
        }
        header
    }
}

#[derive(Arbitrary, Debug)]
enum Address {
    Page(u8),
    Any(u64),
}

impl Address {
    fn get(&self) -> u64 {
        match self {
            Self::Page(page) => u64::from(*page) << 12,
            Self::Any(address) => *address,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Message(Head, Vec<u8>, Kind, u8),
    Map(Address, Address, Address, u8, Option<Kind>),
    Unmap(Address, Address, bool),
    Interrupts(u8, u8, u8, u8, Kind, u8),
    Read(u8, Address, u16),
    Write(u8, Address, Vec<u8>, bool),
    Register(u16, u32),
    Show(Address, Address),
    Master(bool),
    Writes(Vec<(u8, u16, u8, [u8; 8])>),
    RegionInfo(u8, u8),
    Answer(u8, Answer),
    Truncate(u16),
    Reset,
    Tick,
}

#[derive(Arbitrary, Debug)]
enum Answer {
    Right,
    Refused,
    Wrong(u8, Vec<u8>),
}

/// A client and what it has got.
struct Host<'a> {
    session: Session<'a>,
    socket: UnixStream,
    side: Side,
    inbox: Vec<u8>,
    sent: HashSet<u16>,
    asked: Vec<(Header, DmaRange)>,
    over: bool,
}

impl<'a> Host<'a> {
    fn new(link: &'a Link, side: Side) -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut host = Self {
            session: Session::new(link, side, Arc::new(theirs)),
            socket,
            side,
            inbox: Vec::new(),
            sent: HashSet::new(),
            asked: Vec::new(),
            over: false,
        };
        host.send(Command::Version, 0, &[0; 4], vec![]);
        host.map(0, RAM, 0, 3, Some(Kind::Ram));
        host.write(7, 4, &[6, 0], false);
        host.write(0, 0x45c, &[0, 0], false);
        host.write(0, 0x408, &2u32.to_le_bytes(), false);
        assert!(!host.over);
        host
    }

    fn send(&mut self, command: Command, flags: u32, body: &[u8], fds: Vec<OwnedFd>) {
        let id = u16::try_from(self.sent.len()).unwrap();
        let header = Header::command(id, command, body.len(), flags);
        self.deliver(&[header.as_bytes(), body].concat(), fds);
    }

    fn deliver(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        if self.over || fds.len() > MAX_FDS {
            return;
        }
        let (header, _) = Header::read_from_prefix(bytes).unwrap();
        self.sent.insert(header.id.get());
        self.over = self.session.handle(Frame { bytes, fds }).is_err();
    }

    /// Takes what has come, and looks at it.
    fn receive(&mut self) {
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = (&self.socket).read(&mut some) {
            self.inbox.extend(&some[..count]);
        }
        while let Some(length) = frame_length(&self.inbox).expect("a header") {
            if self.inbox.len() < length {
                // It waits for a thread that there is not here.
                return;
            }
            let frame: Vec<u8> = self.inbox.drain(..length).collect();
            let (header, body) = Header::read_from_prefix(&frame).unwrap();
            if header.flags.get() & 0xf == 1 {
                assert!(
                    self.sent.contains(&header.id.get()),
                    "{header:?} answers nothing"
                );
                continue;
            }
            let (range, data) = DmaRange::read_from_prefix(body).unwrap();
            match Command::from(header.command.get()) {
                Command::DmaRead => {
                    assert!(header.wants_reply() && data.is_empty());
                    self.asked.push((header, range));
                }
                Command::DmaWrite => {
                    assert!(!header.wants_reply());
                    assert_eq!(data.len() as u64, range.count.get());
                }
                other => panic!("asked for {other:?}"),
            }
        }
    }

    fn map(&mut self, address: u64, size: u64, offset: u64, flags: u8, kind: Option<Kind>) {
        let map = DmaMap {
            argsz: 32.into(),
            flags: u32::from(flags).into(),
            offset: offset.into(),
            address: address.into(),
            size: size.into(),
        };
        let fds = kind.map(|kind| kind.open(self.side)).into_iter().collect();
        self.send(Command::DmaMap, 0, map.as_bytes(), fds);
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8], posted: bool) {
        let body = [access(region, offset, data.len()).as_bytes(), data].concat();
        let flags = if posted { NO_REPLY } else { 0 };
        self.send(Command::RegionWrite, flags, &body, vec![]);
    }

    fn answer(&mut self, which: u8, answer: &Answer) {
        let Some(index) = usize::from(which).checked_rem(self.asked.len()) else {
            // Nothing was asked: an answer all the same.
            let header = Header::command(0x8000 | u16::from(which), Command::DmaRead, 0, 0);
            return self.deliver(header.reply(0).as_bytes(), vec![]);
        };
        let (question, range) = self.asked.swap_remove(index);
        let count = usize::try_from(range.count.get()).unwrap();
        let bytes = match answer {
            Answer::Right => {
                let data = vec![which; count];
                let head = question.reply(16 + count);
                [head.as_bytes(), range.as_bytes(), &data].concat()
            }
            Answer::Refused => question
                .refusal(rustix::io::Errno::NODEV)
                .as_bytes()
                .to_vec(),
            Answer::Wrong(id, body) => {
                let mut head = question.reply(body.len());
                head.id = (question.id.get() ^ u16::from(id % 4)).into();
                [head.as_bytes(), body].concat()
            }
        };
        self.deliver(&bytes, vec![]);
    }

    fn carry_out(&mut self, link: &Link, step: &Step) {
        match step {
            Step::Message(head, body, kind, fds) => {
                let fds = (0..fds % 17).map(|_| kind.open(self.side)).collect();
                let bytes = [head.of(body.len()).as_bytes(), body].concat();
                self.deliver(&bytes, fds);
            }
            Step::Map(address, size, offset, flags, kind) => {
                self.map(address.get(), size.get(), offset.get(), *flags, *kind);
            }
            Step::Unmap(address, size, all) => {
                let unmap = DmaUnmap {
                    argsz: 24.into(),
                    flags: (if *all { 2 } else { 0 }).into(),
                    address: address.get().into(),
                    size: size.get().into(),
                };
                self.send(Command::DmaUnmap, 0, unmap.as_bytes(), vec![]);
            }
            Step::Interrupts(flags, index, start, count, kind, fds) => {
                let set = IrqSet {
                    argsz: 20.into(),
                    flags: u32::from(*flags).into(),
                    index: u32::from(index % 4).into(),
                    start: u32::from(*start).into(),
                    count: u32::from(*count).into(),
                };
                let fds = (0..fds % 17).map(|_| kind.open(self.side)).collect();
                self.send(Command::SetIrqs, 0, set.as_bytes(), fds);
            }
            Step::Read(region, offset, count) => {
                let access = access(u32::from(region % 10), offset.get(), (*count).into());
                self.send(Command::RegionRead, 0, access.as_bytes(), vec![]);
            }
            Step::Write(region, offset, data, posted) => {
                self.write(u32::from(region % 10), offset.get(), data, *posted);
            }
            Step::Register(at, value) => {
                let offset = u64::from(at % 0x400) & !3;
                self.write(0, 0x400 + offset, &value.to_le_bytes(), true);
            }
            Step::Show(address, size) => {
                self.write(0, peer_offset(0x438), &address.get().to_le_bytes(), true);
                self.write(0, peer_offset(0x418), &size.get().to_le_bytes(), true);
            }
            Step::Master(on) => self.write(7, 4, &[if *on { 6 } else { 2 }, 0], false),
            Step::Writes(writes) => {
                let writes: Vec<WriteOne> = writes
                    .iter()
                    .map(|(region, offset, count, data)| WriteOne {
                        access: access((region % 10).into(), (*offset).into(), (*count).into()),
                        data: *data,
                    })
                    .collect();
                let count = (writes.len() as u64).to_ne_bytes();
                let body = [&count, writes.as_bytes()].concat();
                self.send(Command::RegionWriteMulti, 0, &body, vec![]);
            }
            Step::RegionInfo(index, room) => {
                let asked = RegionInfo {
                    argsz: u32::from(*room).into(),
                    flags: 0.into(),
                    index: u32::from(index % 10).into(),
                    cap_offset: 0.into(),
                    size: 0.into(),
                    offset: 0.into(),
                };
                self.send(Command::GetRegionInfo, 0, asked.as_bytes(), vec![]);
            }
            Step::Answer(which, answer) => self.answer(*which, answer),
            Step::Truncate(length) => SHRINKABLE.set_len((*length).into()).unwrap(),
            Step::Reset => self.send(Command::Reset, 0, &[], vec![]),
            Step::Tick => {
                link.tick();
                link.relieve();
            }
        }
    }
}

fn access(region: u32, offset: u64, count: usize) -> RegionAccess {
    RegionAccess {
        offset: offset.into(),
        region: region.into(),
        count: u32::try_from(count).unwrap().into(),
    }
}

/// A client beside another. If the other one does nothing but be there, it must not suffer.
fn story(source: &mut Unstructured<'_>) {
    let Ok(both) = source.arbitrary::<bool>() else {
        return;
    };
    for ram in RAMS.iter() {
        ram.write_all_at(&[PATTERN; RAM as usize], 0).unwrap();
    }
    SHRINKABLE.set_len(RAM).unwrap();
    let link = link();
    let mut b = Host::new(&link, Side::Secondary);
    let mut a = Host::new(&link, Side::Primary);
    b.write(0, peer_offset(0x438), &SHOWN.start.to_le_bytes(), false);
    let size = SHOWN.end - SHOWN.start;
    b.write(0, peer_offset(0x418), &size.to_le_bytes(), false);
    for _ in 0..200 {
        let Ok((step, by_b)) = source.arbitrary::<(Step, bool)>() else {
            break;
        };
        let who = if both && by_b { &mut b } else { &mut a };
        who.carry_out(&link, &step);
        a.receive();
        b.receive();
        if source.is_empty() || a.over && (b.over || !both) {
            break;
        }
    }
    drop(a);
    check_gone(&link, Side::Primary);
    if !both {
        let mut ram = [0; RAM as usize];
        RAMS[1].read_exact_at(&mut ram, 0).unwrap();
        let (before, rest) = ram.split_at(SHOWN.start as usize);
        let (_, after) = rest.split_at((SHOWN.end - SHOWN.start) as usize);
        for part in [before, after] {
            assert!(part == &[PATTERN; RAM as usize][..part.len()]);
        }
        // All that it shows is RAM.
        for (_, range) in &b.asked {
            assert_eq!(range.count.get(), 0, "asked for {range:?}");
        }
        b.receive();
        b.write(0, 0x408, &[2], false);
        assert!(!b.over);
    }
    drop(b);
    check_gone(&link, Side::Secondary);
}
