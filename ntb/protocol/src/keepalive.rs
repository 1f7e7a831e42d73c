// SPDX-License-Identifier: GPL-2.0

//! Keep-alive: how a host finds out that its peer has stopped although the link is up.
//!
//! Each host writes a word, its [`Beat`], into the peer's control block now and then, and looks at the one in its own.
//! A beat that stays as it was for too long is the end of the session. No message is sent for that, and nobody waits.
//!
//! A beat tells when the next one is due. So the two hosts may be set differently, and change that while they run.

/// Offset in a control block of the `u32` in which the peer writes its beats. On a cache line of its own.
pub const KEEPALIVE: usize = 128;

const _: () = assert!(
    KEEPALIVE % 4 == 0
        && KEEPALIVE / 64 != crate::ring::PRODUCER / 64
        && KEEPALIVE / 64 != crate::ring::CONSUMED / 64
        && KEEPALIVE + 4 <= crate::ring::REQUESTS
);

/// Longest time between two looks, ms.
const LOOK: u32 = 1000;

/// So many beats of the peer have to be missing, whatever the time-out is.
const BEATS: u32 = 3;

/// How a host is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    interval: u16,
    timeout: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: 1000,
            timeout: 10_000,
        }
    }
}

impl Settings {
    /// `interval` is the time between two beats, ms: 0 for none, or 10 to 60000; `timeout` how long the peer may be
    /// silent, ms: 500 to 600000. `None` if one is out of its range.
    pub fn new(interval: u64, timeout: u64) -> Option<Self> {
        let interval = u16::try_from(interval).ok()?;
        let timeout = u32::try_from(timeout).ok()?;
        let is_good = matches!(interval, 0 | 10..=60_000) && matches!(timeout, 500..=600_000);
        is_good.then_some(Self { interval, timeout })
    }

    /// Time between two beats, ms; 0 for none.
    pub const fn interval(self) -> u16 {
        self.interval
    }

    /// How long the peer may be silent, ms.
    pub const fn timeout(self) -> u32 {
        self.timeout
    }

    /// Time between two looks, ms: 10 to 1000.
    pub fn look_every(self) -> u32 {
        let beat = match self.interval {
            0 => LOOK,
            interval => u32::from(interval),
        };
        beat.min(self.timeout / 4).min(LOOK)
    }
}

/// What one host writes for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Changes with each beat.
    pub count: u16,
    /// The next one comes so much later, ms; 0: none comes.
    pub interval: u16,
}

impl From<Beat> for u32 {
    fn from(beat: Beat) -> u32 {
        u32::from(beat.interval) << 16 | u32::from(beat.count)
    }
}

impl From<u32> for Beat {
    fn from(word: u32) -> Beat {
        // CAST: both halves are taken on purpose.
        Beat {
            count: word as u16,
            interval: (word >> 16) as u16,
        }
    }
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// To be written for the peer now.
    pub send: Option<Beat>,
    /// Beats of the peer that were due and have not come, since the look before.
    pub missed: u32,
    /// The peer has been silent for too long.
    pub over: bool,
}

/// One side of one session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keepalive {
    /// What was sent last.
    sent: Option<Beat>,
    /// Time since then, ms.
    since: u32,
    /// The peer's last beat, as it was read.
    heard: u32,
    /// Time for which it has been the same, as far as somebody looked, ms.
    silence: u32,
    /// Beats that were missed in this silence.
    late: u32,
}

impl Keepalive {
    /// A session in which nothing was sent or heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For how long the peer has been silent, ms.
    pub const fn silence(&self) -> u32 {
        self.silence
    }

    /// Takes a look: `elapsed` ms after the one before, with what is now in the control block.
    pub fn look(&mut self, settings: Settings, elapsed: u32, word: u32) -> Round {
        let send = self.send(settings, elapsed);

        let theirs = Beat::from(word);
        // A peer that has said that it is off is believed; one that has not said anything yet is not.
        let is_off = word != 0 && theirs.interval == 0;
        if word != self.heard || is_off {
            self.heard = word;
            self.silence = 0;
            self.late = 0;
            return Round {
                send,
                ..Default::default()
            };
        }
        // If this host slept, it did not hear whether the peer was silent.
        let look_every = settings.look_every();
        self.silence = self
            .silence
            .saturating_add(elapsed.min(look_every.saturating_mul(2)));

        let due = u32::from(theirs.interval).max(look_every);
        // One may be under way.
        let late = self.silence.checked_div(due).unwrap_or(0).saturating_sub(1);
        let missed = late.saturating_sub(self.late);
        self.late = late;
        let limit = settings
            .timeout
            .max(u32::from(theirs.interval).saturating_mul(BEATS));
        Round {
            send,
            missed,
            over: self.silence >= limit,
        }
    }

    fn send(&mut self, settings: Settings, elapsed: u32) -> Option<Beat> {
        self.since = self.since.saturating_add(elapsed);
        let interval = settings.interval;
        let last = match self.sent {
            // Looks come a little early or late.
            Some(last) if last.interval == interval => {
                let early = settings.look_every() / 2;
                if interval == 0 || self.since.saturating_add(early) < u32::from(interval) {
                    return None;
                }
                last
            }
            // The first, and when the setting has changed: so the peer knows.
            Some(last) => last,
            None => Beat::default(),
        };
        let beat = Beat {
            // With an interval of 0 it would be the word that says nothing.
            count: last.count.wrapping_add(1).max(1),
            interval,
        };
        self.since = 0;
        self.sent = Some(beat);
        Some(beat)
    }
}

#[cfg(test)]
mod tests;
