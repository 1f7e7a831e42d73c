// SPDX-License-Identifier: GPL-2.0

//! The operations on a control block: who may write its entries, and when they take effect.

use super::super::gas::{BlockId, Role};
use super::super::map::{Fault, Map, DIRECT};
use super::Bridge;
use crate::side::Side;

/// Operations, NTB_CTRL_PART_OP.
const LOCK: u64 = 1;
const CFG: u64 = 2;
const RESET: u64 = 3;
/// NTB_CTRL_PART_STATUS.
const NORMAL: u64 = 1;
const LOCKED: u64 = 2;
const LOCKING: u64 = 3;

/// That there is an error, in an error register.
const ERROR: u64 = 1 << 31;

/// The proxy id of a requester, as device and function.
pub(super) fn proxy(index: usize) -> u64 {
    // CAST: at most 7.
    (0x1e << 3 | 1) + index as u64
}

/// Who may write a control block's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lock {
    holder: Option<Side>,
    waiting: Option<Side>,
}

impl Lock {
    /// `partition_status` as a side sees it.
    pub(super) fn status(&self, side: Side) -> u64 {
        if self.holder == Some(side) {
            LOCKED
        } else if self.waiting == Some(side) {
            LOCKING
        } else {
            NORMAL
        }
    }

    fn take(&mut self, side: Side) {
        match self.holder {
            None => self.holder = Some(side),
            Some(holder) if holder != side => self.waiting = Some(side),
            Some(_) => {}
        }
    }

    /// Gives it up, or stops waiting for it; the other side has it then if it has waited.
    fn release(&mut self, side: Side) {
        if self.holder == Some(side) {
            self.holder = self.waiting.take();
        } else if self.waiting == Some(side) {
            self.waiting = None;
        }
    }
}

impl Bridge {
    /// Whether a side may write an entry of the control block of `owner`.
    pub(super) fn may_enter(&self, side: Side, owner: Side, role: Role, index: usize) -> bool {
        let partition = &self.partitions[owner];
        let there = role != Role::LutEntry || (index as u64) < partition.frame.luts;
        there && partition.lock.holder == Some(side)
    }

    /// A side does an operation on the control block of `owner`.
    pub(super) fn operate(&mut self, side: Side, owner: Side, operation: u64) {
        let lock = &mut self.partitions[owner].lock;
        match operation {
            LOCK => lock.take(side),
            CFG if lock.holder == Some(side) => self.configure(side, owner),
            RESET => self.give_up(side, owner),
            _ => {}
        }
    }

    /// Puts the entries into effect, if they can be had.
    fn configure(&mut self, side: Side, owner: Side) {
        let entries = self.bank(owner, BlockId::Control);
        let made = Map::new(entries, &self.partitions[owner].frame);
        let (bar, lut) = match made {
            Ok(_) => (0, 0),
            Err(Fault::Bar(bar)) => (ERROR | bar as u64, 0),
            Err(Fault::Lut(entry)) => (0, ERROR | entry as u64),
        };
        let entries = self.bank_mut(owner, BlockId::Control);
        entries.set(Role::BarError, 0, bar);
        entries.set(Role::LutError, 0, lut);
        if let Ok(map) = made {
            let entries = entries.clone();
            let partition = &mut self.partitions[owner];
            partition.map = map;
            partition.in_effect = entries;
            partition.lock.release(side);
        }
    }

    /// Takes back what a side has written to the entries of `owner`, and gives up its lock.
    fn give_up(&mut self, side: Side, owner: Side) {
        if self.partitions[owner].lock.holder == Some(side) {
            let entries = self.partitions[owner].in_effect.clone();
            *self.bank_mut(owner, BlockId::Control) = entries;
        }
        self.partitions[owner].lock.release(side);
    }

    /// Forgets the entries of a side whose partition has been reset, its locks, and all entries that lead to it.
    pub(super) fn forget_entries(&mut self, side: Side) {
        for owner in Side::BOTH {
            self.give_up(side, owner);
        }
        let own = &mut self.partitions[side];
        own.in_effect.reset();
        own.map = Map::default();
        self.bank_mut(side, BlockId::Control).reset();

        // All entries of the peer lead here, those that are not in effect yet included.
        let partition = &mut self.partitions[side.peer()];
        for bank in [
            partition.banks.get_mut(BlockId::Control as usize),
            Some(&mut partition.in_effect),
        ]
        .into_iter()
        .flatten()
        {
            for (bar, control) in bank.all(Role::BarControl).to_vec().iter().enumerate() {
                bank.set(Role::BarControl, bar, control & !DIRECT);
            }
            for entry in 0..bank.all(Role::LutEntry).len() {
                bank.set(Role::LutEntry, entry, 0);
            }
        }
        // Without direct windows and LUT entries nothing can be wrong.
        partition.map = Map::new(&partition.in_effect, &partition.frame).unwrap_or_default();
    }
}
