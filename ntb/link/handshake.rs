// SPDX-License-Identifier: GPL-2.0

//! Bringing a session up and down.
//!
//! Each host announces itself in the peer's scratchpads; the steps, and why there are three, are in
//! [`devlend_protocol::handshake`]. Each change of the scratchpads is followed by a doorbell, so nothing polls.

use super::{
    attach::Unagreed,
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
    shown::Shown,
    uevent::Uevent, //
};
use devlend_bindings as bindings;
use devlend_protocol::{
    shared,
    Actions,
    Announcement,
    AnnouncementError,
    Consumer,
    Features,
    Handshake,
    Plan,
    Producer,
    Step,
    Version,
    Windows,
    BUSY,
    CONSUMED,
    KEEPALIVE,
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
    time::{
        delay::fsleep,
        Delta,
        Instant, //
    },
    workqueue::WorkItem, //
};

/// Id of the work item.
pub(super) const WORK: u64 = 0;

/// A peer can ring as often as it likes.
const LONGEST_REST: Delta = Delta::from_millis(100);

/// Between two tries to come to an agreement.
const RETRY: Delta = Delta::from_secs(1);

/// A generation that differs from all recent ones, those of an earlier boot included.
pub(super) fn new_generation() -> u32 {
    // SAFETY: The random number generator may be called from any context.
    unsafe { bindings::get_random_u32() }.max(1)
}

impl WorkItem<WORK> for Link {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let start = Instant::now();
        this.negotiate();
        let rest = this.setup.lock().duty.rest(start, LONGEST_REST);
        fsleep(rest);
    }
}

impl Link {
    /// Goes as far as the peer has come.
    fn negotiate(self: &Arc<Self>) {
        let again = self.broken.load(Relaxed) || self.state() == State::Refused;
        if self.failing.load(Relaxed) && again {
            // Two hosts that fail must not drive each other round and round.
            fsleep(RETRY);
        }
        let actions = self.look();
        if actions.close {
            // Before the peer is told that its new session was seen: when it hears that, nothing that belonged to
            // the old one is under way any more, above all no DMA of a lent device.
            self.go_down();
        }
        let (session, agreed) = match self.act(actions) {
            Ok(Some((session, peer))) => (session, self.agree(session, peer)),
            Ok(None) => return,
            Err(error) => (self.session_id(), Err(error.into())),
        };
        let error = match agreed {
            Ok(()) => {
                self.failing.store(false, Relaxed);
                return;
            }
            Err(Unagreed::Refused(refusal)) => {
                self.failing.store(true, Relaxed);
                self.refuse(session, refusal);
                return;
            }
            Err(Unagreed::Failed(error)) => error,
        };
        // The session ended meanwhile: what ended it has queued us again.
        if error == enotconn() {
            return;
        }
        if !self.failing.xchg(true, Relaxed) {
            self.complain(|| dev_err!(self.dev(), "no session with the peer ({error:?})\n"));
        }
        if error == ETIMEDOUT || error == ENOMEM {
            self.restart();
        } else if error != eprotonosupport() {
            // The same again would come to the same. The next event from the link or the peer starts anew.
            self.broken.store(true, Relaxed);
        }
    }

    /// Looks at the link and at the peer's announcement, and closes what has ended.
    fn look(&self) -> Actions {
        let mut guard = self.setup.lock();
        let Setup {
            ntb,
            handshake,
            announced,
            nonsense,
            ..
        } = &mut *guard;
        let Some(ntb) = ntb.as_ref() else {
            return Actions::default();
        };

        if self.flapped.xchg(false, Relaxed) && !handshake.is_open() {
            // The peer's scratchpads may be empty again. (If it was reset under a session, it has a new generation.)
            *announced = None;
        }
        let is_up = ntb.link_is_up();
        let was_open = handshake.is_open();
        if !is_up || self.broken.xchg(false, Relaxed) {
            // Whatever the peer writes for the old generation must not open the next session.
            handshake.restart(new_generation());
            *announced = None;
        }
        let mut actions = if is_up {
            self.step(ntb, handshake, nonsense)
        } else {
            handshake.step(None)
        };
        actions.close |= was_open && !handshake.is_open();
        if actions.close || !is_up {
            self.close_windows(ntb);
            self.close_session();
            *announced = None;
        }
        match (is_up, self.state()) {
            (false, _) => self.set_state(State::Down),
            (true, State::Up | State::Refused) if !actions.close => {}
            (true, _) => self.set_state(State::Waiting),
        }
        actions
    }

