// SPDX-License-Identifier: GPL-2.0

//! Who is there, and whether the cable between them is in.

use crate::side::{PerSide, Side};

/// Both hosts and the cable.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    here: PerSide<bool>,
    cable: bool,
}

impl Default for Presence {
    /// Nobody; the cable is in.
    fn default() -> Self {
        Self {
            here: PerSide::default(),
            cable: true,
        }
    }
}

impl Presence {
    /// Says whether a host is there.
    pub fn set(&mut self, side: Side, here: bool) {
        self.here[side] = here;
    }

    /// Whether a host is there.
    pub fn here(&self, side: Side) -> bool {
        self.here[side]
    }

    /// Puts the cable in or pulls it.
    pub fn set_cable(&mut self, connected: bool) {
        self.cable = connected;
    }

    /// Whether the cable is in.
    pub fn cable(&self) -> bool {
        self.cable
    }

    /// Whether both hosts are there and the cable is in.
    pub fn link(&self) -> bool {
        self.cable && Side::BOTH.iter().all(|side| self.here[*side])
    }

    /// Whether there is nobody.
    pub fn empty(&self) -> bool {
        Side::BOTH.iter().all(|side| !self.here[*side])
    }
}
