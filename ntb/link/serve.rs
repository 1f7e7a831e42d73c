// SPDX-License-Identifier: GPL-2.0

//! Receiving: the peer's messages are copied off our ring once, then believed only after parsing.

use super::{
    Link,
    Slot, //
};
use crate::{
    duty::Duty,
    role,
    shown::Shown, //
};
use devlend_protocol::{
    message,
    negotiate,
    reply_slot,
    request_slot,
    shared,
    Attach,
    DeviceError,
    Empty,
    Interrupt,
    Kind,
    NoSpace,
    OfferChanged,
    ParsedHeader,
    Prove,
    Request,
    Revoked,
    Status,
    TakeBack,
    Terms,
    Unmask,
    Version,
    VersionReply,
    CONSUMED,
    PRODUCER,
    REQUEST_SLOTS,
    SLOT_SIZE,
    VERSION_MAX,
    VERSION_MIN, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant, //
    },
    workqueue::WorkItem, //
};

/// Id of the work item.
pub(super) const WORK: u64 = 1;

/// A peer's configuration accesses wait for us with its interrupts off.
const LONGEST_REST: Delta = Delta::from_millis(10);

/// Copies of a request and of its reply; too large for a stack.
pub(super) struct Buffers {
    request: KBox<Slot>,
    reply: KBox<Slot>,
    duty: Duty,
}

impl Buffers {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            request: KBox::new([0; SLOT_SIZE], GFP_KERNEL)?,
            reply: KBox::new([0; SLOT_SIZE], GFP_KERNEL)?,
            duty: Duty::new(),
        })
    }
}

/// A request of the peer, and the place for its reply.
pub struct Incoming<'a> {
    header: ParsedHeader,
    body: &'a [u8],
    reply: &'a mut Slot,
    length: usize,
    /// The session in which it came.
    session: u32,
}

impl Incoming<'_> {
    /// What it is about.
    ///
    /// # Errors
    ///
    /// [`Status::Unsupported`]: a kind we do not know.
    pub fn kind(&self) -> Result<Kind, Status> {
        self.header.kind.map_err(|_| Status::Unsupported)
    }

    /// Epoch of the lease it belongs to; zero for none.
    pub fn epoch(&self) -> u32 {
        self.header.epoch
    }

    /// Whether its session goes on. Who finds so with a lock held that [`link_down`](role::Lender::link_down) takes is heard
    /// before it.
    pub fn is_current(&self, link: &Link) -> bool {
        link.session_id() == self.session
    }

    /// The body.
    ///
    /// # Errors
    ///
    /// [`Status::Malformed`]: it has not the size of an `R`.
    pub fn body<R: Request>(&self) -> Result<R, Status> {
        message::body(self.body).map_err(|_| Status::Malformed)
    }

    /// Sets the reply.
    pub fn reply<R: Request>(&mut self, reply: &R::Reply) {
        self.length = message::encode_reply::<R>(self.reply, &self.header, reply);
    }

    /// Refuses for want of window space, with the numbers.
    pub fn no_space(&mut self, no_space: NoSpace) {
        self.length = message::encode_no_space(self.reply, &self.header, no_space);
    }

    /// Sends the reply that was set, before all that is still to be done.
    pub fn send_now(&mut self, link: &Link) {
        let length = core::mem::take(&mut self.length);
        if length != 0 {
            link.answer(self.session, &self.header, self.reply, length);
        }
    }

    fn refuse(&mut self, status: Status) {
        self.length = message::encode_error(self.reply, &self.header, status);
    }
}

impl WorkItem<WORK> for Link {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let start = Instant::now();
        let mut buffers = this.serving.lock();
        let is_empty = this.serve_some(&mut buffers);
        let rest = buffers.duty.rest(start, LONGEST_REST);
        drop(buffers);
        fsleep(rest);
        if !is_empty {
            let _ = this.queue.enqueue::<Arc<Self>, WORK>(this.clone());
        }
    }
}

