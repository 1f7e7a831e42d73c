// SPDX-License-Identifier: GPL-2.0

//! One host's connection from its first message to its last.

mod direct;
mod info;
mod version;

use std::cell::OnceCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::{debug, error, warn};
use zerocopy::IntoBytes;

use crate::connection::Connection;
use crate::link::{reply, Link, Taken};
use crate::memory::Reach;
use crate::side::Side;
use crate::socket::{Frame, ReceiveError, Receiver};
use crate::wire::{
    parse, Command, DmaMap, DmaUnmap, DmaUnmapFlags, Header, IrqSet, IrqSetFlags, Malformed,
    Message, Request, WriteOne,
};
use direct::DirectWindow;
use info::MSIX;

/// How long a client may take to say which version it speaks: as long as QEMU waits for our answer.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The host's QEMU has closed it.
    #[error("closed by the host")]
    Closed,
    /// It could not be understood.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// Some other command came before the version.
    #[error("no version was negotiated")]
    NoVersion,
    /// The versions do not fit.
    #[error("the host speaks version {0}.{1} of the protocol")]
    Version(u16, u16),
    /// The version was negotiated already.
    #[error("the version was negotiated twice")]
    SecondVersion,
    /// Another connection has the host's place.
    #[error("there is a connection for this host already: end that QEMU first")]
    Taken,
    /// A command came with descriptors that it has no use for, or without those that it names.
    #[error("{command:?} with {count} descriptors")]
    Descriptors {
        /// The command in question.
        command: Command,
        /// How many came with it.
        count: usize,
    },
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Self {
        Self::Receive(malformed.into())
    }
}

/// Serves a host until its connection ends, and says why it did. Nothing but this connection is affected by it.
pub fn serve(link: &Link, side: Side, socket: UnixStream) -> Ended {
    let socket = Arc::new(socket);
    let mut session = Session::new(link, side, socket.clone());
    let connection = session.connection.clone();
    let sender = std::thread::Builder::new()
        .name(format!("{} sender", link.end(side).name))
        .spawn(move || connection.outbox().drain());
    match sender {
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
            Ended::Receive(errno.into())
        }
        Ok(sender) => {
            let ended = session.run(Receiver::new(socket));
            drop(session);
            // It cannot have panicked in a way that matters any more.
            let _ = sender.join();
            ended
        }
    }
}

/// One host's connection, as far as it has come.
#[derive(Debug)]
pub struct Session<'a> {
    link: &'a Link,
    side: Side,
    connection: Arc<Connection>,
    /// The version has been negotiated: the host counts as connected, and has its place.
    place: Option<Taken<'a>>,
    /// What each window shows directly, if it has been asked for.
    direct: Vec<OnceCell<Option<Rc<DirectWindow>>>>,
    /// It was said that RAM is not mapped.
    told_shrinkable: bool,
}

impl Drop for Session<'_> {
    /// However the session ends, the peer sees the host vanish before another one takes its place.
    fn drop(&mut self) {
        if self.place.is_some() {
            self.link.disconnected(&self.connection);
        }
        self.connection.close();
    }
}

impl<'a> Session<'a> {
    /// A session on a socket in blocking mode. Messages that the socket does not take at once are sent when somebody
    /// [drains](crate::outbox::Outbox::drain) the outbox.
    pub fn new(link: &'a Link, side: Side, socket: Arc<UnixStream>) -> Self {
        Self {
            link,
            side,
            connection: Arc::new(Connection::new(side, socket)),
            place: None,
            direct: link.windows().iter().map(|_| OnceCell::new()).collect(),
            told_shrinkable: false,
        }
    }

    fn run(&mut self, mut receiver: Receiver) -> Ended {
        match self.converse(&mut receiver) {
            Ok(()) => Ended::Closed,
            Err(ended) => ended,
        }
    }

