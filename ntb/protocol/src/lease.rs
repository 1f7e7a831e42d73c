// SPDX-License-Identifier: GPL-2.0

//! The lender's state machine of one offered device.
//!
//! ```text
//!           open             end
//! Offered -------> Lent -----------> Unclean
//!    ^                                ^   |
//!    |               cleaned, in vain |   | clean
//!    |                                |   v
//!    +------------------------------ Cleaning
//!                cleaned
//! ```
//!
//! An error that cuts the device off ends its lease, and makes it Recovering from whatever it was until others have reset it.
//! Besides, the lender may want the device back: from then on nobody opens it, and its holder is asked to return it.
//!
//! Each lease has an epoch that no lease of this host had before, whichever device it is of. Messages name only the
//! epoch: so they find their device, and what is left in a ring from an old lease finds none.

use core::{
    fmt,
    num::NonZeroU32, //
};

use crate::status::Status;

/// Tells the leases of one lender apart; on the wire 0 stands for "none".
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

/// What has to be done before somebody can have the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Condition {
    /// Nothing.
    #[default]
    Clean,
    /// It has to be reset after a lease of that peer; [`None`]: which is gone.
    Unclean(Option<u32>),
    /// Somebody resets it after such a lease.
    Cleaning(Option<u32>),
    /// It has had an error, and others reset it.
    Recovering,
}

/// The lease of one offered device; by default nobody has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    holder: Option<Holder>,
    condition: Condition,
    wanted: bool,
}

impl Lease {
    /// Who has the device.
    pub const fn holder(&self) -> Option<Holder> {
        self.holder
    }

    /// Whether `peer` has the device.
    pub fn is_held_by(&self, peer: u32) -> bool {
        self.holder.is_some_and(|holder| holder.peer == peer)
    }

    /// Whether it can be opened.
    pub const fn is_free(&self) -> bool {
        self.holder.is_none() && matches!(self.condition, Condition::Clean) && !self.wanted
    }

    /// Whether `peer` can open it: its own lease ends then, and what is unclean is reset first.
    pub fn is_free_for(&self, peer: u32) -> bool {
        self.is_free() || ((self.is_held_by(peer) || self.is_unclean_for(peer)) && !self.wanted)
    }

    /// Whether it is to be reset, and `peer` may have that done.
    fn is_unclean_for(&self, peer: u32) -> bool {
        match self.condition {
            Condition::Unclean(last) => last.is_none_or(|last| last == peer),
            _ => false,
        }
    }

    /// Gives the lease to `peer`, with the epoch that follows `after`: the latest of all devices of this host.
    ///
    /// # Errors
    ///
    /// [`Status::Taken`] while somebody has it, the same peer too, and until it is clean; [`Status::Gone`] when the epochs are used up.
    pub fn open(&mut self, peer: u32, after: u32) -> Result<Epoch, Status> {
        if !self.is_free() {
            return Err(Status::Taken);
        }
        let next = after.checked_add(1).ok_or(Status::Gone)?;
        let epoch = Epoch::try_from(next)?;
        self.holder = Some(Holder { epoch, peer });
        Ok(epoch)
    }

    /// Whether a message of `peer` that names `epoch` belongs to the present lease.
    ///
    /// # Errors
    ///
    /// [`Status::Stale`] if not.
    pub fn check(&self, epoch: u32, peer: u32) -> Result<(), Status> {
        match self.holder {
            Some(holder) if holder.epoch.get() == epoch && holder.peer == peer => Ok(()),
            _ => Err(Status::Stale),
        }
    }

    /// Ends the lease whatever the holder thinks; returns who that was. The device then has to be reset.
    pub fn end(&mut self) -> Option<Holder> {
        let holder = self.holder.take();
        if let Some(Holder { peer, .. }) = holder {
            self.condition = Condition::Unclean(Some(peer));
        }
        holder
    }

    /// Whether the device is being reset after its lease.
    pub const fn is_cleaning(&self) -> bool {
        matches!(self.condition, Condition::Cleaning(_))
    }

    /// The device is to be reset after a lease of `peer`: by the caller, if this is true.
    #[must_use]
    pub fn clean(&mut self, peer: u32) -> bool {
        let is_due = matches!(self.condition, Condition::Unclean(last) if last == Some(peer));
        if is_due {
            self.condition = Condition::Cleaning(Some(peer));
        }
        is_due
    }

    /// `peer` wants to open the device: if that is to be reset after a lease of somebody who is gone, it is to be reset after one of
    /// `peer`'s.
    pub fn adopt(&mut self, peer: u32) {
        if matches!(self.condition, Condition::Unclean(None)) {
            self.condition = Condition::Unclean(Some(peer));
        }
    }

    /// `peer` is gone for good: what is still to be reset after its lease, whoever opens it has reset. False if there is nothing.
    pub fn forget(&mut self, peer: u32) -> bool {
        match &mut self.condition {
            Condition::Unclean(last) | Condition::Cleaning(last) if *last == Some(peer) => {
                *last = None;
                true
            }
            _ => false,
        }
    }

    /// Who was to reset the device has done so, or has tried in vain. False if others are at it.
    pub fn cleaned(&mut self, is_clean: bool) -> bool {
        match self.condition {
            Condition::Cleaning(_) if is_clean => self.condition = Condition::Clean,
            Condition::Cleaning(peer) => self.condition = Condition::Unclean(peer),
            _ => return false,
        }
        true
    }

    /// The device is cut off by an error, and reset by others: ends the lease as [`end`](Self::end) does, and nobody opens it.
    pub fn cut_off(&mut self) -> Option<Holder> {
        self.condition = Condition::Recovering;
        self.holder.take()
    }

    /// Others have reset the device after an error.
    pub fn recovered(&mut self) {
        if matches!(self.condition, Condition::Recovering) {
            self.condition = Condition::Clean;
        }
    }

    /// The lender wants the device: nobody opens it any more. False if that is so already.
    pub fn want(&mut self) -> bool {
        !core::mem::replace(&mut self.wanted, true)
    }

    /// Whether the lender wants the device.
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// The lender does not want it after all.
    pub fn unwant(&mut self) {
        self.wanted = false;
    }
}

#[cfg(test)]
mod tests;
