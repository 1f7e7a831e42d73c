// SPDX-License-Identifier: GPL-2.0

//! Whole messages from a stream socket, with the descriptors that come with them.
//!
//! One call to the system may bring many messages, which matters for streams of small writes. The kernel ends a read
//! behind the bytes that descriptors were sent with, so descriptors belong to the message that holds the last byte of
//! the read they came with. Nothing more is read before that message is handed out, so all descriptors that wait are
//! those of one message.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use crate::patience;
use crate::wire::{frame_length, Malformed};

/// Most descriptors accepted with one message; also announced to clients.
pub const MAX_FDS: usize = 16;

const FIRST_BUFFER: usize = 64 << 10;

/// Why no message can be received any more.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is not a message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It came with too many descriptors.
    #[error(
        "more than {MAX_FDS} descriptors with one message, or more than this process may have"
    )]
    Descriptors,
    /// It has not come in time.
    #[error("no complete message in time")]
    Slow,
    /// The other end has gone in the middle of one.
    #[error("the connection ended within a message")]
    Truncated,
    /// The system says so.
    #[error(transparent)]
    System(#[from] Errno),
}

/// One message and its descriptors.
#[derive(Debug)]
pub struct Frame<'a> {
    /// All of it, from the header on.
    pub bytes: &'a [u8],
    /// What came with it.
    pub fds: Vec<OwnedFd>,
}

/// The receiving end of a connection.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<UnixStream>,
    buffer: Vec<u8>,
    /// What is in the buffer and not yet handed out.
    start: usize,
    end: usize,
    /// Bytes received before `start`.
    handed_out: u64,
    /// Descriptors of one message, and how many bytes had been received when the last of them came.
    fds: Vec<OwnedFd>,
    fds_at: u64,
    deadline: Option<Instant>,
}

impl Receiver {
    /// Receives from a socket in blocking mode.
    pub fn new(socket: Arc<UnixStream>) -> Self {
        Self {
            socket,
            buffer: vec![0; FIRST_BUFFER],
            start: 0,
            end: 0,
            handed_out: 0,
            fds: Vec::new(),
            fds_at: 0,
            deadline: None,
        }
    }

    /// Until when the next messages must have come completely; `None` if they may take for ever.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<(), ReceiveError> {
        self.deadline = deadline;
        let reset = self.socket.set_read_timeout(None);
        reset.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL).into())
    }

    /// Waits for the next message; `None` if the other end has closed the connection between two.
    ///
    /// # Errors
    ///
    /// The stream is broken and must be given up.
    pub fn receive(&mut self) -> Result<Option<Frame<'_>>, ReceiveError> {
        let length = loop {
            let held = self.buffer.get(self.start..self.end).unwrap_or_default();
            let wanted = frame_length(held)?;
            if let Some(length) = wanted.filter(|length| *length <= held.len()) {
                break length;
            }
            self.make_room(wanted.unwrap_or(0));
            if self.fill()? == 0 {
                return if self.start == self.end {
                    Ok(None)
                } else {
                    Err(ReceiveError::Truncated)
                };
            }
        };
        let from = self.start;
        self.start += length;
        // CAST: at most MAX_FRAME.
        self.handed_out += length as u64;
        let fds = if self.fds_at <= self.handed_out {
            std::mem::take(&mut self.fds)
        } else {
            Vec::new()
        };
        Ok(Some(Frame {
            bytes: self.buffer.get(from..from + length).unwrap_or_default(),
            fds,
        }))
    }

    /// Makes room for a message of `length` bytes behind what is held.
    fn make_room(&mut self, length: usize) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
    }

    fn fill(&mut self) -> Result<usize, ReceiveError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let message = loop {
            if let Some(deadline) = self.deadline {
                patience::arm(&self.socket, deadline).map_err(|_| ReceiveError::Slow)?;
            }
            match recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(room)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(ReceiveError::Slow),
                // Whoever is killed with unread messages looks like this.
                Err(Errno::CONNRESET) => return Ok(0),
                other => break other?,
            }
        };
        self.end += message.bytes;
        let mut any = false;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                any = true;
                self.fds.extend(rights);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > MAX_FDS {
            return Err(ReceiveError::Descriptors);
        }
        if any {
            // CAST: the buffer holds at most MAX_FRAME bytes.
            self.fds_at = self.handed_out + (self.end - self.start) as u64;
        }
        Ok(message.bytes)
    }
}
