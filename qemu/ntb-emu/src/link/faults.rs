// SPDX-License-Identifier: GPL-2.0

//! The faults that are active at a link, and what they hold up.

mod line;
mod losses;
mod report;

pub use report::{ActiveFaults, EndReport, FlapReport};

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attention::{Attention, Notice};
use super::FORWARD_TIMEOUT;
use crate::connection::{PendingDoorbell, PendingRead};
use crate::side::{PerSide, Side};
use line::{Line, Weight};
pub(super) use losses::Losses;

/// What one host sends across.
#[derive(Debug)]
pub(super) enum Packet {
    /// A write through a window.
    Write {
        /// Its number.
        window: usize,
        /// Where in it.
        offset: u64,
        /// What is written.
        data: Box<[u8]>,
        /// When, if somebody wants to know.
        since: Option<Instant>,
    },
    /// A doorbell.
    Doorbell(PendingDoorbell),
    /// A read through a window.
    Read(Box<PendingRead>),
    /// The answer to a read of the peer's; all-ones if there is none.
    Answer(Box<PendingRead>, Option<Box<[u8]>>),
}

impl Weight for Packet {
    fn weight(&self) -> usize {
        match self {
            Self::Write { data, .. } => data.len(),
            Self::Doorbell(doorbell) => doorbell.weight(),
            Self::Read(_) => size_of::<PendingRead>(),
            Self::Answer(_, data) => {
                size_of::<PendingRead>() + data.as_ref().map_or(0, |data| data.len())
            }
        }
    }
}

impl Weight for PendingDoorbell {
    fn weight(&self) -> usize {
        self.data.len()
    }
}

impl Packet {
    fn read(&self) -> Option<&PendingRead> {
        match self {
            Self::Read(read) | Self::Answer(read, _) => Some(read),
            Self::Write { .. } | Self::Doorbell(_) => None,
        }
    }

    fn read_mut(&mut self) -> Option<&mut PendingRead> {
        match self {
            Self::Read(read) | Self::Answer(read, _) => Some(read),
            Self::Write { .. } | Self::Doorbell(_) => None,
        }
    }

    /// When whoever waits for it is to be told that it will not come.
    fn give_up(&self) -> Option<Instant> {
        self.read()?.give_up
    }
}

/// What becomes of something that is sent.
#[derive(Debug)]
pub(super) enum Entry<T> {
    /// It gets through at once.
    Free(T),
    /// It waits, and will be an [`Errand`] of the courier's.
    Waits,
    /// There is no room for it.
    Full(T),
    /// Whoever waits for it has waited in vain before.
    Vain(T),
}

/// Something for the courier to do.
#[derive(Debug)]
pub(super) enum Errand {
    /// Deliver what a host has sent.
    Packet(Side, Packet),
    /// Ring.
    Doorbell(PendingDoorbell),
    /// See to it that the cable is as it is to be.
    Cable,
}

/// A flapping cable.
#[derive(Clone, Copy, Debug)]
struct Flap {
    /// How often the cable is still to be pulled or put in.
    left: u64,
    /// How long it stays as it is.
    half: Duration,
    next: Instant,
}

#[derive(Debug, Default)]
struct EndFaults {
    wire: Line<Packet>,
    doorbells: Line<PendingDoorbell>,
    losses: Option<Losses>,
    /// Windows that read as all-ones, one a bit.
    all_ones: u64,
    frozen: bool,
    /// Since the link is frozen the host has given up a read. It does not wait for the next one.
    gave_up: bool,
    /// No read in `wire` is to be given up before this.
    first_give_up: Option<Instant>,
}

#[derive(Debug)]
struct State {
    ends: PerSide<EndFaults>,
    cable: bool,
    flap: Option<Flap>,
    /// The courier is there.
    courier: bool,
    /// The link has gone.
    closed: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            ends: PerSide::default(),
            cable: true,
            flap: None,
            courier: false,
            closed: false,
        }
    }
}

