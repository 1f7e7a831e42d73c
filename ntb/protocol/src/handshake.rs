// SPDX-License-Identifier: GPL-2.0

//! The handshake: from two announcements to a session, and back.
//!
//! Both hosts run the same three steps. *Seen*: the peer's generation is new, so whatever ran before is closed, and
//! the peer is told that nothing more will be written for the old one. *Ready*: the peer has seen ours, so nothing old
//! can arrive any more; the rings are emptied, and the peer is told. *Open*: both are ready. A message is therefore
//! never written into a ring that is about to be emptied, whoever restarts when.

use crate::scratchpad::Announcement;

/// One side of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    generation: u32,
    peer: Option<Announcement>,
    ready: bool,
    open: bool,
}

/// What the host has to do, in this order; then it announces what [`Handshake::seen`] and [`Handshake::ready`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Write no more messages to the peer: the session, if there was one, is over.
    pub close: bool,
    /// Empty the rings.
    pub empty: bool,
    /// The session starts.
    pub open: bool,
}

impl Handshake {
    /// A side that has seen nobody. `generation` differs from all recent ones and is not 0.
    pub const fn new(generation: u32) -> Self {
        Self {
            generation,
            peer: None,
            ready: false,
            open: false,
        }
    }

    /// Starts anew: the link went down, or the peer broke the rules. The session is over.
    pub fn restart(&mut self, generation: u32) {
        *self = Self::new(generation);
    }

    /// Our generation.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The peer's generation we have seen, 0 for none.
    pub fn seen(&self) -> u32 {
        self.peer.map_or(0, |peer| peer.generation)
    }

    /// The peer's latest announcement.
    pub const fn peer(&self) -> Option<Announcement> {
        self.peer
    }

    /// Whether our rings are empty and the peer may write.
    pub const fn ready(&self) -> bool {
        self.ready
    }

    /// Whether there is a session.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Takes a step after a look at the peer's announcement.
    pub fn step(&mut self, theirs: Option<Announcement>) -> Actions {
        let mut actions = Actions::default();

        let same = self.peer.map(|peer| peer.generation) == theirs.map(|peer| peer.generation);
        let sees_us = theirs.is_some_and(|peer| peer.seen == self.generation);
        if !same || (self.ready && !sees_us) {
            actions.close = self.open;
            self.open = false;
            self.ready = false;
        }
        self.peer = theirs;

        if sees_us && !self.ready {
            actions.empty = true;
            self.ready = true;
        }
        if self.ready && !self.open && theirs.is_some_and(|peer| peer.ready) {
            actions.open = true;
            self.open = true;
        }
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A host with its ring, as its peer sees it: what the peer wrote, and for which of the host's generations.
    struct Host {
        side: Handshake,
        announced: Option<Announcement>,
        /// The (reader, writer) generations of the messages in our ring.
        ring: Vec<(u32, u32)>,
    }

    impl Host {
        fn new(generation: u32) -> Self {
            Self {
                side: Handshake::new(generation),
                announced: None,
                ring: Vec::new(),
            }
        }

        fn step(&mut self, theirs: Option<Announcement>) {
            if self.side.step(theirs).empty {
                self.ring.clear();
            }
            self.announced = Some(Announcement {
                version_min: 1,
                version_max: 1,
                memory_window: 0,
                control: 4096,
                generation: self.side.generation(),
                seen: self.side.seen(),
                ready: self.side.ready(),
                memory_base: 0,
            });
        }
    }

    /// What can happen, in any order.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Step(usize),
        Restart(usize),
        Unload(usize),
        Send(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        (0usize..2).prop_flat_map(|host| {
            prop_oneof![
                6 => Just(Event::Step(host)),
                1 => Just(Event::Restart(host)),
                1 => Just(Event::Unload(host)),
                4 => Just(Event::Send(host)),
            ]
        })
    }

    fn settle(hosts: &mut [Host; 2]) {
        for _ in 0..4 {
            for host in 0..2 {
                let theirs = hosts[1 - host].announced;
                hosts[host].step(theirs);
            }
        }
    }

    #[test]
    fn two_fresh_hosts_open_within_four_rounds() {
        let mut hosts = [Host::new(7), Host::new(9)];
        settle(&mut hosts);
        assert!(hosts.iter().all(|host| host.side.is_open()));
    }

    #[test]
    fn a_peer_that_restarts_closes_and_reopens() {
        let mut hosts = [Host::new(7), Host::new(9)];
        settle(&mut hosts);
        hosts[1].side.restart(11);
        hosts[1].step(None);
        let theirs = hosts[1].announced;
        assert!(hosts[0].side.step(theirs).close);
        settle(&mut hosts);
        assert!(hosts.iter().all(|host| host.side.is_open()));
    }

    #[test]
    fn a_stale_announcement_never_opens() {
        let mut side = Handshake::new(7);
        let stale = Announcement {
            version_min: 1,
            version_max: 1,
            memory_window: 0,
            control: 4096,
            generation: 9,
            seen: 5,
            ready: true,
            memory_base: 0,
        };
        for _ in 0..3 {
            let actions = side.step(Some(stale));
            assert!(!actions.open && !actions.empty);
        }
    }

    proptest! {
        #[test]
        fn messages_are_only_read_in_the_session_they_were_written_for(events in prop::collection::vec(event(), 0..200)) {
            let mut hosts = [Host::new(1), Host::new(2)];
            let mut generation = 2;
            for event in events {
                match event {
                    Event::Step(host) => {
                        let theirs = hosts[1 - host].announced;
                        hosts[host].step(theirs);
                    }
                    Event::Restart(host) => {
                        generation += 1;
                        hosts[host].side.restart(generation);
                    }
                    Event::Unload(host) => {
                        generation += 1;
                        hosts[host].side.restart(generation);
                        hosts[host].announced = None;
                    }
                    Event::Send(host) => {
                        if hosts[host].side.is_open() {
                            let message = (hosts[host].side.seen(), hosts[host].side.generation());
                            hosts[1 - host].ring.push(message);
                        }
                    }
                }
                for host in &hosts {
                    if host.side.is_open() {
                        let session = (host.side.generation(), host.side.seen());
                        prop_assert!(host.ring.iter().all(|message| *message == session));
                    }
                }
            }
            settle(&mut hosts);
            prop_assert!(hosts.iter().all(|host| host.side.is_open()));
        }
    }
}
