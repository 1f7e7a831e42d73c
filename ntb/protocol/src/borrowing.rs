// SPDX-License-Identifier: GPL-2.0

//! The borrower's state machine of one offered device.
//!
//! ```text
//! Available ---begin---> Borrowing --attached--> Borrowed
//!   ^  ^                     |                      |
//!   |  |                     +-------- lose --------+--> Lost
//!   |  |                     |                      |     |
//!   |  +------- ended -------+----------------------+     | ended
//!   |                                                     v
//!   +-- listed --> Taken <----------- listed ------------ Lost
//! ```
//!
//! What is free is as the lender lists it; what is lost stays so until the next list.
//!
//! What the lender says about a lease may come before the lease [begins](Borrowing::begin): it begins so, then.
//!
//! Several may want the end of a lease at once: who returns it, the lender, the loss of the link, the module that goes. One of
//! them [ends](Borrowing::end) it, which takes as long as the device's driver does; then it [has ended](Borrowing::ended).

/// Where an offer stands, seen from the borrower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BorrowingState {
    /// Nobody has it.
    #[default]
    Available,
    /// Somebody else has it.
    Taken,
    /// We have it; its driver has not been found yet.
    Borrowing,
    /// We have it.
    Borrowed,
    /// We had it; the link or the device is gone.
    Lost,
}

impl BorrowingState {
    /// The word for it in sysfs.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Available => "available",
            State::Taken => "taken",
            State::Borrowing => "borrowing",
            State::Borrowed => "borrowed",
            State::Lost => "lost",
        }
    }
}

use BorrowingState as State;

/// How far a lease has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The device has not been added yet.
    New,
    /// The device is being added, or was.
    InUse,
    /// It is to be returned.
    Returning,
    /// Somebody removes the device and ends the lease; nobody else has to.
    Ending,
}

/// A lease, from the moment the device can be added until the lender has it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    epoch: u32,
    phase: Phase,
    /// Why it ends, once that is known; the first reason counts.
    why: Option<&'static str>,
}

/// What the lender has said about a lease that has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Early {
    epoch: u32,
    /// It has taken the device; else it asks for it.
    is_lost: bool,
    why: &'static str,
}

/// Why a lease ends for which nobody has given a reason.
const RETURNED: &str = "returned";

/// Which lease is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with that epoch: what the lender says is about one lease.
    Epoch(u32),
    /// Whichever there is.
    Present,
}

/// One offered device, seen from the borrower; by default it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borrowing {
    state: State,
    held: Option<Held>,
    /// While nothing is held; the latest lease that was spoken of counts.
    early: Option<Early>,
}

impl Borrowing {
    /// Where it stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Epoch of our lease, from its beginning until it has ended.
    pub fn epoch(&self) -> Option<u32> {
        self.held.map(|held| held.epoch)
    }

    /// The lender lists the device; while we have it we know better.
    pub fn listed(&mut self, is_available: bool) {
        if self.held.is_none() {
            self.state = if is_available {
                State::Available
            } else {
                State::Taken
            };
        }
    }

    /// There is a lease. False if there is one already. If it [is due to end](Self::is_due) already, its device need not be added.
    #[must_use]
    pub fn begin(&mut self, epoch: u32) -> bool {
        let is_free = self.held.is_none();
        if is_free {
            let early = self.early.take().filter(|early| early.epoch == epoch);
            self.state = match early {
                Some(Early { is_lost: true, .. }) => State::Lost,
                _ => State::Borrowing,
            };
            self.held = Some(Held {
                epoch,
                phase: match early {
                    Some(_) => Phase::Returning,
                    None => Phase::New,
                },
                why: early.map(|early| early.why),
            });
        }
        is_free
    }

    /// Whether the device is to be removed, and nobody does that yet.
    pub fn is_due(&self) -> bool {
        let is_lost = self.state == State::Lost;
        self.held.is_some_and(|held| match held.phase {
            Phase::New | Phase::InUse => is_lost,
            Phase::Returning => true,
            Phase::Ending => false,
        })
    }

    /// Remembers what is said of a lease that may be about to begin.
    fn remember(&mut self, which: Which, is_lost: bool, why: &'static str) {
        let Which::Epoch(epoch) = which else { return };
        let is_news = self.early.is_none_or(|early| {
            early.epoch < epoch || (early.epoch == epoch && is_lost && !early.is_lost)
        });
        if self.held.is_none() && is_news {
            self.early = Some(Early {
                epoch,
                is_lost,
                why,
            });
        }
    }

    /// The device is to be added: by the caller, if this is true.
    #[must_use]
    pub fn attach(&mut self) -> bool {
        match &mut self.held {
            Some(held) if held.phase == Phase::New => {
                held.phase = Phase::InUse;
                true
            }
            // Returned before it began.
            _ => false,
        }
    }

    /// The device of the lease with that epoch was added. False if it was lost, or its lease has ended, meanwhile.
    pub fn attached(&mut self, epoch: u32) -> bool {
        let is_there = self.state == State::Borrowing && self.epoch() == Some(epoch);
        if is_there {
            self.state = State::Borrowed;
        }
        is_there
    }

    /// The device is to be returned in good order, for that reason. False if its return is under way, or if there is no such
    /// lease.
    pub fn give_back(&mut self, which: Which, why: &'static str) -> bool {
        match self.held(which) {
            Some(held) if matches!(held.phase, Phase::New | Phase::InUse) => {
                held.phase = Phase::Returning;
                held.why.get_or_insert(why);
                true
            }
            Some(_) => false,
            None => {
                self.remember(which, false, why);
                false
            }
        }
    }

    /// The device is lost, for that reason. False if there is no such lease.
    pub fn lose(&mut self, which: Which, why: &'static str) -> bool {
        let Some(held) = self.held(which) else {
            self.remember(which, true, why);
            return false;
        };
        held.why.get_or_insert(why);
        self.state = State::Lost;
        true
    }

    /// The device is to be removed and its lease ended, if it is lost or to be returned, or `always`: by the caller, if this is
    /// true.
    #[must_use]
    pub fn end(&mut self, always: bool) -> bool {
        let is_due = self.is_due();
        match &mut self.held {
            Some(held) if held.phase != Phase::Ending && (always || is_due) => {
                held.phase = Phase::Ending;
                true
            }
            _ => false,
        }
    }

    /// Whether somebody removes the device.
    pub fn is_ending(&self) -> bool {
        self.held.is_some_and(|held| held.phase == Phase::Ending)
    }

    /// Why the lease ends, or has to.
    pub fn why(&self) -> &'static str {
        self.held.and_then(|held| held.why).unwrap_or(RETURNED)
    }

    /// The lease has ended; returns why. What is lost stays so until it is listed.
    pub fn ended(&mut self) -> &'static str {
        if self.state != State::Lost {
            self.state = State::Available;
        }
        let why = self.why();
        self.held = None;
        why
    }

    fn held(&mut self, which: Which) -> Option<&mut Held> {
        self.held.as_mut().filter(|held| match which {
            Which::Epoch(epoch) => held.epoch == epoch,
            Which::Present => true,
        })
    }
}

#[cfg(test)]
mod tests;
