// SPDX-License-Identifier: GPL-2.0

//! Keys: with one, nothing but the attach goes on in a session before the peer has proven that it has it, too.
//!
//! What is proven and how is in [`devlend_protocol::attach`]. Each session takes the key that the link had when it began; a
//! change ends it.

use super::{
    Link,
    Peer,
    Scope,
    Setup,
    State, //
};
use crate::{
    errno::enotconn,
    key::{
        self,
        Key, //
    },
    keys,
    link::request::Refusal,
    shown::Shown,
    uevent::Uevent, //
};
use devlend_protocol::{
    parse_description,
    Attach,
    AttachRefusal,
    AttachReply,
    Attachment,
    Failure,
    Features,
    Proof,
    Prove,
    Request,
    Status,
    Step,
    Terms, //
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// After so long a refused session is tried again: a key may have been changed in its keyring.
const RETRY: Delta = Delta::from_secs(10);

/// Why a session did not come about.
pub(super) enum Unagreed {
    /// For want of the right key.
    Refused(AttachRefusal),
    /// For another reason.
    Failed(Error),
}

impl From<Error> for Unagreed {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The attach of the present session.
pub(super) struct Present {
    /// Which session that is.
    session: u32,
    attachment: Attachment,
    key: Option<Arc<Key>>,
    /// What the peer told of itself, until it is to be believed.
    peer: Option<Peer>,
    /// When the session was refused.
    refused: Option<Instant<Monotonic>>,
    /// The refusals that the log has already, a bit each; of the sessions before, too.
    told: u32,
}

impl Present {
    pub(super) fn new() -> Self {
        Self {
            session: 0,
            attachment: Attachment::new(0, 0, false),
            key: None,
            peer: None,
            refused: None,
            told: 0,
        }
    }

    /// A session begins.
    pub(super) fn begin(&mut self, session: u32, ours: u32, theirs: u32, key: Option<Arc<Key>>) {
        *self = Self {
            session,
            attachment: Attachment::new(ours, theirs, key.is_some()),
            key,
            peer: None,
            refused: None,
            told: self.told,
        };
    }
}

/// HMAC of a message with a session's key.
fn mac(key: &Option<Arc<Key>>) -> impl Fn(&[u8]) -> Result<Proof, AttachRefusal> + '_ {
    |message| {
        let key = key.as_ref().ok_or(AttachRefusal::Unusable)?;
        key.mac(message)
    }
}

impl Link {
    /// Calls `use_it` with the attach of that session; `None` if the session is over.
    fn present<R>(&self, session: u32, use_it: impl FnOnce(&mut Present) -> R) -> Option<R> {
        let mut present = self.attach.lock();
        (present.session == session && session == self.session_id()).then(|| use_it(&mut present))
    }

    /// What this host has to tell in that session.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`: it is over.
    pub(super) fn features(&self, session: u32) -> Result<Features> {
        self.present(session, |present| {
            Features::ours(present.attachment.keyed())
        })
        .ok_or_else(enotconn)
    }

    /// Why there is no session, if there is a reason.
    pub(super) fn refusal(&self) -> Option<AttachRefusal> {
        self.present(self.session_id(), |present| present.attachment.refusal())?
    }

    /// The peer has told its version and windows: without a key it is served from now on.
    ///
    /// # Errors
    ///
    /// [`Status::Denied`]; [`Status::Gone`]: the session is over.
    pub(super) fn agreed(
        self: &Arc<Self>,
        peer: Peer,
        terms: Terms,
        theirs: Features,
    ) -> Result<(), Status> {
        self.answer_attach(peer.session, |present| {
            present.peer = Some(peer);
            present.attachment.agree(terms, theirs)
        })
    }

    /// The peer asks for a proof.
    ///
    /// # Errors
    ///
    /// As [`Self::agreed`].
    pub(super) fn challenge(
        self: &Arc<Self>,
        session: u32,
        asked: &Attach,
    ) -> Result<AttachReply, Status> {
        let nonce = key::nonce();
        self.answer_attach(session, |present| {
            let mac = mac(&present.key);
            present.attachment.challenge(asked, nonce, mac)
        })
    }

    /// The peer proves itself: it is served from now on.
    ///
    /// # Errors
    ///
    /// As [`Self::agreed`].
    pub(super) fn check(self: &Arc<Self>, session: u32, proven: &Prove) -> Result<(), Status> {
        self.answer_attach(session, |present| {
            let mac = mac(&present.key);
            present.attachment.check(proven, mac)
        })
    }

    /// Does what a request of the peer's asks for, and then what follows from it.
    fn answer_attach<R>(
        self: &Arc<Self>,
        session: u32,
        answer: impl FnOnce(&mut Present) -> Result<R, AttachRefusal>,
    ) -> Result<R, Status> {
        let (answer, welcome) = self
            .present(session, |present| {
                let answer = answer(present);
                let is_welcome = present.attachment.is_welcome();
                (answer, present.peer.filter(|_| is_welcome))
            })
            .ok_or(Status::Gone)?;
        let answer = answer.map_err(|refusal| {
            self.refuse(session, refusal);
            Status::Denied
        })?;
        if let Some(peer) = welcome {
            self.believe(peer, || self.answered.store(session, Relaxed))
                .map_err(|_| Status::Gone)?;
        }
        Ok(answer)
    }

    /// What the peer told of itself may be used, and it may be told of offers; `and` what else there is, at the same time.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`: its session is over, or refused.
    fn believe(&self, peer: Peer, and: impl FnOnce()) -> Result {
        self.with_device(|_| {
            // With the set-up locked it neither ends nor is refused under us.
            if self.session_id() != peer.session || self.refusal().is_some() {
                return Err(enotconn());
            }
            *self.peer.lock() = Some(peer);
            self.proven.store(peer.session, Relaxed);
            and();
            Ok(())
        })
    }

    /// Sends a request that a peer denies for want of the right key. Sleeps, at most five seconds.
    pub(super) fn ask<R: Request>(
        &self,
        scope: Scope,
        step: Step,
        request: &R,
    ) -> Result<R::Reply, Unagreed> {
        self.request(scope, request)
            .map_err(|refusal| match refusal {
                Refusal::Peer(Failure::Status(Status::Denied)) => self
                    .present(scope.session, |present| present.attachment.denied(step))
                    .map_or_else(|| enotconn().into(), Unagreed::Refused),
                refusal => Error::from(refusal).into(),
            })
    }

    /// Does what the attach itself says; its refusal is the session's.
    fn attach_step<R>(
        &self,
        session: u32,
        step: impl FnOnce(&mut Present) -> Result<R, AttachRefusal>,
    ) -> Result<R, Unagreed> {
        self.present(session, step)
            .ok_or_else(enotconn)?
            .map_err(Unagreed::Refused)
    }

    /// Before the peer is asked for anything: whether our own key is good.
    pub(super) fn try_key(&self, session: u32) -> Result<(), Unagreed> {
        self.attach_step(session, |present| match &present.key {
            Some(key) => key
                .mac(&[])
                .map(drop)
                .map_err(|refusal| present.attachment.refuse(refusal)),
            None => Ok(()),
        })
    }

    /// The peer has answered with its version: attaches to it, and believes it what it told. Sleeps, at most ten seconds.
    pub(super) fn attach(
        &self,
        scope: Scope,
        peer: Peer,
        theirs: Features,
    ) -> Result<(), Unagreed> {
        let session = scope.session;
        if self.attach_step(session, |present| present.attachment.answered(theirs))? {
            let terms = Terms {
                version: peer.version,
                features: peer.features,
            };
            let nonce = key::nonce();
            let answer = self.ask(scope, Step::Attach, &Attach { nonce })?;
            let prove = self.attach_step(session, |present| {
                let mac = mac(&present.key);
                present.attachment.prove(terms, nonce, &answer, mac)
            })?;
            self.ask(scope, Step::Prove, &prove)?;
        }
        Ok(self.believe(peer, || ())?)
    }

    /// Whether the peer may be told of offers, and is believed what it tells, in that session. Does not sleep.
    pub(super) fn is_proven(&self, session: u32) -> bool {
        self.proven.load(Relaxed) == session
    }

    /// Whether the attach in that session was done with a key.
    pub(super) fn is_keyed(&self, session: u32) -> bool {
        self.present(session, |present| present.attachment.keyed())
            .unwrap_or(false)
    }

    /// Without the set-up locked: no session with that peer. May sleep.
    pub(super) fn refuse(self: &Arc<Self>, session: u32, refusal: AttachRefusal) {
        // No session had the number before.
        let nobody = session.wrapping_sub(1);
        {
            let setup = self.setup.lock();
            if self.session_id() != session || setup.ntb.is_none() {
                return;
            }
            let was_served = self.answered.load(Relaxed) == session;
            self.answered.store(nobody, Relaxed);
            self.proven.store(nobody, Relaxed);
            if self.state() == State::Up || was_served {
                drop(setup);
                // What was lent is stopped first, as whenever a session ends.
                self.restart();
            } else {
                self.set_state(State::Refused);
                *self.peer.lock() = None;
            }
        }
        let is_new = self.present(session, |present| {
            if present.refused.is_none() {
                present.refused = Some(Instant::now());
                self.counters.attaches_refused.count();
            }
            let bit = 1 << refusal.index();
            let is_new = present.told & bit == 0;
            present.told |= bit;
            is_new
        });
        // A peer without the key must not flood the log; nor one that is up each time before it is refused.
        if is_new == Some(true) {
            self.complain(|| {
                dev_err!(
                    self.dev(),
                    "no session with the peer: {}; see the link's file \"key\"\n",
                    Shown(refusal)
                )
            });
            let event = Uevent {
                event: "link-refused",
                link: Some(self),
                reason: Some(refusal.as_str()),
                ..Default::default()
            };
            event.send(&self.pci);
        }
    }

    /// The next refusal is news again.
    pub(super) fn forget_refusals(&self) {
        self.attach.lock().told = 0;
    }

    /// Starts a refused session anew when it is time. Called from work of the link's.
    pub(super) fn retry_refused(self: &Arc<Self>) {
        let is_due = self.present(self.session_id(), |present| {
            present
                .refused
                .is_some_and(|refused| refused.elapsed() > RETRY)
        });
        if self.state() == State::Refused && is_due == Some(true) {
            self.restart();
        }
    }
}

/// Sets the link's key, or takes it away. The session ends, and is attached anew.
///
/// # Errors
///
/// `EINVAL`: no description, or too short a key; others of [`Key::find`]. Nothing has changed.
pub(super) fn set_key(link: &Arc<Link>, line: &[u8]) -> Result {
    let description = parse_description(line).map_err(|error| {
        dev_err!(
            link.dev(),
            "{}; expected the description of a key, or an empty line\n",
            Shown(error)
        );
        EINVAL
    })?;
    let key = match description {
        Some(description) => Some(Arc::new(find(link, description)?, GFP_KERNEL)?),
        None => None,
    };

    let mut setup = link.setup.lock();
    let Setup { ntb, shown, .. } = &mut *setup;
    keys::set(link.name(), key.as_ref())?;
    let before = core::mem::replace(&mut *link.key.lock(), key.clone());
    if before.is_none() && key.is_none() {
        return Ok(());
    }
    match key {
        Some(key) => dev_info!(link.dev(), "the key is {}\n", key.description()),
        None => dev_info!(link.dev(), "there is no key any more\n"),
    }
    link.forget_refusals();
    // With the set-up locked: while the device goes away nobody may queue work.
    if let Some(ntb) = ntb {
        // When the write returns the peer that was attached with the key before is not served any more, and reaches nothing of this
        // host's; what it has borrowed it loses in work.
        link.close_windows(ntb);
        link.hide(ntb, shown);
        link.close_session();
        if link.state() != State::Down {
            link.set_state(State::Waiting);
        }
        link.restart();
    }
    Ok(())
}

fn find(link: &Link, description: &[u8]) -> Result<Key> {
    let text = core::str::from_utf8(description).map_err(|_| EINVAL)?;
    Key::find(&CString::try_from_fmt(fmt!("{text}"))?).inspect_err(|error| {
        let why = if *error == EINVAL {
            "is shorter than 16 bytes"
        } else {
            "is not in your keyrings, or not to be used"
        };
        dev_err!(
            link.dev(),
            "the key {text} {why} ({error:?}); add one of type \"logon\" or \"user\", as with keyctl\n"
        );
    })
}