    fn converse(&mut self, receiver: &mut Receiver) -> Result<(), Ended> {
        // Who says nothing has no place and stands in nobody's way, but it takes a thread and descriptors.
        receiver.set_deadline(Some(Instant::now() + GREETING_TIMEOUT))?;
        match receiver.receive()? {
            Some(frame) => self.handle(frame)?,
            None => return Ok(()),
        }
        receiver.set_deadline(None)?;
        while let Some(frame) = receiver.receive()? {
            self.handle(frame)?;
        }
        Ok(())
    }

    /// Does what a message asks for.
    ///
    /// # Errors
    ///
    /// The connection must be given up. A command that merely cannot be carried out is refused to the client instead.
    pub fn handle(&mut self, frame: Frame<'_>) -> Result<(), Ended> {
        let (header, request) = match parse(frame.bytes)? {
            Message::Reply(reply) => {
                if !frame.fds.is_empty() {
                    return Err(descriptors(&reply.header, &frame.fds));
                }
                self.link.answer(&self.connection, &reply);
                return Ok(());
            }
            Message::Request(header, request) => (header, request),
        };
        if self.place.is_none() && !matches!(request, Request::Version(..)) {
            return Err(Ended::NoVersion);
        }
        if !takes(&request, frame.fds.len()) {
            return Err(descriptors(&header, &frame.fds));
        }
        let done = match request {
            Request::RegionRead(access) => {
                match self.link.region_read(&self.connection, &header, access) {
                    Ok(()) => return Ok(()),
                    Err(errno) => Err(errno),
                }
            }
            Request::RegionWrite(access, data) => {
                let result = self.link.region_write(self.side, access, data);
                result.map(|()| self.reply(&header, access.as_bytes()))
            }
            Request::RegionWriteMulti(writes) => self.write_multi(&header, writes),
            Request::Version(version, data) => return self.version(&header, version, data),
            Request::DmaMap(map) => self.dma_map(&header, &map, frame.fds),
            Request::DmaUnmap(unmap) => self.dma_unmap(&header, &unmap),
            Request::GetInfo(_) => {
                self.reply(&header, info::device().as_bytes());
                Ok(())
            }
            Request::GetRegionInfo(info) => self.region_info(&header, &info),
            Request::GetIrqInfo(info) => info::irq(&info, self.link.layout().msix.vectors)
                .map(|info| self.reply(&header, info.as_bytes())),
            Request::SetIrqs(set, _) => self.set_irqs(&header, &set, frame.fds),
            Request::Reset => {
                self.link.reset(self.side);
                self.reply(&header, &[]);
                Ok(())
            }
            Request::Unsupported(command) => {
                warn!(host = self.name(), ?command, "not supported");
                Err(Errno::NOSYS)
            }
        };
        if let Err(errno) = done {
            debug!(host = self.name(), command = header.command.get(), %errno, "refused");
            self.refuse(&header, errno);
        }
        Ok(())
    }

    fn write_multi(&self, header: &Header, writes: &[WriteOne]) -> Result<(), Errno> {
        for one in writes {
            // CAST: at most 8, as checked when it was parsed.
            let data = one
                .data
                .get(..one.access.count.get() as usize)
                .ok_or(Errno::INVAL)?;
            self.link.region_write(self.side, one.access, data)?;
        }
        // CAST: bounded by the length of a message.
        self.reply(header, &(writes.len() as u64).to_ne_bytes());
        Ok(())
    }

    fn dma_map(&mut self, header: &Header, map: &DmaMap, fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let end = self.link.end(self.side);
        let reach = end
            .memory
            .map(map, fds.into_iter().next())
            .map_err(|error| {
                warn!(host = self.name(), %error, "memory not mapped");
                error.errno()
            })?;
        debug!(
            host = self.name(),
            address = format_args!("{:#x}", map.address.get()),
            size = format_args!("{:#x}", map.size.get()),
            flags = map.flags.get(),
            ?reach,
            "memory named"
        );
        self.link.tell_map(self.side, map, reach);
        if reach == Reach::Shrinkable && !self.told_shrinkable {
            self.told_shrinkable = true;
            warn!(
                link = self.link.name(),
                host = self.name(),
                ram = %end.ram.display(),
                "RAM in a file that could shrink: it is accessed by messages, which is slow; give QEMU memory-backend-memfd \
                 or the file that is named for this host"
            );
        }
        if map.address.get() == 0 {
            self.warn_if_stale(self.side);
        }
        self.reply(header, &[]);
        Ok(())
    }

