// SPDX-License-Identifier: GPL-2.0

//! A client: what QEMU and a guest with `ntb_hw_amd` would do.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ntb_emu::link::{EndSpec, Link, LinkSpec};
use ntb_emu::model::amd::peer_offset;
use ntb_emu::model::{Family, Window};
use ntb_emu::session::{serve, Ended};
use ntb_emu::side::Side;
use ntb_emu::waits::Waits;
use ntb_emu::wire::{
    Command, DmaMap, DmaRange, DmaUnmap, Header, IrqSet, IrqSetFlags, RegionAccess, Version,
    HEADER_SIZE, NO_REPLY,
};
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use zerocopy::{FromBytes, IntoBytes};

/// How long anything may take that has to happen. Far more than it takes, on any machine and beside anything.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const RAM: u64 = 1 << 20;
pub const WINDOW1: u32 = 2;
pub const CONFIG: u32 = 7;
pub const READY: u32 = 2;
pub const SIDEINFO: u64 = 0x408;
pub const DBREQ: u64 = 0x454;

/// What came from the server: header, body, descriptors.
pub struct Received {
    pub header: Header,
    pub body: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Received {
    pub fn command(&self) -> Command {
        Command::from(self.header.command.get())
    }

    /// Address, count and data of a DMA message.
    pub fn dma(&self) -> (u64, u64, &[u8]) {
        let (range, data) = DmaRange::read_from_prefix(&self.body).unwrap();
        (range.address.get(), range.count.get(), data)
    }
}

/// One end of a connection to the bridge.
pub struct Client {
    pub socket: UnixStream,
    pub ram: File,
    server: Option<JoinHandle<Ended>>,
    id: u16,
}

pub fn bridge() -> Arc<Link> {
    bridge_with_ram(["/nonexistent/a", "/nonexistent/b"], false)
}

pub fn bridge_with_ram(ram: [&str; 2], direct: bool) -> Arc<Link> {
    let windows = [
        Window {
            size: 1 << 20,
            direct: false,
        },
        Window {
            size: 64 << 20,
            direct: false,
        },
        Window {
            size: 512 << 20,
            direct,
        },
    ];
    let [a, b] = ram;
    let end = |name: &str, host, ram: &str| EndSpec {
        name: name.into(),
        host,
        ram: ram.into(),
    };
    let spec = LinkSpec {
        name: "ab".into(),
        family: Family::Amd,
        windows: windows.into(),
        ends: [end("a", 0, a), end("b", 1, b)],
    };
    Arc::new(Link::new(spec, Waits::new(2)).unwrap())
}

/// Both hosts with their drivers loaded, 1 MiB of RAM at 0 each.
pub fn linked() -> (Arc<Link>, Client, Client) {
    let ntb = bridge();
    let mut a = Client::connect(&ntb, Side::Primary);
    let mut b = Client::connect(&ntb, Side::Secondary);
    a.load();
    b.load();
    (ntb, a, b)
}

impl Client {
    /// Connects without a word.
    pub fn raw(ntb: &Arc<Link>, side: Side) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ntb = ntb.clone();
        let mut client = Self::over(ours);
        client.server = Some(std::thread::spawn(move || serve(&ntb, side, theirs)));
        client
    }

