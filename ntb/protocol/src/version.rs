// SPDX-License-Identifier: GPL-2.0

//! Protocol versions and feature flags.

use bitflags::bitflags;

/// Lowest protocol version spoken by this build.
pub const VERSION_MIN: u16 = 1;

/// Highest protocol version spoken by this build.
pub const VERSION_MAX: u16 = 1;

const _: () = assert!(0 < VERSION_MIN && VERSION_MIN <= VERSION_MAX);
// The announcement has a byte for each.
const _: () = assert!(VERSION_MAX <= u8::MAX as u16);

bitflags! {
    /// What a host can do beyond the protocol version. What one of the two cannot do is not done.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features: u32 {
        /// The host writes [`Beat`](crate::Beat)s.
        const KEEPALIVE = 1 << 0;
        /// The host gives back what it has borrowed when it is asked to by a [`TakeBack`](crate::TakeBack).
        const TAKE_BACK = 1 << 1;
        /// The host takes [`DeviceError`](crate::DeviceError)s.
        const DEVICE_ERROR = 1 << 2;
        /// The host knows what a key is.
        const KEYS = 1 << 3;
        /// The host has a key for the link, and attaches with it or not at all.
        const KEYED = 1 << 4;
        /// The host relays INTx: it sends [`Interrupt`](crate::Interrupt)s for what it lends, and [`Unmask`](crate::Unmask)s for
        /// what it has borrowed.
        const INTX = 1 << 5;
    }
}

impl Features {
    /// What this build has; with a key for the link, or without.
    pub const fn ours(keyed: bool) -> Self {
        if keyed {
            Self::all()
        } else {
            Self::all().difference(Self::KEYED)
        }
    }
}

/// What both hosts can do: of the `theirs`, bits that mean nothing to us are from the future and left alone.
pub const fn shared(theirs: u32) -> Features {
    Features::from_bits_truncate(theirs)
}

/// The highest version in both ranges (inclusive), `None` when there is none or a range is empty.
pub fn negotiate(ours: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let low = ours.0.max(theirs.0);
    let high = ours.1.min(theirs.1);
    (ours.0 <= ours.1 && theirs.0 <= theirs.1 && low <= high).then_some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins() {
        let table = [
            ((1, 1), (1, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)),
            ((2, 5), (1, 3), Some(3)),
            ((1, 9), (4, 4), Some(4)),
            ((1, 2), (3, 4), None),
            ((3, 4), (1, 2), None),
            ((0, u16::MAX), (u16::MAX, u16::MAX), Some(u16::MAX)),
            ((2, 1), (1, 2), None),
            ((1, 2), (2, 1), None),
        ];
        for (ours, theirs, expected) in table {
            assert_eq!(negotiate(ours, theirs), expected, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn features_are_pinned() {
        assert_eq!(
            [
                Features::KEEPALIVE,
                Features::TAKE_BACK,
                Features::DEVICE_ERROR,
                Features::KEYS,
                Features::KEYED,
                Features::INTX
            ]
            .map(|feature| feature.bits()),
            [1, 2, 4, 8, 16, 32]
        );
        assert_eq!(Features::ours(false).bits(), 47);
        assert_eq!(Features::ours(true).bits(), 63);
    }

    #[test]
    fn unknown_features_are_ignored() {
        assert_eq!(shared(0), Features::empty());
        assert_eq!(shared(!0), Features::all());
        assert_eq!(shared(1 << 31), Features::empty());
        assert_eq!(shared(1 << 31 | 1), Features::KEEPALIVE);
    }
}