    fn dma_unmap(&self, header: &Header, unmap: &DmaUnmap) -> Result<(), Errno> {
        let memory = &self.link.end(self.side).memory;
        if unmap.flags.get() & DmaUnmapFlags::ALL != 0 {
            memory.clear();
        } else {
            memory
                .unmap(unmap.address.get(), unmap.size.get())
                .map_err(|error| {
                    warn!(host = self.name(), %error, "memory not unmapped");
                    error.errno()
                })?;
        }
        self.link.tell_unmap(self.side, unmap);
        self.reply(header, unmap.as_bytes());
        Ok(())
    }

    fn set_irqs(&self, header: &Header, set: &IrqSet, fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let end = self.link.end(self.side);
        let interrupts = &end.interrupts;
        // CAST: a u32 fits.
        let (start, count) = (set.start.get() as usize, set.count.get() as usize);
        if set.index.get() != MSIX {
            return Err(Errno::INVAL);
        }
        const ATTACH: u32 = IrqSetFlags::DATA_EVENTFD | IrqSetFlags::ACTION_TRIGGER;
        const TRIGGER: u32 = IrqSetFlags::DATA_NONE | IrqSetFlags::ACTION_TRIGGER;
        match set.flags.get() {
            ATTACH if fds.is_empty() => interrupts.detach(start, count)?,
            ATTACH => interrupts.attach(start, fds)?,
            TRIGGER if count == 0 => interrupts.disable(),
            TRIGGER
                if start
                    .checked_add(count)
                    .is_some_and(|end| end <= interrupts.count()) =>
            {
                let vectors = (start..start + count).fold(0, |set, vector| set | 1 << vector);
                self.link.signal(self.side, vectors);
            }
            _ => return Err(Errno::INVAL),
        }
        self.reply(header, &[]);
        Ok(())
    }

    /// Says so if the host on `side` does not use the RAM file that its peer's direct window shows.
    fn warn_if_stale(&self, side: Side) {
        let end = self.link.end(side);
        if end.is_stale() {
            error!(
                link = self.link.name(),
                host = end.name,
                peer = self.link.end(side.peer()).name,
                ram = %end.ram.display(),
                "the peer's direct window shows a file that is not this host's RAM: restart the peer"
            );
        }
    }

    fn name(&self) -> &str {
        &self.link.end(self.side).name
    }

    fn reply(&self, header: &Header, body: &[u8]) {
        if header.wants_reply() {
            reply(&self.connection, header, [body, &[]]);
        }
    }

    fn reply_with(&self, header: &Header, body: &[u8], file: &Arc<File>) {
        let head = header.reply(body.len());
        if self
            .connection
            .outbox()
            .send(&[head.as_bytes(), body], Some(file))
            .is_err()
        {
            self.connection.outbox().close();
        }
    }

    fn refuse(&self, header: &Header, errno: Errno) {
        if header.wants_reply()
            && self
                .connection
                .outbox()
                .send(&[header.refusal(errno).as_bytes()], None)
                .is_err()
        {
            self.connection.outbox().close();
        }
    }
}

/// Whether a command may come with this many descriptors.
fn takes(request: &Request<'_>, fds: usize) -> bool {
    match request {
        Request::DmaMap(_) => fds <= 1,
        // A QEMU detaches vectors by naming them without descriptors.
        Request::SetIrqs(set, _) if set.flags.get() & IrqSetFlags::DATA_EVENTFD != 0 => {
            fds == 0 || u32::try_from(fds) == Ok(set.count.get())
        }
        // Nobody knows.
        Request::Unsupported(_) => true,
        _ => fds == 0,
    }
}

fn descriptors(header: &Header, fds: &[OwnedFd]) -> Ended {
    Ended::Descriptors {
        command: header.command.get().into(),
        count: fds.len(),
    }
}
