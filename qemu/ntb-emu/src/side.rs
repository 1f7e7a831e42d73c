// SPDX-License-Identifier: GPL-2.0

//! The two sides of a bridge.

use std::fmt;
use std::ops::{Index, IndexMut};

/// A side of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first one.
    Primary,
    /// The other one.
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

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}

/// One thing for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
