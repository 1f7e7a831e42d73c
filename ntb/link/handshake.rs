// SPDX-License-Identifier: GPL-2.0

//! Bringing a session up and down.
//!
//! Each host announces itself in the peer's scratchpads; the steps, and why there are three, are in
//! [`devlend_protocol::handshake`]. Each change of the scratchpads is followed by a doorbell, so nothing polls.

use super::{
    windows,
    Link,
    Peer,
    Scope,
    Session,
    Setup,
    State,
    DOORBELL_HANDSHAKE, //
};
use crate::{
    control::PeerBlock,
    device::Device,
    errno::{
        enotconn,
        eprotonosupport, //
    },
    role,
    shown::Shown, //
};
use devlend_bindings as bindings;
use devlend_protocol::{
    Announcement,
    AnnouncementError,
    Consumer,
    Features,
    Handshake,
    Plan,
    Producer,
    Version,
    CONSUMED,
    MSI_RANGE,
    PRODUCER,
    SCRATCHPADS,
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
    workqueue::WorkItem, //
};

/// Id of the work item.
pub(super) const WORK: u64 = 0;

/// How often the version request is sent before the peer is given up until it announces itself again.
const VERSION_TRIES: usize = 3;

/// A generation that differs from all recent ones, those of an earlier boot included.
pub(super) fn new_generation() -> u32 {
    // SAFETY: The random number generator may be called from any context.
    unsafe { bindings::get_random_u32() }.max(1)
}

impl WorkItem<WORK> for Link {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let opened = this.step();
        if !opened.kept {
            this.go_down();
        }
        if let Some(peer) = opened.peer {
            if let Err(error) = this.agree(peer) {
                dev_err!(
                    this.dev(),
                    "no agreement with the peer ({error:?}); it is tried again when the peer announces itself\n"
                );
            }
        }
    }
}

/// What came of a look at the scratchpads.
struct Outcome {
    /// The session before it, if there was one, goes on.
    kept: bool,
    /// A session was opened with this peer: agree on a version.
    peer: Option<Announcement>,
}

impl Link {
    /// Compares the link and the peer's announcement with the session there is.
    fn step(&self) -> Outcome {
        let nothing = Outcome {
            kept: true,
            peer: None,
        };
        let mut guard = self.setup.lock();
        let Setup {
            ntb,
            handshake,
            announced,
            ..
        } = &mut *guard;
        let Some(ntb) = ntb.as_ref() else {
            return nothing;
        };

        let is_up = ntb.link_is_up();
        if !is_up || self.broken.xchg(false, Relaxed) {
            // Whatever the peer writes for the old generation must not open the next session.
            let was_open = handshake.is_open();
            if was_open || handshake.seen() != 0 {
                handshake.restart(new_generation());
            }
            *announced = None;
            self.close_session();
            if !is_up {
                self.set_state(State::Down);
                return Outcome {
                    kept: !was_open,
                    peer: None,
                };
            }
        }
        if self.state() == State::Down {
            self.set_state(State::Waiting);
        }
        let plan = match self.plan_windows(ntb) {
            Ok(plan) => plan,
            Err(error) => {
                dev_err!(self.dev(), "the link cannot be used ({error:?})\n");
                return nothing;
            }
        };
        // Before the peer is told where to write.
        if announced.is_none() && windows::open(ntb, plan).is_err() {
            return nothing;
        }

        let theirs = read(ntb).unwrap_or_else(|error| {
            dev_err!(
                self.dev(),
                "the peer's announcement is no good: {}\n",
                Shown(error)
            );
            None
        });
        let actions = handshake.step(theirs);
        if actions.close {
            self.close_session();
            self.set_state(State::Waiting);
        }
        if actions.empty {
            self.empty_rings();
        }
        let wanted = self.announcement(plan, handshake);
        if *announced != Some(wanted) {
            match write(ntb, &wanted) {
                Ok(()) => *announced = Some(wanted),
                Err(error) => dev_err!(
                    self.dev(),
                    "cannot announce this host to the peer ({error:?})\n"
                ),
            }
        }
        let peer = theirs.filter(|_| actions.open).filter(|peer| {
            self.open_session(ntb, peer)
                .inspect_err(|error| {
                    dev_err!(
                        self.dev(),
                        "cannot reach the peer's control block ({error:?})\n"
                    )
                })
                .is_ok()
        });
        Outcome {
            kept: !actions.close,
            peer,
        }
    }

    /// What the peer is to know of us.
    fn announcement(&self, plan: &Plan, handshake: &Handshake) -> Announcement {
        Announcement {
            // CAST: Versions are small numbers; the scratchpad has a byte for each.
            version_min: VERSION_MIN as u8,
            version_max: VERSION_MAX as u8,
            memory_window: plan.memory_window,
            control: self.own.address(),
            generation: handshake.generation(),
            seen: handshake.seen(),
            ready: handshake.ready(),
            memory_base: plan.memory_base,
        }
    }

    fn open_session(&self, ntb: &Device, peer: &Announcement) -> Result {
        let window = ntb.outbound(peer.memory_window)?;
        let offset = peer.control_offset(window.size).ok_or(ERANGE)?;
        let block = PeerBlock::new(window, offset)?;

        let mut session = self.session.lock();
        self.next_session_id();
        *session = Some(Session {
            peer: block,
            producer: Producer::new(),
            // SAFETY: `Bound::remove` closes the session before the client's `remove` returns.
            ntb: unsafe { ntb.handle() },
        });
        Ok(())
    }

