// SPDX-License-Identifier: GPL-2.0

//! Which faults are active, for people and programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Faults, Losses};
use crate::side::Side;

/// The active faults of a link; what is as it should be is left out.
#[derive(Debug, Default, Serialize)]
pub struct ActiveFaults {
    /// The cable is out.
    #[serde(skip_serializing_if = "is_default")]
    pub cable_out: bool,
    /// The cable is being pulled and put in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap: Option<FlapReport>,
    /// The hosts that have faults, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, EndReport>,
}

/// A flapping cable.
#[derive(Debug, Serialize)]
pub struct FlapReport {
    /// How often it is still to be pulled, or to be put in after that.
    pub left: u64,
    /// From one pull to the next.
    #[serde(with = "humantime_serde")]
    pub period: Duration,
}

/// The active faults of a host.
#[derive(Debug, Default, Serialize)]
pub struct EndReport {
    /// How late what it sends arrives.
    #[serde(with = "humantime_serde", skip_serializing_if = "is_default")]
    pub delay: Option<Duration>,
    /// How many of its accesses, answers and doorbells wait.
    #[serde(skip_serializing_if = "is_default")]
    pub waiting: usize,
    /// Which of its doorbells are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_doorbells: Option<Losses>,
    /// How late its doorbells arrive beyond that.
    #[serde(with = "humantime_serde", skip_serializing_if = "is_default")]
    pub delay_doorbells: Option<Duration>,
    /// Its windows that read as all-ones.
    #[serde(skip_serializing_if = "is_default")]
    pub all_ones: Vec<usize>,
    /// Nothing crosses to or from it.
    #[serde(skip_serializing_if = "is_default")]
    pub frozen: bool,
}

impl Faults {
    /// What is active. `names` are those of the ends.
    pub(in crate::link) fn report(&self, names: [&str; 2]) -> ActiveFaults {
        let state = self.lock();
        let mut report = ActiveFaults {
            cable_out: !state.cable,
            flap: state.flap.map(|flap| FlapReport {
                left: flap.left.div_ceil(2),
                period: flap.half * 2,
            }),
            hosts: BTreeMap::new(),
        };
        for (side, name) in Side::BOTH.into_iter().zip(names) {
            let end = &state.ends[side];
            let some = |delay: Duration| Some(delay).filter(|delay| !delay.is_zero());
            let active = EndReport {
                delay: some(end.wire.delay()),
                waiting: end.wire.waiting() + end.doorbells.waiting(),
                drop_doorbells: end.losses.clone(),
                delay_doorbells: some(end.doorbells.delay()),
                all_ones: (0..64)
                    .filter(|window| end.all_ones & (1 << window) != 0)
                    .collect(),
                frozen: end.frozen,
            };
            if active.is_any() {
                report.hosts.insert(name.to_owned(), active);
            }
        }
        report
    }
}

impl EndReport {
    fn is_any(&self) -> bool {
        self.delay.is_some()
            || self.waiting > 0
            || self.drop_doorbells.is_some()
            || self.delay_doorbells.is_some()
            || !self.all_ones.is_empty()
            || self.frozen
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
