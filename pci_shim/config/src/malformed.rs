// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a configuration space.

use core::fmt;

/// Why a configuration space was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is neither 256 nor 4096 bytes long, or the space for the result is too small.
    Size(usize),
    /// It reads as all ones: no device answers.
    Absent,
    /// The header is that of a bridge.
    HeaderType(u8),
    /// The interrupt pin is neither none nor INTA.
    Pin(u8),
    /// The PCI Express capability says that this is a port, not an endpoint.
    PortType(u8),
    /// A base address register has a size or address it cannot have.
    Bar(usize),
    /// The capability list comes back to this offset.
    Loop(u8),
    /// A capability is cut off by the end of the space, or by the next one.
    Cut(u8),
    /// There is a second capability of a kind of which there can be one.
    Twice(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Size(size) => write!(f, "configuration space of {size} bytes"),
            Self::Absent => f.write_str("no device answers"),
            Self::HeaderType(kind) => write!(f, "header type {kind:#x} is not an endpoint's"),
            Self::Pin(pin) => write!(f, "interrupt pin {pin} is not that of a single function"),
            Self::PortType(kind) => {
                write!(f, "PCI Express port type {kind:#x} is not an endpoint's")
            }
            Self::Bar(index) => write!(f, "base address register {index} is impossible"),
            Self::Loop(at) => write!(f, "capability list comes back to {at:#x}"),
            Self::Cut(at) => write!(f, "capability at {at:#x} is cut off"),
            Self::Twice(at) => write!(f, "capability at {at:#x} is there already"),
        }
    }
}