    /// Ends the session, if there is one; requests that wait end with `ENOTCONN`.
    pub(super) fn close_session(&self) {
        let mut guard = self.session.lock();
        let session = guard.take();
        self.next_session_id();
        drop(guard);
        // The mapping goes away outside the raw lock: unmapping may sleep.
        drop(session);
    }

    /// Requests of the session before stop waiting. With the session's lock held.
    fn next_session_id(&self) {
        self.session_id
            .store(self.session_id().wrapping_add(1), Relaxed);
    }

    /// Empties our ring, into which nobody writes at this point.
    fn empty_rings(&self) {
        self.receiver.lock().consumer = Consumer::new();
        self.own.write(PRODUCER, 0);
        self.own.write(CONSUMED, 0);
    }

    /// Ends the session because the peer broke the rules; the handshake starts anew.
    pub(super) fn restart(self: &Arc<Self>) {
        self.broken.store(true, Relaxed);
        let _ = self.queue.enqueue::<Arc<Self>, WORK>(self.clone());
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u32, Relaxed);
    }

    /// Tells the roles that the session is over, if they were told that it was up.
    pub(super) fn go_down(self: &Arc<Self>) {
        *self.peer.lock() = None;
        if !core::mem::take(&mut self.setup.lock().told_up) {
            return;
        }
        dev_info!(self.dev(), "link down\n");
        role::with_borrower(|borrower| borrower.link_down(self));
        role::with_lender(|lender| lender.link_down(self));
    }

    /// Agrees on a version with the peer, learns its windows, and tells the roles.
    fn agree(self: &Arc<Self>, announcement: Announcement) -> Result {
        // The peer may have sent its own request before we could answer.
        let _ = self
            .queue
            .enqueue::<Arc<Self>, { super::serve::WORK }>(self.clone());

        let plan = self.plan().ok_or(ENODEV)?;
        let request = Version {
            min: VERSION_MIN.into(),
            max: VERSION_MAX.into(),
            slot_size: (SLOT_SIZE as u32).into(),
            features: Features::empty().bits().into(),
            mmio_window: plan.mmio_window,
            msi_window: plan.msi_window,
            msi_offset: plan.msi_offset.into(),
            dma_needed: plan.dma_needed.into(),
            dma_available: plan.dma_available.into(),
            ..Default::default()
        };
        let scope = Scope {
            session: self.session_id(),
            epoch: 0,
        };
        let mut answer = Err(ETIMEDOUT);
        for _ in 0..VERSION_TRIES {
            answer = self.request(scope, &request).map_err(Error::from);
            if !matches!(&answer, Err(error) if *error == ETIMEDOUT) {
                break;
            }
        }
        let answer = answer?;

        let mut setup = self.setup.lock();
        let ntb = setup.ntb.as_ref().ok_or(ENODEV)?;
        let msi = ntb.outbound(answer.msi_window)?;
        let msi_offset = answer.msi_offset.get();
        if msi_offset
            .checked_add(MSI_RANGE.1)
            .is_none_or(|end| end > msi.size)
        {
            return Err(ERANGE);
        }
        let peer = Peer {
            session: scope.session,
            version: answer.version.get(),
            memory: ntb.outbound(announcement.memory_window)?,
            mmio: ntb.outbound(answer.mmio_window)?,
            msi: msi.base.checked_add(msi_offset).ok_or(ERANGE)?,
        };
        if !(VERSION_MIN..=VERSION_MAX).contains(&peer.version) {
            return Err(eprotonosupport());
        }
        if self.session_id() != scope.session {
            return Err(enotconn());
        }
        *self.peer.lock() = Some(peer);
        setup.told_up = true;
        self.set_state(State::Up);
        drop(setup);

        dev_info!(self.dev(), "link up, protocol version {}\n", peer.version);
        role::with_borrower(|borrower| borrower.link_up(self));
        Ok(())
    }

    /// Says goodbye: the peer sees at once that nobody is here. For the device's removal.
    pub(super) fn withdraw(ntb: &Device) {
        let _ = ntb.write_peer_scratchpad(0, 0);
        let _ = ntb.ring(DOORBELL_HANDSHAKE);
    }
}

/// Reads the peer's announcement; scratchpads are not written atomically, so two readings must be equal.
fn read(ntb: &Device) -> core::result::Result<Option<Announcement>, AnnouncementError> {
    let words = || core::array::from_fn::<u32, SCRATCHPADS, _>(|index| ntb.scratchpad(index));
    let first = words();
    if first != words() {
        // It is being written; the doorbell that follows brings us back.
        return Ok(None);
    }
    Announcement::from_words(&first)
}

/// Writes our announcement into the peer's scratchpads, its first word last.
fn write(ntb: &Device, announcement: &Announcement) -> Result {
    let words = announcement.to_words();
    ntb.write_peer_scratchpad(0, 0)?;
    for (index, word) in words.iter().enumerate().skip(1) {
        ntb.write_peer_scratchpad(index, *word)?;
    }
    let [magic, ..] = words;
    ntb.write_peer_scratchpad(0, magic)?;
    ntb.ring(DOORBELL_HANDSHAKE)
}
