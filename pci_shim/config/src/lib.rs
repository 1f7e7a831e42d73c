// SPDX-License-Identifier: GPL-2.0

//! The configuration space of a lent device: what the borrower sees, and what its writes may do.
//!
//! The lender makes an image of the device's configuration space with [`present`]: base addresses real, only
//! understood capabilities listed, and an interrupt pin only if the lender relays INTx. The borrower keeps the image as its shadow. Both build the same
//! [`Policy`] from it, which says for each bit whether it is fixed, lives in the shadow, or is the device's business.
//! The borrower asks the policy what to forward, the lender asks it what to admit: neither trusts the other.
//!
//! Only the first 256 bytes have bits that can be written; the extended space is read from the image.

#![cfg_attr(not(any(CONFIG_RUST, test)), no_std)]
#![forbid(unsafe_code)]

mod bar;
mod bytes;
mod capability;
mod interrupts;
mod intx;
mod malformed;
pub mod msi;
mod policy;
mod present;
mod refresh;
mod register;
mod regs;
mod saved;
mod virtual_function;

#[cfg(test)]
mod test_device;
#[cfg(test)]
mod tests;

pub use self::{
    bar::{
        check_bars,
        Bar,
        BarFlags, //
    },
    interrupts::Interrupts,
    intx::IntxGate,
    malformed::Malformed,
    policy::{
        Policy,
        Read,
        Write, //
    },
    present::present,
    saved::Saved,
    virtual_function::VirtualFunction, //
};

/// Size of a conventional configuration space, bytes.
pub const CONFIG_SIZE: usize = 256;

/// Size of an extended configuration space, bytes.
pub const EXTENDED_SIZE: usize = 4096;
