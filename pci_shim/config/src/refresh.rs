// SPDX-License-Identifier: GPL-2.0

//! What the borrower sees at the moment, as far as the lender can tell.

use crate::{
    bytes::{
        get32,
        put, //
    },
    policy::Policy,
};

impl Policy {
    /// Lender: brings the image that the borrower began with up to date. `read` reads the device's dword at an offset.
    ///
    /// Only registers are read whose bits change by themselves or by the borrower's writes. What the borrower has written
    /// into its shadow alone is not known here: those bits stay as they were at first.
    pub fn refresh(&self, image: &mut [u8], mut read: impl FnMut(u16) -> u32) {
        for (at, bits) in self.dwords_with(|rule| rule.through | rule.live) {
            if let Some(old) = get32(image, at.into()) {
                let new = old & !bits | read(at) & bits;
                put(image, at.into(), &new.to_le_bytes());
            }
        }
    }
}
