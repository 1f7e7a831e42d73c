// SPDX-License-Identifier: GPL-2.0

//! Sending: a request goes into the peer's ring, its reply comes into a slot of ours named by the request's tag.
//!
//! Nothing here reads across the bridge. The reply's sequence number is the last word the peer writes, so a slot whose
//! number is ours is complete; a late reply to an earlier request has another number and is not looked at.

use super::{
    Link,
    Slot,
    DOORBELL_REQUEST, //
};
use crate::{
    duty::micros,
    errno::{
        enotconn,
        etime, //
    },
};
use devlend_bindings as bindings;
use devlend_protocol::{
    credit::Credit,
    message,
    reply_slot,
    request_slot,
    Event,
    Failure,
    Request,
    Tag,
    CONSUMED,
    PRODUCER,
    SLOT_SIZE, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How long a caller that may sleep waits for a reply.
pub const TIMEOUT: Delta = Delta::from_millis(5000);
/// How long a configuration access may hold interrupts off. A local access takes a microsecond, a forwarded one a few;
/// the bound is for a peer that has died without the link going down.
const ATOMIC_TIMEOUT: Delta = Delta::from_millis(2000);
/// For how long configuration accesses together may hold interrupts off; half of the time that passes is added. The bound is for
/// a peer that answers each access just in time.
const HELD_OFF: Delta = Delta::from_millis(5000);
/// What each of them may take besides.
const HELD_OFF_EACH: Delta = Delta::from_millis(100);
/// When a reply takes longer than this, the doorbell is rung again: one may have got lost, and an empty ring is no harm.
const RING_AGAIN: Delta = Delta::from_millis(100);
/// Between two looks at a reply slot by a caller that may sleep.
const POLL: Delta = Delta::from_micros(50);

/// What a request belongs to. One that belongs to a session that is over is not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The session, see [`Peer::session`](super::Peer::session).
    pub session: u32,
    /// Epoch of the lease, zero for none.
    pub epoch: u32,
}

/// Why a request brought no reply body.
pub enum Refusal {
    /// It was not sent, or no reply came.
    Local(Error),
    /// The peer refused.
    Peer(Failure),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Local(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Local(error) => error,
            Refusal::Peer(failure) => Error::from_errno(-failure.errno()),
        }
    }
}

/// A tag in use; given back on drop.
struct TagGuard<'a> {
    link: &'a Link,
    tag: Tag,
}

impl Drop for TagGuard<'_> {
    fn drop(&mut self) {
        self.link.tags.lock().free(self.tag);
    }
}

/// What requests may hold interrupts off.
pub(super) fn credit() -> Credit {
    Credit::new(micros(HELD_OFF), micros(HELD_OFF_EACH))
}

impl Link {
    /// Sends a request and waits for the reply. Sleeps, at most five seconds.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`: no session, or it ended while we waited; `ETIMEDOUT`; or the peer's refusal.
    pub fn request<R: Request>(&self, scope: Scope, request: &R) -> Result<R::Reply, Refusal> {
        self.request_within(TIMEOUT, scope, request)
    }

    /// The same, but does not wait for longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Link::request`].
    pub fn request_within<R: Request>(
        &self,
        timeout: Delta,
        scope: Scope,
        request: &R,
    ) -> Result<R::Reply, Refusal> {
        self.round_trip(scope, request, timeout, || fsleep(POLL))
    }

    /// Sends a request and polls for the reply with the CPU held: for configuration accessors. Never sleeps; two seconds
    /// at the most.
    ///
    /// # Errors
    ///
    /// As [`Link::request`]; `ETIME`: it has an answer, but such requests have taken too long of late.
    pub fn request_atomic<R: Request>(
        &self,
        scope: Scope,
        request: &R,
    ) -> Result<R::Reply, Refusal> {
        let start = Instant::<Monotonic>::now();
        // SAFETY: A hint to the CPU has no requirements.
        let answer = self.round_trip(scope, request, ATOMIC_TIMEOUT, || unsafe {
            bindings::cpu_relax()
        });
        let taken = micros(start.elapsed());
        self.counters.longest_atomic.note(taken);
        if self
            .held_off
            .lock()
            .take(micros(self.made.elapsed()), taken)
        {
            answer
        } else {
            Err(etime().into())
        }
    }