    /// Does what the handshake asks for and announces it; returns session and peer when it is open.
    fn act(&self, actions: Actions) -> Result<Option<(u32, Announcement)>> {
        let mut guard = self.setup.lock();
        let Setup {
            ntb,
            handshake,
            announced,
            ..
        } = &mut *guard;
        let Some(ntb) = ntb.as_ref().filter(|_| self.state() != State::Down) else {
            return Ok(None);
        };

        let plan = self.plan_windows(ntb)?;
        if actions.empty || (handshake.ready() && announced.is_none()) {
            windows::open(ntb, plan)?;
        }
        if actions.empty {
            self.empty_rings();
        }
        let wanted = self.announcement(plan, handshake);
        if *announced != Some(wanted) {
            write(ntb, &wanted)?;
            *announced = Some(wanted);
        }
        match handshake.peer().filter(|_| actions.open) {
            Some(peer) => {
                let session = self.open_session(ntb, handshake.generation(), &peer)?;
                Ok(Some((session, peer)))
            }
            None => Ok(None),
        }
    }

    /// Takes a step of the handshake with what the peer announces; one that makes no sense is none, and is complained about once,
    /// however often the peer rings.
    fn step(
        &self,
        ntb: &Device,
        handshake: &mut Handshake,
        nonsense: &mut Option<AnnouncementError>,
    ) -> Actions {
        let theirs = match read(ntb) {
            Scratchpads::Unsettled => return Actions::default(),
            Scratchpads::Settled(theirs) => theirs,
        };
        let wrong = theirs.err();
        if let Some(error) = wrong.filter(|_| wrong != *nonsense) {
            self.complain(|| {
                dev_err!(
                    self.dev(),
                    "the peer's announcement is no good: {}\n",
                    Shown(error)
                )
            });
        }
        *nonsense = wrong;
        handshake.step(theirs.unwrap_or_default())
    }

    /// What the peer is to know of us.
    fn announcement(&self, plan: &Plan, handshake: &Handshake) -> Announcement {
        Announcement {
            // CAST: Versions are small numbers; the scratchpad has a byte for each.
            version_min: VERSION_MIN as u8,
            version_max: VERSION_MAX as u8,
            memory_window: plan.memory_window,
            control: self.control,
            generation: handshake.generation(),
            seen: handshake.seen(),
            ready: handshake.ready(),
            memory_base: plan.memory_base,
        }
    }

    fn open_session(&self, ntb: &Device, generation: u32, peer: &Announcement) -> Result<u32> {
        let window = ntb.outbound(peer.memory_window)?;
        let offset = peer.control_offset(window.size).ok_or_else(|| {
            let index = peer.memory_window;
            self.complain(|| match window.size {
                0 => dev_err!(
                    self.dev(),
                    "window {index} has no address: the kernel has found no room for its BAR\n"
                ),
                size => dev_err!(
                    self.dev(),
                    "window {index} shows {size} bytes, and not the peer's control block\n"
                ),
            });
            ERANGE
        })?;
        let block = PeerBlock::new(window, offset)?;

        let key = self.key.lock().clone();
        // Held until it is that of the session: nobody may find the session without.
        let mut attach = self.attach.lock();
        let mut session = self.session.lock();
        self.next_session_id();
        let id = self.session_id();
        *session = Some(Session {
            peer: block,
            producer: Producer::new(),
            // SAFETY: `bind::detach` closes the session before the client's `remove` returns.
            ntb: unsafe { ntb.handle() },
        });
        drop(session);
        attach.begin(id, generation, peer.generation, key);
        Ok(id)
    }

