// SPDX-License-Identifier: GPL-2.0

//! The outcome of a request, as the answering host puts it on the wire.

use core::fmt;

/// What became of a request.
///
/// Kept apart from errno: the numbers are ours and fixed, whatever a kernel calls the same thing. [`Status::errno`]
/// is the one place where they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// Done; the body is the reply of the request.
    Ok = 0,
    /// No such offer, or the end of the list.
    NotFound = 1,
    /// Somebody holds the lease already.
    Taken = 2,
    /// A window is too small; the body may be a [`NoSpaceDetail`](crate::NoSpaceDetail).
    NoSpace = 3,
    /// The epoch is not that of the present lease.
    Stale = 4,
    /// The answering host does not know this request.
    Unsupported = 5,
    /// The request made no sense to the answering host.
    Malformed = 6,
    /// This peer must not do that: the register is not its own, or it has not proven that it has the key.
    Denied = 7,
    /// The device or the answering host failed.
    Io = 8,
    /// No protocol version in common.
    Version = 9,
    /// The device is no longer there.
    Gone = 10,
}

impl Status {
    /// The positive Linux errno that says the same to a local caller; 0 for [`Status::Ok`].
    pub const fn errno(self) -> i32 {
        match self {
            Status::Ok => 0,
            Status::NotFound => 2,     // ENOENT
            Status::Taken => 16,       // EBUSY
            Status::NoSpace => 28,     // ENOSPC
            Status::Stale => 116,      // ESTALE
            Status::Unsupported => 95, // EOPNOTSUPP
            Status::Malformed => 71,   // EPROTO
            Status::Denied => 13,      // EACCES
            Status::Io => 5,           // EIO
            Status::Version => 93,     // EPROTONOSUPPORT
            Status::Gone => 19,        // ENODEV
        }
    }

    /// A few words for a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::NotFound => "not found",
            Status::Taken => "taken",
            Status::NoSpace => "no space in a window",
            Status::Stale => "stale lease",
            Status::Unsupported => "unsupported request",
            Status::Malformed => "malformed request",
            Status::Denied => "denied",
            Status::Io => "input/output error",
            Status::Version => "no common version",
            Status::Gone => "device gone",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Status> for u16 {
    fn from(status: Status) -> u16 {
        // CAST: `Status` is `repr(u16)`.
        status as u16
    }
}

impl TryFrom<u16> for Status {
    /// The value that means nothing to us.
    type Error = u16;

    fn try_from(value: u16) -> Result<Self, u16> {
        Ok(match value {
            0 => Status::Ok,
            1 => Status::NotFound,
            2 => Status::Taken,
            3 => Status::NoSpace,
            4 => Status::Stale,
            5 => Status::Unsupported,
            6 => Status::Malformed,
            7 => Status::Denied,
            8 => Status::Io,
            9 => Status::Version,
            10 => Status::Gone,
            _ => return Err(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [(Status, u16, i32); 11] = [
        (Status::Ok, 0, 0),
        (Status::NotFound, 1, 2),
        (Status::Taken, 2, 16),
        (Status::NoSpace, 3, 28),
        (Status::Stale, 4, 116),
        (Status::Unsupported, 5, 95),
        (Status::Malformed, 6, 71),
        (Status::Denied, 7, 13),
        (Status::Io, 8, 5),
        (Status::Version, 9, 93),
        (Status::Gone, 10, 19),
    ];

    #[test]
    fn wire_values_and_errnos_are_pinned() {
        for (status, wire, errno) in TABLE {
            assert_eq!(u16::from(status), wire);
            assert_eq!(Status::try_from(wire), Ok(status));
            assert_eq!(status.errno(), errno);
            assert_eq!(status.to_string(), status.as_str());
        }
    }

    #[test]
    fn every_other_value_is_refused_by_name() {
        for value in 11..=u16::MAX {
            assert_eq!(Status::try_from(value), Err(value));
        }
    }
}