/// The faults of a link.
#[derive(Debug, Default)]
pub(super) struct Faults {
    notice: Arc<Notice>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Faults {
    /// None, to be told to `notice` when there are some.
    pub(super) fn new(notice: Arc<Notice>) -> Self {
        Self {
            notice,
            ..Self::default()
        }
    }

    /// What accesses have to mind.
    pub(super) fn attention(&self) -> Attention {
        self.notice.read()
    }

    /// Something is sent by the host on `side`.
    pub(super) fn enter(&self, side: Side, mut packet: Packet) -> Entry<Packet> {
        let mut state = self.lock();
        let now = Instant::now();
        let round_trip: Duration = Side::BOTH
            .map(|side| state.ends[side].wire.delay())
            .iter()
            .sum();
        if let Some(read) = packet.read_mut() {
            // Half of it for an answer, whose read may have waited already before there were faults.
            let patience = if read.reader.side == side {
                FORWARD_TIMEOUT
            } else {
                FORWARD_TIMEOUT / 2
            };
            read.give_up.get_or_insert(now + round_trip + patience);
        }
        let held = state.holds(side);
        if held
            && packet
                .read()
                .is_some_and(|read| state.ends[read.reader.side].gave_up)
        {
            return Entry::Vain(packet);
        }
        let end = &mut state.ends[side];
        if !end.wire.detains(held) {
            return Entry::Free(packet);
        }
        end.first_give_up = earlier(end.first_give_up, packet.give_up());
        self.push(&mut end.wire, now, packet)
    }

    /// A doorbell of the host on `side` has come to where it may be held up by itself.
    pub(super) fn enter_doorbell(
        &self,
        side: Side,
        doorbell: PendingDoorbell,
    ) -> Entry<PendingDoorbell> {
        let mut state = self.lock();
        let held = state.holds(side);
        let doorbells = &mut state.ends[side].doorbells;
        if !doorbells.detains(held) {
            return Entry::Free(doorbell);
        }
        self.push(doorbells, Instant::now(), doorbell)
    }

    fn push<T: Weight>(&self, line: &mut Line<T>, now: Instant, item: T) -> Entry<T> {
        match line.push(now, item) {
            Ok(()) => {
                if line.waiting() == 1 {
                    self.changed.notify_all();
                }
                Entry::Waits
            }
            Err(item) => Entry::Full(item),
        }
    }

    /// Whether a doorbell that the host on `side` rings now is lost.
    pub(super) fn loses_doorbell(&self, side: Side) -> bool {
        let mut state = self.lock();
        let losses = &mut state.ends[side].losses;
        let lost = losses.as_mut().is_some_and(Losses::lose);
        if losses.as_ref().is_some_and(Losses::is_over) {
            *losses = None;
            self.tell(&state);
        }
        lost
    }

    /// Whether a window of the host on `side` reads as all-ones and swallows what is written.
    pub(super) fn is_all_ones(&self, side: Side, window: usize) -> bool {
        let set = self.lock().ends[side].all_ones;
        bit(window).is_some_and(|bit| set & bit != 0)
    }

    /// Whether the cable is to be in.
    pub(super) fn cable(&self) -> bool {
        self.lock().cable
    }

    /// Pulls the cable or puts it in, once the courier or somebody else sees to it.
    pub(super) fn set_cable(&self, connected: bool) {
        self.change(|state| {
            state.flap = None;
            state.cable = connected;
        });
    }

    /// Pulls the cable and puts it in `times` times; the first time is due now.
    pub(super) fn set_flap(&self, times: u32, period: Duration) {
        self.change(|state| {
            state.flap = Some(Flap {
                left: u64::from(times) * 2,
                half: period / 2,
                next: Instant::now(),
            });
            state.cable = true;
        });
    }

    /// How long what the host on `side` sends takes.
    pub(super) fn delay(&self, side: Side) -> Duration {
        self.lock().ends[side].wire.delay()
    }

    /// Changes how long what the host on `side` sends takes.
    pub(super) fn set_delay(&self, side: Side, delay: Duration) {
        self.change(|state| state.ends[side].wire.set_delay(delay));
    }

    /// Changes how long doorbells of the host on `side` are held up by themselves.
    pub(super) fn set_doorbell_delay(&self, side: Side, delay: Duration) {
        self.change(|state| state.ends[side].doorbells.set_delay(delay));
    }

    /// Changes which doorbells of the host on `side` are lost.
    pub(super) fn set_losses(&self, side: Side, losses: Losses) {
        self.change(|state| {
            state.ends[side].losses = Some(losses).filter(|losses| !losses.is_over());
        });
    }

    /// Changes whether a window of the host on `side` reads as all-ones.
    pub(super) fn set_all_ones(&self, side: Side, window: usize, on: bool) {
        self.change(|state| {
            let set = &mut state.ends[side].all_ones;
            let bit = bit(window).unwrap_or(0);
            *set = if on { *set | bit } else { *set & !bit };
        });
    }

    /// Holds or releases everything to and from the host on `side`.
    pub(super) fn set_frozen(&self, side: Side, frozen: bool) {
        self.change(|state| {
            state.ends[side].frozen = frozen;
            state.forget_what_was_given_up();
        });
    }

    /// Ends all faults. What waits is due at once.
    pub(super) fn clear(&self) {
        self.change(|state| {
            state.flap = None;
            state.cable = true;
            for side in Side::BOTH {
                let end = &mut state.ends[side];
                end.wire.set_delay(Duration::ZERO);
                end.doorbells.set_delay(Duration::ZERO);
                end.losses = None;
                end.all_ones = 0;
                end.frozen = false;
            }
            state.forget_what_was_given_up();
        });
    }

    /// Takes everything that is under way.
    pub(super) fn take_all(&self) -> Vec<(Side, Packet)> {
        let mut taken = Vec::new();
        if self.attention().faults() {
            self.change(|state| {
                for side in Side::BOTH {
                    let end = &mut state.ends[side];
                    let packets = end.wire.remove(|_| true).into_iter();
                    let doorbells = end.doorbells.remove(|_| true).into_iter();
                    let packets = packets.chain(doorbells.map(Packet::Doorbell));
                    taken.extend(packets.map(|packet| (side, packet)));
                }
            });
        }
        taken
    }

    /// Takes reads and answers that have waited for too long.
    pub(super) fn take_overdue(&self) -> Vec<(Side, Packet)> {
        let mut taken = Vec::new();
        if self.attention().faults() {
            let now = Instant::now();
            self.change(|state| {
                for side in Side::BOTH {
                    let found = state.take_overdue(side, now);
                    taken.extend(found.into_iter().map(|packet| (side, packet)));
                }
            });
        }
        taken
    }

    /// Whether a courier is needed and none is there. Who is told so must see to it that one comes.
    pub(super) fn hire(&self) -> bool {
        let mut state = self.lock();
        let needed = state.needs_courier() && !state.courier;
        state.courier |= needed;
        needed
    }

    /// No courier has come.
    pub(super) fn dismiss(&self) {
        self.lock().courier = false;
    }

    /// What the courier is to do next, after waiting for it; `None` if there is no need for it any more.
    pub(super) fn next_errand(&self) -> Option<Errand> {
        let mut state = self.lock();
        for side in Side::BOTH {
            state.ends[side].wire.arrived();
            state.ends[side].doorbells.arrived();
        }
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            if let Some(errand) = state.take_due(now) {
                return Some(errand);
            }
            self.tell(&state);
            if !state.needs_courier() {
                state.courier = false;
                return None;
            }
            state = match state.next_due() {
                Some(due) => {
                    let time = due.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(state, time);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// The link has gone.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.tell(&state);
        drop(state);
        self.changed.notify_all();
    }

    /// Tells everybody whether there is something to mind.
    fn tell(&self, state: &State) {
        self.notice.set_faults(state.concerns_accesses());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether what the host on `side` sends is held up until further notice.
    fn holds(&self, side: Side) -> bool {
        self.ends[side].frozen || self.ends[side.peer()].frozen
    }

    fn take_overdue(&mut self, side: Side, now: Instant) -> Vec<Packet> {
        let held = self.holds(side);
        let end = &mut self.ends[side];
        if end.first_give_up.is_none_or(|first| first > now) {
            return Vec::new();
        }
        let is_overdue = |packet: &Packet| packet.give_up().is_some_and(|time| time <= now);
        let taken = end.wire.remove(is_overdue);
        end.first_give_up = end.wire.iter().filter_map(Packet::give_up).min();
        for read in taken.iter().filter_map(Packet::read) {
            self.ends[read.reader.side].gave_up |= held;
        }
        taken
    }

    fn forget_what_was_given_up(&mut self) {
        if !self.holds(Side::Primary) {
            for end in &mut self.ends.0 {
                end.gave_up = false;
            }
        }
    }

    fn concerns_accesses(&self) -> bool {
        self.ends.0.iter().any(|end| {
            end.frozen
                || end.losses.is_some()
                || end.all_ones != 0
                || end.wire.detains(false)
                || end.doorbells.detains(false)
        })
    }

    fn needs_courier(&self) -> bool {
        let lines =
            |end: &EndFaults| end.frozen || end.wire.detains(false) || end.doorbells.detains(false);
        self.flap.is_some() || self.ends.0.iter().any(lines)
    }

    /// When the next errand is due.
    fn next_due(&self) -> Option<Instant> {
        let lines = Side::BOTH
            .into_iter()
            .filter(|side| !self.holds(*side))
            .flat_map(|side| {
                let end = &self.ends[side];
                [end.wire.next_due(), end.doorbells.next_due()]
            });
        lines
            .chain([self.flap.map(|flap| flap.next)])
            .flatten()
            .min()
    }

    fn take_due(&mut self, now: Instant) -> Option<Errand> {
        if let Some(flap) = self.flap.as_mut().filter(|flap| flap.next <= now) {
            flap.next = now + flap.half;
            flap.left = flap.left.saturating_sub(1);
            self.cable = flap.left % 2 == 0;
            if flap.left == 0 {
                self.flap = None;
            }
            return Some(Errand::Cable);
        }
        for side in Side::BOTH {
            if self.holds(side) {
                continue;
            }
            let end = &mut self.ends[side];
            if let Some(packet) = end.wire.take_due(now) {
                return Some(Errand::Packet(side, packet));
            }
            if let Some(doorbell) = end.doorbells.take_due(now) {
                return Some(Errand::Doorbell(doorbell));
            }
        }
        None
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}

/// A window's bit in a set; there are far fewer windows.
fn bit(window: usize) -> Option<u64> {
    1u64.checked_shl(u32::try_from(window).ok()?)
}

#[cfg(test)]
mod tests;