    /// Ends the session, if there is one; requests that wait end with `ENOTCONN`. By then this host's windows are shut: whoever is
    /// told so takes it that nothing which was borrowed over the session reaches this host's memory.
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
        self.with_own(|own| {
            own.write(PRODUCER, 0);
            own.write(CONSUMED, 0);
            own.write(KEEPALIVE, 0);
        });
    }

    /// Ends the session because the peer broke the rules; the handshake starts anew.
    pub(super) fn restart(self: &Arc<Self>) {
        self.broken.store(true, Relaxed);
        let _ = self.queue.enqueue::<Arc<Self>, WORK>(self.clone());
    }

    /// Ends a session at once, for a peer that does not answer: when this returns no request of it waits any more, and the
    /// windows are shut, so that nothing that was lent over it reaches this host's memory. All that follows from a lost
    /// session comes in work. False if that session has ended already. May sleep.
    pub fn end_session(self: &Arc<Self>, session: u32) -> bool {
        let setup = self.setup.lock();
        if self.session_id() != session {
            return false;
        }
        let Some(ntb) = setup.ntb.as_ref() else {
            return false;
        };
        self.close_windows(ntb);
        self.close_session();
        // With the set-up locked: when the NTB goes nothing may be queued any more.
        self.restart();
        true
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u32, Relaxed);
    }

    /// Tells the roles that the session is over. They may have used it before both hosts had agreed.
    pub(super) fn go_down(self: &Arc<Self>) {
        *self.peer.lock() = None;
        if core::mem::take(&mut self.setup.lock().told_up) {
            self.report(|| dev_info!(self.dev(), "link down\n"));
            self.uevent("link-down");
        }
        // The lender first: it stops the DMA of devices whose borrower is gone.
        role::with_lender(|lender| lender.link_down(self));
        role::with_borrower(|borrower| borrower.link_down(self));
    }

    fn uevent(&self, event: &str) {
        let event = Uevent {
            event,
            link: Some(self),
            ..Default::default()
        };
        event.send(&self.pci);
    }

    /// Agrees on a version with the peer, attaches to it, learns its windows, and tells the roles.
    fn agree(self: &Arc<Self>, session: u32, announcement: Announcement) -> Result<(), Unagreed> {
        // The peer may have sent its own request before we could answer.
        let _ = self
            .queue
            .enqueue::<Arc<Self>, { super::serve::WORK }>(self.clone());

        self.try_key(session)?;
        let plan = self.plan().ok_or(ENODEV)?;
        let ours = self.features(session)?;
        let request = Version {
            min: VERSION_MIN.into(),
            max: VERSION_MAX.into(),
            slot_size: (SLOT_SIZE as u32).into(),
            features: ours.bits().into(),
            windows: plan.into(),
        };
        let scope = Scope { session, epoch: 0 };
        let answer = self.ask(scope, Step::Version, &request)?;
        if answer.slot_size.get() != SLOT_SIZE as u32 {
            return Err(eprotonosupport().into());
        }
        let features = shared(answer.features.get()).intersection(ours);
        let peer = self.learn(
            session,
            answer.version.get(),
            features,
            &announcement,
            &answer.windows,
        )?;
        self.attach(scope, peer, shared(answer.features.get()))?;

        let mut setup = self.setup.lock();
        if self.session_id() != session {
            return Err(enotconn().into());
        }
        if let Some(refusal) = self.refusal() {
            return Err(Unagreed::Refused(refusal));
        }
        setup.told_up = true;
        self.set_state(State::Up);
        drop(setup);

        self.forget_refusals();
        let with = match self.is_keyed(session) {
            true => ", attached with a key",
            false => "",
        };
        self.report(|| {
            dev_info!(
                self.dev(),
                "link up, protocol version {}{with}
",
                peer.version
            )
        });
        self.uevent("link-up");
        role::with_borrower(|borrower| borrower.link_up(self));
        Ok(())
    }

    /// What the peer told about itself: its windows, as they appear in this host.
    ///
    /// # Errors
    ///
    /// `EPROTONOSUPPORT`; `EINVAL`: no such window; `ERANGE`: its interrupt range does not lie in the window.
    pub(super) fn learn(
        &self,
        session: u32,
        version: u16,
        features: Features,
        announcement: &Announcement,
        windows: &Windows,
    ) -> Result<Peer> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(eprotonosupport());
        }
        self.with_device(|ntb| {
            // With the set-up locked it does not end under us.
            if self.session_id() != session {
                return Err(enotconn());
            }
            let msi = ntb.outbound(windows.msi_window)?;
            let msi_offset = windows.msi_offset.get();
            if msi_offset
                .checked_add(MSI_RANGE.1)
                .is_none_or(|end| end > msi.size)
            {
                return Err(ERANGE);
            }
            Ok(Peer {
                session,
                version,
                features,
                memory: ntb.outbound(announcement.memory_window)?,
                mmio: ntb.outbound(windows.mmio_window)?,
                msi: msi.base.checked_add(msi_offset).ok_or(ERANGE)?,
            })
        })
    }

    /// The announcement the session was opened for.
    pub(super) fn announced_peer(&self) -> Option<Announcement> {
        self.setup.lock().handshake.peer()
    }

    /// Says goodbye: the peer sees at once that nobody is here. For the device's removal.
    pub(super) fn withdraw(ntb: &Device) {
        let _ = ntb.write_peer_scratchpad(0, 0);
        let _ = ntb.ring(DOORBELL_HANDSHAKE);
    }
}

/// What a look at the scratchpads shows.
enum Scratchpads {
    /// The peer is writing them; a doorbell follows.
    Unsettled,
    /// This.
    Settled(core::result::Result<Option<Announcement>, AnnouncementError>),
}

/// Reads the peer's announcement; scratchpads are not written atomically, so two readings must be equal.
fn read(ntb: &Device) -> Scratchpads {
    let words = || core::array::from_fn::<u32, SCRATCHPADS, _>(|index| ntb.scratchpad(index));
    let first = words();
    let [magic, ..] = first;
    if magic == BUSY || first != words() {
        return Scratchpads::Unsettled;
    }
    Scratchpads::Settled(Announcement::from_words(&first))
}

/// Writes our announcement into the peer's scratchpads, its first word last.
fn write(ntb: &Device, announcement: &Announcement) -> Result {
    let words = announcement.to_words();
    ntb.write_peer_scratchpad(0, BUSY)?;
    for (index, word) in words.iter().enumerate().skip(1) {
        ntb.write_peer_scratchpad(index, *word)?;
    }
    let [magic, ..] = words;
    ntb.write_peer_scratchpad(0, magic)?;
    ntb.ring(DOORBELL_HANDSHAKE)
}
