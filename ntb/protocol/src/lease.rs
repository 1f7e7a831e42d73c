// SPDX-License-Identifier: GPL-2.0

//! The lender's state machine of one offered device.
//!
//! ```text
//!           open                 revoke
//! Offered -------> Lent -----------------> Revoking
//!    ^              |  clunk, end             |  clunk, end
//!    +--------------+-------------------------+
//! ```
//!
//! While a lease is being revoked its holder still reaches the device, to leave it in order; nobody can open it. Each
//! lease has an epoch that no lease of this device had before, so what is left in a ring from an old one is refused.

use core::{
    fmt,
    num::NonZeroU32, //
};

use crate::status::Status;

/// Tells the leases of one device apart; on the wire 0 stands for "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(NonZeroU32);

impl Epoch {
    /// The number, not 0.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<Epoch> for u32 {
    fn from(epoch: Epoch) -> u32 {
        epoch.get()
    }
}

impl TryFrom<u32> for Epoch {
    /// 0 is no epoch: such a message belongs to no lease.
    type Error = Status;

    fn try_from(value: u32) -> Result<Self, Status> {
        NonZeroU32::new(value).map(Epoch).ok_or(Status::Stale)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who has the lease, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The lease.
    pub epoch: Epoch,
    /// The peer, by the number the caller gave it.
    pub peer: u32,
}

/// Where an offered device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Nobody has it.
    Offered,
    /// Somebody has it.
    Lent(Holder),
    /// Somebody has it and was asked to give it back.
    Revoking(Holder),
}

/// The lease of one offered device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    state: LeaseState,
    /// Epoch of the latest lease, 0 before the first.
    last: u32,
}

impl Lease {
    /// An offered device whose earlier leases had epochs up to `last` (0: there were none).
    ///
    /// A device that is offered anew needs the [`Lease::last`] of before, or stale messages could pass for fresh ones.
    pub const fn new(last: u32) -> Self {
        Self {
            state: LeaseState::Offered,
            last,
        }
    }

    /// Where the device stands.
    pub const fn state(&self) -> LeaseState {
        self.state
    }

    /// Epoch of the latest lease, 0 before the first.
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// Who has the device, revoked or not.
    pub const fn holder(&self) -> Option<Holder> {
        match self.state {
            LeaseState::Offered => None,
            LeaseState::Lent(holder) | LeaseState::Revoking(holder) => Some(holder),
        }
    }

    /// Gives the lease to `peer`.
    ///
    /// # Errors
    ///
    /// [`Status::Taken`] while somebody has it, the same peer too; [`Status::Gone`] when the epochs are used up.
    pub fn open(&mut self, peer: u32) -> Result<Epoch, Status> {
        if self.holder().is_some() {
            return Err(Status::Taken);
        }
        let next = self.last.checked_add(1).ok_or(Status::Gone)?;
        let epoch = Epoch::try_from(next)?;
        self.last = next;
        self.state = LeaseState::Lent(Holder { epoch, peer });
        Ok(epoch)
    }

    /// Whether a message of `peer` that names `epoch` belongs to the present lease.
    ///
    /// # Errors
    ///
    /// [`Status::Stale`] if not.
    pub fn check(&self, epoch: u32, peer: u32) -> Result<(), Status> {
        match self.holder() {
            Some(holder) if holder.epoch.get() == epoch && holder.peer == peer => Ok(()),
            _ => Err(Status::Stale),
        }
    }

    /// Takes the lease back from the peer that returns it; it is Offered again.
    ///
    /// # Errors
    ///
    /// [`Status::Stale`] if it is not that peer's, or an earlier one.
    pub fn clunk(&mut self, epoch: u32, peer: u32) -> Result<(), Status> {
        self.check(epoch, peer)?;
        self.state = LeaseState::Offered;
        Ok(())
    }

    /// Begins to take the lease back; returns the holder who has to be told, `None` if there is none or the holder
    /// knows already.
    pub fn revoke(&mut self) -> Option<Holder> {
        let LeaseState::Lent(holder) = self.state else {
            return None;
        };
        self.state = LeaseState::Revoking(holder);
        Some(holder)
    }

    /// Ends the lease whatever the holder thinks; returns who that was.
    pub fn end(&mut self) -> Option<Holder> {
        let holder = self.holder();
        self.state = LeaseState::Offered;
        holder
    }

    /// Ends the lease if `peer` has it, because `peer` is lost; returns the holder that was.
    pub fn lose(&mut self, peer: u32) -> Option<Holder> {
        self.holder().filter(|holder| holder.peer == peer)?;
        self.end()
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self::new(0)
    }
}

#[cfg(test)]
mod tests;
