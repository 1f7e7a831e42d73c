// SPDX-License-Identifier: GPL-2.0

//! Keep-alive: what is written for the peer now and then, and what becomes of a session whose peer has stopped. While a switch
//! has no link, it is asked for one now and then.
//!
//! What to write when, and when a peer counts as lost, is in [`devlend_protocol::keepalive`].

use super::{
    Link,
    State, //
};
use crate::ticker::Tick;
use devlend_protocol::{
    Features,
    Keepalive,
    Settings,
    KEEPALIVE, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::WorkItem, //
};

/// Id of the work item.
pub(super) const WORK: u64 = 2;

/// Between two times that a switch is asked for a link.
const ASK_AGAIN: Delta = Delta::from_secs(5);

/// How a link is set. The two values are set one at a time; whoever reads one while the other is changed may see the old
/// one of it.
pub(super) struct Knobs {
    interval: Atomic<u32>,
    timeout: Atomic<u32>,
}

impl Knobs {
    pub(super) fn new() -> Self {
        let settings = Settings::default();
        Self {
            interval: Atomic::new(settings.interval().into()),
            timeout: Atomic::new(settings.timeout()),
        }
    }

    /// Does not sleep.
    pub(super) fn get(&self) -> Settings {
        let (interval, timeout) = (self.interval.load(Relaxed), self.timeout.load(Relaxed));
        // Both were checked when they were set.
        Settings::new(interval.into(), timeout.into()).unwrap_or_default()
    }

    /// Sets one of them, ms, and leaves the other; `None` if it is out of its range.
    pub(super) fn set(&self, interval: Option<u64>, timeout: Option<u64>) -> Option<()> {
        let now = self.get();
        let settings = Settings::new(
            interval.unwrap_or(now.interval().into()),
            timeout.unwrap_or(now.timeout().into()),
        )?;
        if interval.is_some() {
            self.interval.store(settings.interval().into(), Relaxed);
        }
        if timeout.is_some() {
            self.timeout.store(settings.timeout(), Relaxed);
        }
        Some(())
    }
}

/// What is known of the present session.
pub(super) struct Pulse {
    /// Which that is.
    session: u32,
    keepalive: Keepalive,
    looked: Instant<Monotonic>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self::of(0)
    }

    fn of(session: u32) -> Self {
        Self {
            session,
            keepalive: Keepalive::new(),
            looked: Instant::now(),
        }
    }

    /// Time since the look before, ms.
    fn elapsed(&mut self) -> u32 {
        let elapsed = self.looked.elapsed().as_millis();
        self.looked = Instant::now();
        u32::try_from(elapsed).unwrap_or(u32::MAX)
    }
}

impl Tick for Link {
    fn tick(this: &Arc<Self>) -> Option<Delta> {
        let _ = this.queue.enqueue::<Arc<Self>, WORK>(this.clone());
        Some(look_every(this))
    }
}

/// Time between two looks.
pub(super) fn look_every(link: &Link) -> Delta {
    Delta::from_millis(link.knobs.get().look_every().into())
}

impl WorkItem<WORK> for Link {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.retry_refused();
        this.ask_again();
        let Ok(peer) = this.peer() else { return };
        if !peer.features.contains(Features::KEEPALIVE) {
            return;
        }
        let settings = this.knobs.get();
        let (round, silence) = {
            let mut pulse = this.pulse.lock();
            if pulse.session != peer.session {
                *pulse = Pulse::of(peer.session);
            }
            let Some(word) = this.with_own(|own| own.read(KEEPALIVE)) else {
                return;
            };
            let elapsed = pulse.elapsed();
            let round = pulse.keepalive.look(settings, elapsed, word);
            (round, pulse.keepalive.silence())
        };
        if let Some(beat) = round.send {
            this.beat(peer.session, beat.into());
        }
        this.counters.keepalives_missed.add(round.missed.into());
        if round.over && this.end_session(peer.session) {
            dev_err!(
                this.dev(),
                "the peer has been silent for {silence} ms: ending the session\n"
            );
        }
    }
}

impl Link {
    /// Asks a switch for a link again, if there is none. One that is up for the peer can be down here for ever otherwise:
    /// `check_link_status_work` of `ntb_hw_switchtec` forgets a message "link up" for one "link forced down", both of which a
    /// peer's driver sends when it is bound. Other drivers look at the hardware, and to ask that may train its link anew.
    fn ask_again(&self) {
        if self.state() != State::Down {
            return;
        }
        let mut setup = self.setup.lock();
        if setup.asked.elapsed() < ASK_AGAIN {
            return;
        }
        setup.asked = Instant::now();
        if let Some(ntb) = setup.ntb.as_ref().filter(|ntb| ntb.is_switch()) {
            let _ = ntb.link_enable();
        }
    }

    /// Writes a word into the peer's control block, if the session is still that one.
    fn beat(&self, session: u32, word: u32) {
        let mut guard = self.session.lock();
        if let Some(open) = &mut *guard {
            if session == self.session_id() {
                open.peer.publish(KEEPALIVE, word);
                self.counters.keepalives_sent.count();
            }
        }
    }
}