    /// Sends an event, which has no reply, to a peer that may know of it. Does not sleep.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`: no session, or the peer has not proven itself yet; `EAGAIN`: the ring is full.
    pub fn notify<E: Event>(&self, epoch: u32, event: &E) -> Result {
        self.notify_or(epoch, event, || ())
    }

    /// The same; if the ring is full, `when_full` is called with the session locked.
    pub(super) fn notify_or<E: Event>(
        &self,
        epoch: u32,
        event: &E,
        when_full: impl FnOnce(),
    ) -> Result {
        let session = self.session_id();
        if !self.is_proven(session) {
            return Err(enotconn());
        }
        let mut slot: Slot = [0; SLOT_SIZE];
        let length = message::encode_event(&mut slot, self.next_sequence(), epoch, event);
        self.send(session, &slot, length, when_full)
    }

    /// Never zero: an empty reply slot has zero.
    fn next_sequence(&self) -> u32 {
        self.sequence.fetch_add(1, Relaxed).wrapping_add(1).max(1)
    }

    fn round_trip<R: Request>(
        &self,
        scope: Scope,
        request: &R,
        timeout: Delta,
        pause: impl Fn(),
    ) -> Result<R::Reply, Refusal> {
        let start = Instant::<Monotonic>::now();
        let patience = || {
            if self.session_id() != scope.session {
                return Err(enotconn());
            }
            if start.elapsed() > timeout {
                self.counters.timeouts.count();
                return Err(ETIMEDOUT);
            }
            pause();
            Ok(())
        };

        // Sixteen requests may be under way; the next waits for one of them.
        let guard = loop {
            let tag = self.tags.lock().alloc();
            match tag {
                Some(tag) => break TagGuard { link: self, tag },
                None => patience()?,
            }
        };
        let sequence = self.next_sequence();
        let mut slot: Slot = [0; SLOT_SIZE];
        let length = message::encode_request(&mut slot, sequence, guard.tag, scope.epoch, request);
        loop {
            match self.send(scope.session, &slot, length, || ()) {
                Ok(()) => break,
                Err(error) if error == EAGAIN => patience()?,
                Err(error) => return Err(error.into()),
            }
        }
        let mut rung = Instant::<Monotonic>::now();
        while !self.fetch_reply(&guard, sequence, &mut slot)? {
            patience()?;
            if rung.elapsed() > RING_AGAIN {
                self.ring_again(scope.session)?;
                rung = Instant::now();
            }
        }
        drop(guard);

        let (header, body) = message::parse(&slot)
            .map_err(|malformed| Refusal::Peer(Failure::Malformed(malformed)))?;
        message::reply::<R>(&header, body).map_err(Refusal::Peer)
    }

    /// Copies the reply out of its slot, if it is there.
    fn fetch_reply(&self, tag: &TagGuard<'_>, sequence: u32, slot: &mut Slot) -> Result<bool> {
        let at = reply_slot(tag.tag);
        self.with_own(|own| {
            let is_there = own.read(at) == sequence;
            if is_there {
                own.copy(at, slot);
            }
            is_there
        })
        .ok_or_else(enotconn)
    }

    /// Rings for what is in the peer's ring already, in that session.
    fn ring_again(&self, id: u32) -> Result {
        let guard = self.session.lock();
        let session = (*guard).as_ref().ok_or_else(enotconn)?;
        if id != self.session_id() {
            return Err(enotconn());
        }
        session.ntb.ring(DOORBELL_REQUEST)
    }

    /// Puts a message on the peer's ring, in that session; or calls `when_full` with the session locked.
    fn send(&self, id: u32, slot: &Slot, length: usize, when_full: impl FnOnce()) -> Result {
        let mut guard = self.session.lock();
        let session = (*guard).as_mut().ok_or_else(enotconn)?;
        if id != self.session_id() {
            return Err(enotconn());
        }

        // A hostile count can only make us believe that there is no room.
        let consumed = self
            .with_own(|own| own.read(CONSUMED))
            .ok_or_else(enotconn)?;
        match session.producer.space(consumed) {
            Ok(1..) => {}
            _ => {
                when_full();
                return Err(EAGAIN);
            }
        }
        let index = session.producer.next;
        session
            .peer
            .write(request_slot(index), slot.get(..length).ok_or(EINVAL)?);
        session.producer.advance();
        session.peer.publish(PRODUCER, session.producer.next);
        self.counters.sent.count();
        session.ntb.ring(DOORBELL_REQUEST)
    }
}
