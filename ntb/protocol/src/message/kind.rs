// SPDX-License-Identifier: GPL-2.0

//! The kinds of message.

/// What a message is about. A reply has the kind of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Agree on version, slot size and features, tell the windows.
    Version = 1,
    /// Describe one offer.
    List = 2,
    /// Take the lease of an offer.
    Open = 3,
    /// A part of the configuration-space image.
    Image = 4,
    /// Read the device's configuration space.
    ConfigRead = 5,
    /// Write the device's configuration space.
    ConfigWrite = 6,
    /// Reset the device.
    Reset = 7,
    /// Give the lease back.
    Clunk = 8,
    /// Ask for a proof that the peer has the key.
    Attach = 9,
    /// Prove that the sender has the key.
    Prove = 10,
    /// Event: an offer came, went or changed hands.
    OfferChanged = 32,
    /// Event: the lease was taken back.
    Revoked = 33,
    /// Event: the lease is to be given back.
    TakeBack = 34,
    /// Event: the device has reported an error.
    DeviceError = 35,
    /// Event: the device has raised INTx, and was masked.
    Interrupt = 36,
    /// Event, of the borrower's: the device may raise INTx again.
    Unmask = 37,
}

impl Kind {
    /// Whether messages of this kind are never answered.
    pub const fn is_event(self) -> bool {
        matches!(
            self,
            Kind::OfferChanged
                | Kind::Revoked
                | Kind::TakeBack
                | Kind::DeviceError
                | Kind::Interrupt
                | Kind::Unmask
        )
    }
}

impl From<Kind> for u16 {
    fn from(kind: Kind) -> u16 {
        // CAST: `Kind` is `repr(u16)`.
        kind as u16
    }
}

impl TryFrom<u16> for Kind {
    /// The value that means nothing to us.
    type Error = u16;

    fn try_from(value: u16) -> Result<Self, u16> {
        Ok(match value {
            1 => Kind::Version,
            2 => Kind::List,
            3 => Kind::Open,
            4 => Kind::Image,
            5 => Kind::ConfigRead,
            6 => Kind::ConfigWrite,
            7 => Kind::Reset,
            8 => Kind::Clunk,
            9 => Kind::Attach,
            10 => Kind::Prove,
            32 => Kind::OfferChanged,
            33 => Kind::Revoked,
            34 => Kind::TakeBack,
            35 => Kind::DeviceError,
            36 => Kind::Interrupt,
            37 => Kind::Unmask,
            _ => return Err(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [(Kind, u16, bool); 16] = [
        (Kind::Version, 1, false),
        (Kind::List, 2, false),
        (Kind::Open, 3, false),
        (Kind::Image, 4, false),
        (Kind::ConfigRead, 5, false),
        (Kind::ConfigWrite, 6, false),
        (Kind::Reset, 7, false),
        (Kind::Clunk, 8, false),
        (Kind::Attach, 9, false),
        (Kind::Prove, 10, false),
        (Kind::OfferChanged, 32, true),
        (Kind::Revoked, 33, true),
        (Kind::TakeBack, 34, true),
        (Kind::DeviceError, 35, true),
        (Kind::Interrupt, 36, true),
        (Kind::Unmask, 37, true),
    ];

    #[test]
    fn wire_values_are_pinned() {
        for (kind, wire, event) in TABLE {
            assert_eq!(u16::from(kind), wire);
            assert_eq!(Kind::try_from(wire), Ok(kind));
            assert_eq!(kind.is_event(), event);
        }
    }

    #[test]
    fn every_other_value_is_refused_by_name() {
        for value in 0..=u16::MAX {
            if !TABLE.iter().any(|&(_, wire, _)| wire == value) {
                assert_eq!(Kind::try_from(value), Err(value));
            }
        }
    }
}
