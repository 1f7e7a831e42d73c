// SPDX-License-Identifier: GPL-2.0

//! The two sides of the bridge.

use std::ops::{Index, IndexMut};

/// Memory windows of each side.
pub const WINDOWS: usize = 3;

/// A side of the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side whose driver manages the link (`NTB_TOPO_PRI`).
    Primary,
    /// The other one (`NTB_TOPO_SEC`).
    Secondary,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];

    /// The side across the bridge.
    pub fn peer(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }
}

/// One thing for each side.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerSide<T>(pub [T; 2]);

impl<T> Index<Side> for PerSide<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        let [primary, secondary] = &self.0;
        match side {
            Side::Primary => primary,
            Side::Secondary => secondary,
        }
    }
}

impl<T> IndexMut<Side> for PerSide<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        let [primary, secondary] = &mut self.0;
        match side {
            Side::Primary => primary,
            Side::Secondary => secondary,
        }
    }
}
