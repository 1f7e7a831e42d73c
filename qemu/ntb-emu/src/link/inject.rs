// SPDX-License-Identifier: GPL-2.0

//! From what is asked for to what goes wrong.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::info;

use super::faults::{ActiveFaults, Losses};
use super::Link;
use crate::fault::{Fault, FaultError, FLAP_PERIODS, MAX_DELAY, MAX_DOORBELL_DELAY};
use crate::side::Side;

/// Most pulls of a flapping cable.
const MAX_FLAPS: u32 = 1_000_000;

impl Link {
    /// Makes something go wrong, or right again.
    ///
    /// # Errors
    ///
    /// It cannot be had, and nothing has changed.
    pub fn inject(self: &Arc<Self>, fault: &Fault) -> Result<(), FaultError> {
        let turn = self.injecting.lock();
        match fault {
            Fault::Down => self.faults.set_cable(false),
            Fault::Up => self.faults.set_cable(true),
            Fault::Flap { times, period } => self.flap(*times, *period)?,
            Fault::DropDoorbells {
                host,
                next,
                probability,
                seed,
            } => {
                let losses = losses(*next, *probability, *seed)?;
                for side in self.sides(host.as_deref())? {
                    self.faults.set_losses(side, losses.clone());
                }
            }
            Fault::DelayDoorbells { host, by } => {
                within("a doorbell delay", *by, Duration::ZERO, MAX_DOORBELL_DELAY)?;
                for side in self.sides(host.as_deref())? {
                    self.faults.set_doorbell_delay(side, *by);
                }
            }
            Fault::Delay { host, by } => self.delay(host.as_deref(), *by)?,
            Fault::AllOnes { host, window, off } => {
                self.all_ones(host.as_deref(), *window, !off)?;
            }
            Fault::Freeze { host } => self.faults.set_frozen(self.side_of(host)?, true),
            Fault::Thaw { host } => {
                for side in self.sides(host.as_deref())? {
                    self.faults.set_frozen(side, false);
                }
            }
            Fault::Reset { host } => self.reset(self.side_of(host)?),
            Fault::Clear => self.faults.clear(),
        }
        info!(link = self.name, ?fault, "fault");
        self.sync_cable();
        drop(turn);
        self.employ_courier()
    }

    /// Which faults are active.
    pub fn active_faults(&self) -> ActiveFaults {
        let names = Side::BOTH.map(|side| self.end(side).name.as_str());
        self.faults.report(names)
    }

    /// Windows that hosts access without us, so that no fault concerns them: name of the host, number of the window.
    pub fn beyond_reach(&self) -> Vec<(&str, usize)> {
        let windows = Side::BOTH.into_iter().flat_map(|side| {
            let end = self.end(side);
            (0..)
                .zip(&end.counters.windows)
                .filter(|(_, counters)| counters.direct.get())
                .map(move |(window, _)| (end.name.as_str(), window))
        });
        windows.collect()
    }

    /// Pulls the cable or puts it in, as it is to be by now.
    pub(super) fn sync_cable(&self) {
        // One after the other, so that the last one to come finds and leaves it as it is to be.
        let mut cable = self.cable.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = self.faults.cable();
        if *cable == connected {
            return;
        }
        *cable = connected;
        let effect = self.model().set_cable(connected);
        if !connected {
            self.lose_all();
        }
        let event = if connected {
            "cable put in"
        } else {
            "cable pulled"
        };
        self.tell_event(None, event);
        self.fire(effect);
    }

    fn flap(&self, times: u32, period: Duration) -> Result<(), FaultError> {
        if !(1..=MAX_FLAPS).contains(&times) {
            return Err(FaultError::Number {
                what: "a number of pulls",
                asked: times.to_string(),
                range: "1 to 1000000",
            });
        }
        let [least, most] = FLAP_PERIODS;
        within("a period", period, least, most)?;
        self.faults.set_flap(times, period);
        Ok(())
    }

    fn delay(&self, host: Option<&str>, by: Duration) -> Result<(), FaultError> {
        let sides = self.sides(host)?;
        for side in &sides {
            let back = side.peer();
            let other = if sides.contains(&back) {
                by
            } else {
                self.faults.delay(back)
            };
            if by.saturating_add(other) > MAX_DELAY {
                return Err(FaultError::RoundTrip { asked: by, other });
            }
        }
        for side in sides {
            self.faults.set_delay(side, by);
        }
        Ok(())
    }

    fn all_ones(&self, host: Option<&str>, window: usize, on: bool) -> Result<(), FaultError> {
        let count = self.windows.len();
        if window >= count {
            let last = count.saturating_sub(1);
            return Err(FaultError::UnknownWindow { window, last });
        }
        let sides = self.sides(host)?;
        for side in &sides {
            if on && self.window_counters(*side, window).direct.get() {
                let host = self.end(*side).name.clone();
                return Err(FaultError::Direct { host, window });
            }
        }
        for side in sides {
            self.faults.set_all_ones(side, window, on);
        }
        Ok(())
    }

    /// The sides that are meant: the named host's, or both.
    fn sides(&self, host: Option<&str>) -> Result<Vec<Side>, FaultError> {
        match host {
            Some(host) => Ok(vec![self.side_of(host)?]),
            None => Ok(Side::BOTH.into()),
        }
    }

    fn side_of(&self, host: &str) -> Result<Side, FaultError> {
        let names = Side::BOTH.map(|side| self.end(side).name.as_str());
        let found = Side::BOTH
            .into_iter()
            .zip(names)
            .find(|(_, name)| *name == host);
        match found {
            Some((side, _)) => Ok(side),
            None => Err(FaultError::UnknownHost {
                link: self.name.clone(),
                name: host.to_owned(),
                hosts: names.join(", "),
            }),
        }
    }
}

fn losses(next: Option<u64>, probability: Option<f64>, seed: u64) -> Result<Losses, FaultError> {
    match (next, probability) {
        (Some(next), None) => Ok(Losses::Next { next }),
        (None, Some(probability)) if (0.0..=1.0).contains(&probability) => {
            Ok(Losses::random(probability, seed))
        }
        (None, Some(probability)) => Err(FaultError::Number {
            what: "a probability",
            asked: probability.to_string(),
            range: "0 to 1",
        }),
        _ => Err(FaultError::WhichDoorbells),
    }
}

fn within(
    what: &'static str,
    asked: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), FaultError> {
    if (least..=most).contains(&asked) {
        return Ok(());
    }
    Err(FaultError::Time {
        what,
        asked,
        least,
        most,
    })
}