    /// A client on a connected socket.
    pub fn over(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            ram: memory("ram", RAM),
            server: None,
            id: 0,
        }
    }

    /// Connects and negotiates.
    pub fn connect(ntb: &Arc<Link>, side: Side) -> Self {
        let mut client = Self::raw(ntb, side);
        assert!(!client.greet().header.is_refusal());
        // The answer comes first; a host is there when the next thing is answered.
        client.flush();
        client
    }

    /// Negotiates.
    pub fn greet(&mut self) -> Received {
        let capabilities =
            b"{\"capabilities\":{\"max_msg_fds\":16,\"write_multiple\":true,\"migration\":{}}}\0";
        let version = Version {
            major: 0.into(),
            minor: 0.into(),
        };
        let greeting = [version.as_bytes(), capabilities].concat();
        let reply = self.ask(Command::Version, &greeting, &[]);
        assert!(reply.header.is_refusal() || reply.body.last() == Some(&0));
        reply
    }

    /// Does what QEMU and the driver do until the driver is ready.
    pub fn load(&mut self) {
        let fd = self.ram.try_clone().unwrap();
        self.map(0, RAM, 0, 3, Some(fd.into()));
        self.write(CONFIG, 4, &[6, 0]);
        self.write(0, 0x45c, &[0, 0]);
        self.write(0, 0x470, &0x1fu32.to_le_bytes());
        let info = self.read32(0, SIDEINFO);
        self.write(0, SIDEINFO, &(info | READY).to_le_bytes());
    }

    /// Lets the peer see this host's address space through its window 1 (BAR 2).
    pub fn open_window(&mut self, address: u64, size: u64) {
        self.write(0, peer_offset(0x438), &address.to_le_bytes());
        self.write(0, peer_offset(0x418), &size.to_le_bytes());
    }

    pub fn map(&mut self, address: u64, size: u64, offset: u64, flags: u32, fd: Option<OwnedFd>) {
        let map = DmaMap {
            argsz: 32.into(),
            flags: flags.into(),
            offset: offset.into(),
            address: address.into(),
            size: size.into(),
        };
        let fds: Vec<OwnedFd> = fd.into_iter().collect();
        assert!(!self
            .ask(Command::DmaMap, map.as_bytes(), &fds)
            .header
            .is_refusal());
    }

    pub fn unmap(&mut self, address: u64, size: u64) {
        let unmap = DmaUnmap {
            argsz: 24.into(),
            flags: 0.into(),
            address: address.into(),
            size: size.into(),
        };
        let reply = self.ask(Command::DmaUnmap, unmap.as_bytes(), &[]);
        assert_eq!(reply.body, unmap.as_bytes());
    }

    /// Attaches an event descriptor to an MSI-X vector.
    pub fn vector(&mut self, vector: u32) -> OwnedFd {
        let ours = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        self.attach(vector, &[ours.try_clone().unwrap()]);
        ours
    }

    /// Attaches event descriptors to the MSI-X vectors from `first` on.
    pub fn attach(&mut self, first: u32, events: &[OwnedFd]) {
        let set = IrqSet {
            argsz: 20.into(),
            flags: (IrqSetFlags::DATA_EVENTFD | IrqSetFlags::ACTION_TRIGGER).into(),
            index: 2.into(),
            start: first.into(),
            count: u32::try_from(events.len()).unwrap().into(),
        };
        let reply = self.ask(Command::SetIrqs, set.as_bytes(), events);
        assert!(!reply.header.is_refusal());
    }

    pub fn read(&mut self, region: u32, offset: u64, count: u32) -> Vec<u8> {
        self.send_read(region, offset, count);
        self.read_reply(count)
    }

    pub fn read32(&mut self, region: u32, offset: u64) -> u32 {
        u32::from_le_bytes(self.read(region, offset, 4).try_into().unwrap())
    }

    pub fn send_read(&mut self, region: u32, offset: u64, count: u32) {
        let access = access(region, offset, count);
        self.send(Command::RegionRead, 0, access.as_bytes(), &[]);
    }

    pub fn read_reply(&mut self, count: u32) -> Vec<u8> {
        let reply = self.receive();
        assert_eq!(reply.command(), Command::RegionRead);
        assert!(!reply.header.is_refusal());
        assert_eq!(reply.body.len(), 16 + count as usize);
        reply.body[16..].to_vec()
    }

    /// A posted write, as QEMU sends them.
    pub fn post(&mut self, region: u32, offset: u64, data: &[u8]) {
        let access = access(region, offset, data.len() as u32);
        self.send(
            Command::RegionWrite,
            NO_REPLY,
            &[access.as_bytes(), data].concat(),
            &[],
        );
    }

    /// A write, and it is done.
    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        let access = access(region, offset, data.len() as u32);
        let reply = self.ask(
            Command::RegionWrite,
            &[access.as_bytes(), data].concat(),
            &[],
        );
        assert!(!reply.header.is_refusal());
        assert_eq!(reply.body, access.as_bytes());
    }

    /// Waits until everything sent so far has been handled.
    pub fn flush(&mut self) {
        self.read32(0, SIDEINFO);
    }

    pub fn ram(&self, offset: u64, count: usize) -> Vec<u8> {
        let mut data = vec![0; count];
        self.ram.read_exact_at(&mut data, offset).unwrap();
        data
    }

    /// Asks and takes the answer.
    pub fn ask(&mut self, command: Command, body: &[u8], fds: &[OwnedFd]) -> Received {
        let id = self.send(command, 0, body, fds);
        let reply = self.receive();
        assert_eq!((reply.header.id.get(), reply.command()), (id, command));
        assert_eq!(reply.header.flags.get() & 0xf, 1);
        reply
    }

    pub fn send(&mut self, command: Command, flags: u32, body: &[u8], fds: &[OwnedFd]) -> u16 {
        self.id += 1;
        let header = Header::command(self.id, command, body.len(), flags);
        self.send_bytes(&[header.as_bytes(), body].concat(), fds);
        self.id
    }

    pub fn send_bytes(&mut self, bytes: &[u8], fds: &[OwnedFd]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        let sent = sendmsg(
            &self.socket,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .unwrap_or_default();
        // It fails if the server has given up already, which is for the test to find out.
        if sent > 0 {
            let _ = self.socket.write_all(&bytes[sent..]);
        }
    }

    /// Answers a DMA message of the server's.
    pub fn answer(&mut self, question: &Received, data: Option<&[u8]>) {
        let (address, count, _) = question.dma();
        let range = DmaRange {
            address: address.into(),
            count: count.into(),
        };
        let bytes = match data {
            Some(data) => [
                question.header.reply(16 + data.len()).as_bytes(),
                range.as_bytes(),
                data,
            ]
            .concat(),
            None => question
                .header
                .refusal(rustix::io::Errno::NODEV)
                .as_bytes()
                .to_vec(),
        };
        self.send_bytes(&bytes, &[]);
    }

    pub fn receive(&mut self) -> Received {
        let mut head = [0; HEADER_SIZE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut head)],
            &mut ancillary,
            RecvFlags::WAITALL,
        )
        .unwrap();
        assert_eq!(
            received.bytes, HEADER_SIZE,
            "the server has closed the connection"
        );
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let header = Header::read_from_bytes(&head).unwrap();
        let mut body = vec![0; header.size.get() as usize - HEADER_SIZE];
        self.socket.read_exact(&mut body).unwrap();
        Received { header, body, fds }
    }

    /// Whether there is nothing to receive for a while.
    pub fn is_quiet(&mut self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let quiet = self.socket.read(&mut [0]).is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        quiet
    }

    /// Waits for the server to close the connection, and says why it did.
    pub fn ended(mut self) -> Ended {
        let mut rest = Vec::new();
        let _ = self.socket.read_to_end(&mut rest);
        self.server.take().unwrap().join().unwrap()
    }

    /// Goes away like a killed process.
    pub fn kill(mut self) -> Ended {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.server.take().unwrap().join().unwrap()
    }
}

/// A file in memory of some size that cannot become shorter, as QEMU makes them.
pub fn memory(name: &str, size: u64) -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(name, flags).unwrap();
    ftruncate(&file, size).unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).unwrap();
    file.into()
}

pub fn access(region: u32, offset: u64, count: u32) -> RegionAccess {
    RegionAccess {
        offset: offset.into(),
        region: region.into(),
        count: count.into(),
    }
}

/// How often an event descriptor has been signalled since the last time.
pub fn signalled(fd: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    match rustix::io::read(fd, &mut bytes) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => 0,
    }
}

/// Waits until an event descriptor is signalled.
pub fn wait_for(fd: &OwnedFd) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while signalled(fd) == 0 {
        assert!(std::time::Instant::now() < deadline, "not signalled");
        std::thread::sleep(Duration::from_millis(1));
    }
}
