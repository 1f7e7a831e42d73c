// SPDX-License-Identifier: GPL-2.0

//! Error numbers the kernel crate has no names for.
//!
//! C header: [`include/uapi/asm-generic/errno.h`](srctree/include/uapi/asm-generic/errno.h)

use kernel::error::Error;

/// `ENOTCONN`: the link is down.
pub fn enotconn() -> Error {
    new(devlend_bindings::ENOTCONN)
}

/// `ETIME`: all requests together have taken too long.
pub fn etime() -> Error {
    new(devlend_bindings::ETIME)
}

/// `EPROTO`: the peer said something that makes no sense.
pub fn eproto() -> Error {
    new(devlend_bindings::EPROTO)
}

/// `EPROTONOSUPPORT`: no common protocol version.
pub fn eprotonosupport() -> Error {
    new(devlend_bindings::EPROTONOSUPPORT)
}

/// `EOPNOTSUPP`: it cannot be done with that.
pub fn eopnotsupp() -> Error {
    new(devlend_bindings::EOPNOTSUPP)
}

/// `ENOKEY`: no such key.
pub fn enokey() -> Error {
    new(devlend_bindings::ENOKEY)
}

/// `EKEYREVOKED`: the key was revoked.
pub fn ekeyrevoked() -> Error {
    new(devlend_bindings::EKEYREVOKED)
}

/// `EKEYEXPIRED`: the key has expired.
pub fn ekeyexpired() -> Error {
    new(devlend_bindings::EKEYEXPIRED)
}

fn new(errno: u32) -> Error {
    // CAST: Error numbers are below 4096.
    Error::from_errno(-(errno as i32))
}