impl Link {
    /// Serves what is in the ring; false if there may be more: a peer that never stops sending must not keep this worker for
    /// ever.
    fn serve_some(self: &Arc<Self>, buffers: &mut Buffers) -> bool {
        for _ in 0..REQUEST_SLOTS {
            let Some(session) = self.take(&mut buffers.request) else {
                return true;
            };
            self.counters.received.count();
            serve(self, session, buffers);
        }
        false
    }

    /// Copies the next message off the ring, and makes its slot free again; returns the session that it belongs to, `None` if
    /// there is no message.
    fn take(self: &Arc<Self>, slot: &mut Slot) -> Option<u32> {
        // With this locked no other session begins.
        let mut receiver = self.receiver.lock();
        let id = {
            let session = self.session.lock();
            // Without a session there is nobody to answer; what lies in the ring waits.
            session.is_some().then(|| self.session_id())?
        };
        let producer = self.with_own(|own| own.read(PRODUCER))?;
        match receiver.consumer.pending(producer) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(overrun) => {
                // The ring cannot be trusted any more: a new session starts it anew.
                self.counters.refused.count();
                self.complain(|| {
                    dev_err!(
                        self.dev(),
                        "peer overran the request ring ({}), closing the session\n",
                        Shown(overrun)
                    )
                });
                self.restart();
                return None;
            }
        }
        self.with_own(|own| own.copy(request_slot(receiver.consumer.next), slot));
        receiver.consumer.advance();
        if let Some(session) = &mut *self.session.lock() {
            session.peer.publish(CONSUMED, receiver.consumer.next);
        }
        Some(id)
    }

    /// Sends a reply, in the session of the request; the sequence number goes last, it makes the slot valid.
    fn answer(&self, id: u32, header: &ParsedHeader, reply: &Slot, length: usize) {
        let Some(tag) = header.tag else { return };
        let at = reply_slot(tag);
        let mut guard = self.session.lock();
        if self.session_id() != id {
            return;
        }
        if let (Some(session), Some(rest)) = (&mut *guard, reply.get(4..length)) {
            session.peer.write(at.wrapping_add(4), rest);
            session.peer.publish(at, header.sequence);
        }
    }
}

fn serve(link: &Arc<Link>, session: u32, buffers: &mut Buffers) {
    let (header, body) = match message::parse(&*buffers.request) {
        Ok(parsed) => parsed,
        Err(malformed) => {
            link.counters.refused.count();
            link.complain(|| {
                dev_warn!(
                    link.dev(),
                    "malformed message from the peer: {}\n",
                    Shown(malformed)
                )
            });
            return;
        }
    };

    if header.tag.is_none() {
        event(link, session, &header, body);
        return;
    }

    let mut incoming = Incoming {
        header,
        body,
        reply: &mut buffers.reply,
        length: 0,
        session,
    };
    let answer = match incoming.kind() {
        Ok(Kind::Version) => version(link, &mut incoming),
        Ok(Kind::Attach) => attach(link, &mut incoming),
        Ok(Kind::Prove) => prove(link, &mut incoming),
        // A role may be asked only after the versions are agreed, and the peer has proven itself if it has to; and a kind
        // that is none is refused by name.
        Ok(kind) if !kind.is_event() && link.answered.load(Relaxed) == session => {
            role::with_lender(|lender| lender.request(link, &mut incoming))
                .unwrap_or(Err(Status::NotFound))
        }
        _ => Err(Status::Unsupported),
    };
    if let Err(status) = answer {
        link.counters.refused.count();
        incoming.refuse(status);
    }
    incoming.send_now(link);
}

