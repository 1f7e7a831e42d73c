// SPDX-License-Identifier: GPL-2.0

//! The sending end of a connection: messages leave in order, and who sends never waits.
//!
//! As long as the socket takes them, messages are sent by the caller's own thread, which is the quickest way. What it
//! does not take is queued and sent by a thread that may wait: so a host that has stopped reading holds up nobody else.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Most memory, in bytes, for what is queued for a host that does not read.
pub const MAX_BACKLOG: usize = 64 << 20;

/// Why a message cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The host does not read.
    #[error("{MAX_BACKLOG} bytes wait for a host that does not read")]
    Full,
    /// The connection has ended.
    #[error("the connection has ended")]
    Closed,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
    /// Shared, so that a thousand answers with the same file take one descriptor.
    file: Option<Arc<File>>,
}

/// The memory that a message of this length takes while it is queued: small ones need more than their bytes.
fn cost(length: usize) -> usize {
    size_of::<Waiting>().saturating_add(length.max(32))
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    cost: usize,
    /// The thread is sending the message it took.
    sending: bool,
    closed: bool,
}

/// The sending end of a connection.
#[derive(Debug)]
pub struct Outbox {
    socket: Arc<UnixStream>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Outbox {
    /// Sends on a socket in blocking mode. Somebody must call [`Outbox::drain`].
    pub fn new(socket: Arc<UnixStream>) -> Self {
        Self {
            socket,
            queue: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Sends the parts as one message, with the descriptor of a file if there is one.
    ///
    /// # Errors
    ///
    /// The message is not sent and never will be.
    pub fn send(&self, parts: &[&[u8]], file: Option<&Arc<File>>) -> Result<(), SendError> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut queue = self.lock();
        if queue.closed {
            return Err(SendError::Closed);
        }
        let mut sent = 0;
        if queue.waiting.is_empty() && !queue.sending {
            let fd = file.map(AsFd::as_fd);
            match send_some(&self.socket, parts, fd, SendFlags::DONTWAIT) {
                Ok(count) if count == length => return Ok(()),
                Ok(count) => sent = count,
                Err(Errno::AGAIN) => {}
                Err(_) => {
                    queue.closed = true;
                    return Err(SendError::Closed);
                }
            }
        } else if queue.cost.saturating_add(cost(length)) > MAX_BACKLOG {
            return Err(SendError::Full);
        }
        queue.cost += cost(length);
        queue.waiting.push_back(Waiting {
            bytes: parts.concat(),
            sent,
            file: file.filter(|_| sent == 0).cloned(),
        });
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    /// Sends what is queued until the connection ends; to be called by a thread of its own.
    pub fn drain(&self) {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return;
            }
            let Some(mut message) = queue.waiting.pop_front() else {
                queue = self
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.sending = true;
            drop(queue);
            let result = self.send_all(&mut message);
            queue = self.lock();
            queue.sending = false;
            queue.cost = queue.cost.saturating_sub(cost(message.bytes.len()));
            queue.closed |= result.is_err();
        }
    }

    /// Ends the connection, both ways.
    pub fn close(&self) {
        self.lock().closed = true;
        // It may have ended already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.changed.notify_all();
    }

    fn send_all(&self, message: &mut Waiting) -> Result<(), Errno> {
        while let Some(rest) = message
            .bytes
            .get(message.sent..)
            .filter(|rest| !rest.is_empty())
        {
            let fd = message.file.as_ref().map(AsFd::as_fd);
            match send_some(&self.socket, &[rest], fd, SendFlags::empty()) {
                Ok(count) => {
                    message.sent += count;
                    message.file = None;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send_some(
    socket: &UnixStream,
    parts: &[&[u8]],
    fd: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut slices = [IoSlice::new(&[]); 4];
    let used = parts.len().min(slices.len());
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
    }
    debug_assert_eq!(used, parts.len(), "a message has at most four parts");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(
        socket,
        &slices[..used],
        &mut ancillary,
        flags | SendFlags::NOSIGNAL,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn numbered(i: u32) -> Vec<u8> {
        let mut bytes = i.to_ne_bytes().to_vec();
        bytes.resize(1000, 0x5a);
        bytes
    }

    #[test]
    fn who_sends_never_waits_and_the_order_is_kept() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = Arc::new(Outbox::new(Arc::new(ours)));
        let thread = std::thread::spawn({
            let outbox = outbox.clone();
            move || outbox.drain()
        });
        // Far more than a socket takes, with nobody reading.
        let count = 5000;
        for i in 0..count {
            let message = numbered(i);
            let (head, tail) = message.split_at(4);
            outbox.send(&[head, tail], None).unwrap();
        }
        for i in 0..count {
            let mut seen = [0; 1000];
            theirs.read_exact(&mut seen).unwrap();
            assert_eq!(seen[..], numbered(i)[..]);
        }
        outbox.close();
        thread.join().unwrap();
        assert_eq!(outbox.send(&[&[1]], None), Err(SendError::Closed));
    }

    #[test]
    fn small_messages_do_not_take_more_memory_than_large_ones() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::new(Arc::new(ours));
        let mut accepted = 0;
        while outbox.send(&[&[0; 16]], None).is_ok() {
            accepted += 1;
            assert!(accepted <= MAX_BACKLOG / 64, "never full");
        }
    }

    #[test]
    fn answers_that_wait_share_a_descriptor() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::new(Arc::new(ours));
        let file = Arc::new(tempfile::tempfile().unwrap());
        while outbox.lock().waiting.len() < 1000 {
            outbox.send(&[&[0; 16]], Some(&file)).unwrap();
        }
        assert_eq!(Arc::strong_count(&file), 1001);
    }

    #[test]
    fn a_host_that_never_reads_fills_up_and_no_more() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::new(Arc::new(ours));
        let message = vec![0; 1 << 20];
        let mut accepted = 0;
        while outbox.send(&[&message], None).is_ok() {
            accepted += 1;
            assert!(accepted < 100, "never full");
        }
        assert_eq!(outbox.send(&[&message], None), Err(SendError::Full));
        drop(theirs);
    }
}
