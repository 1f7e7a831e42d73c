// SPDX-License-Identifier: GPL-2.0

//! The hardware families, by the names a person gives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{amd, intel, switchtec, Model, Window};

/// A hardware family.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// AMD (`ntb_hw_amd`): three windows.
    #[default]
    Amd,
    /// Intel, third generation (`ntb_hw_intel`): two windows.
    Intel,
    /// Microsemi/Microchip Switchtec (`switchtec`, `ntb_hw_switchtec`): two windows, the first one with a LUT.
    Switchtec,
}

/// Why windows do not suit a family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Too few or too many.
    #[error("{family} has {needed} memory windows, not {given}")]
    Count {
        /// Of which family.
        family: Family,
        /// How many it has.
        needed: usize,
        /// How many were asked for.
        given: usize,
    },
    /// One cannot have its size.
    #[error("{family}'s window {window} is {why}, not {size:#x} bytes")]
    Size {
        /// Of which family.
        family: Family,
        /// Its number.
        window: usize,
        /// Bytes asked for.
        size: u64,
        /// What it can be.
        why: &'static str,
    },
    /// One cannot be direct.
    #[error("{family}'s window {window} cannot be direct: it shows more than one part of the peer's memory")]
    Direct {
        /// Of which family.
        family: Family,
        /// Its number.
        window: usize,
    },
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Amd, Self::Intel, Self::Switchtec];

    /// The name a person gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd => "amd",
            Self::Intel => "intel",
            Self::Switchtec => "switchtec",
        }
    }

    /// A bridge of this family, with nobody there.
    ///
    /// # Errors
    ///
    /// It cannot have such windows.
    pub fn build(self, windows: &[Window]) -> Result<Box<dyn Model>, WindowError> {
        match self {
            Self::Amd => Ok(Box::new(amd::Bridge::new(windows)?)),
            Self::Intel => Ok(Box::new(intel::Bridge::new(windows)?)),
            Self::Switchtec => Ok(Box::new(switchtec::Bridge::new(windows)?)),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no family's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no hardware family '{0}' (there is: {list})", list = Family::ALL.map(Family::name).join(", "))]
pub struct UnknownFamily(String);

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(text: &str) -> Result<Self, UnknownFamily> {
        let found = Self::ALL.into_iter().find(|family| family.name() == text);
        found.ok_or_else(|| UnknownFamily(text.to_owned()))
    }
}