fn event(link: &Arc<Link>, session: u32, header: &ParsedHeader, body: &[u8]) {
    let known = match header.kind {
        // Of somebody who has not proven itself, or of a session that is over.
        _ if session != link.session_id() || !link.is_proven(session) => false,
        Ok(Kind::OfferChanged) => message::body::<OfferChanged>(body).is_ok_and(|_| {
            role::with_borrower(|borrower| borrower.offers_changed(link));
            true
        }),
        Ok(Kind::Revoked) => message::body::<Revoked>(body).is_ok_and(|revoked| {
            role::with_borrower(|borrower| {
                borrower.revoked(
                    link,
                    revoked.address.get(),
                    header.epoch,
                    revoked.reason().ok(),
                )
            });
            true
        }),
        Ok(Kind::TakeBack) => message::body::<TakeBack>(body).is_ok_and(|wanted| {
            role::with_borrower(|borrower| {
                borrower.take_back(
                    link,
                    wanted.address.get(),
                    header.epoch,
                    wanted.seconds.get(),
                )
            });
            true
        }),
        Ok(Kind::DeviceError) => message::body::<DeviceError>(body).is_ok_and(|failed| {
            role::with_borrower(|borrower| {
                borrower.device_error(link, failed.address.get(), header.epoch)
            });
            true
        }),
        Ok(Kind::Interrupt) => message::body::<Interrupt>(body).is_ok_and(|raised| {
            role::with_borrower(|borrower| {
                borrower.interrupt(link, raised.address.get(), header.epoch)
            })
            .unwrap_or(false)
        }),
        Ok(Kind::Unmask) => message::body::<Unmask>(body).is_ok_and(|_| {
            role::with_lender(|lender| lender.unmask(link, header.epoch)).unwrap_or(false)
        }),
        _ => false,
    };
    if !known {
        link.counters.refused.count();
    }
}

/// Agrees on a version, and tells the peer what we have set up for it.
fn version(link: &Arc<Link>, incoming: &mut Incoming<'_>) -> Result<(), Status> {
    let asked: Version = incoming.body()?;
    let theirs = (asked.min.get(), asked.max.get());
    let Some(version) = negotiate((VERSION_MIN, VERSION_MAX), theirs) else {
        link.complain(|| {
            dev_err!(
                link.dev(),
                "peer speaks protocol versions {}-{}, this host {}-{}: load matching devlend modules on both\n",
                theirs.0,
                theirs.1,
                VERSION_MIN,
                VERSION_MAX
            )
        });
        return Err(Status::Version);
    };
    if asked.slot_size.get() != SLOT_SIZE as u32 {
        link.complain(|| {
            dev_err!(
                link.dev(),
                "peer has slots of {} bytes, this host of {SLOT_SIZE}: load matching devlend modules on both\n",
                asked.slot_size.get()
            )
        });
        return Err(Status::Version);
    }
    let session = incoming.session;
    let theirs = shared(asked.features.get());
    let ours = link.features(session).map_err(|_| Status::Gone)?;
    let features = theirs.intersection(ours);
    let announcement = link.announced_peer().ok_or(Status::Gone)?;
    let peer = link
        .learn(session, version, features, &announcement, &asked.windows)
        .map_err(|error| {
            link.complain(|| {
                dev_err!(link.dev(), "the peer's windows make no sense ({error:?})\n")
            });
            Status::Malformed
        })?;
    link.agreed(peer, Terms { version, features }, theirs)?;

    let plan = link.plan().ok_or(Status::Gone)?;
    incoming.reply::<Version>(&VersionReply {
        version: version.into(),
        slot_size: (SLOT_SIZE as u32).into(),
        features: features.bits().into(),
        windows: plan.into(),
        ..Default::default()
    });
    Ok(())
}

/// Proves to the peer that we have the key.
fn attach(link: &Arc<Link>, incoming: &mut Incoming<'_>) -> Result<(), Status> {
    let asked: Attach = incoming.body()?;
    let reply = link.challenge(incoming.session, &asked)?;
    incoming.reply::<Attach>(&reply);
    Ok(())
}

/// Lets the peer in, if it proves that it has the key.
fn prove(link: &Arc<Link>, incoming: &mut Incoming<'_>) -> Result<(), Status> {
    let proven: Prove = incoming.body()?;
    link.check(incoming.session, &proven)?;
    incoming.reply::<Prove>(&Empty {});
    Ok(())
}
