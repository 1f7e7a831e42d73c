// SPDX-License-Identifier: GPL-2.0

//! The values of one block's registers.

use super::{Block, Register, Role};

/// The values of one block's registers.
#[derive(Clone, Debug)]
pub(in super::super) struct Bank {
    registers: &'static [Register],
    values: Vec<Vec<u64>>,
}

impl Bank {
    /// As after a reset.
    pub(in super::super) fn new(block: &Block) -> Self {
        let registers = block.registers;
        let values = registers
            .iter()
            .map(|register| vec![register.reset; register.count])
            .collect();
        Self { registers, values }
    }

    /// Back to the values of a reset.
    pub(in super::super) fn reset(&mut self) {
        for (values, register) in self.values.iter_mut().zip(self.registers) {
            values.fill(register.reset);
        }
    }

    /// The value of a register by its row.
    pub(in super::super) fn value(&self, row: usize, index: usize) -> u64 {
        let values = self.values.get(row);
        values
            .and_then(|values| values.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// The register in a row, to be changed.
    pub(in super::super) fn slot(&mut self, row: usize, index: usize) -> Option<&mut u64> {
        self.values.get_mut(row)?.get_mut(index)
    }

    /// The values of all registers with a role that only one row has.
    pub(in super::super) fn all(&self, role: Role) -> &[u64] {
        let row = self.row(role);
        row.and_then(|row| self.values.get(row))
            .map_or(&[], Vec::as_slice)
    }

    /// The value of a register with a role that only one row has.
    pub(in super::super) fn get(&self, role: Role, index: usize) -> u64 {
        self.all(role).get(index).copied().unwrap_or(0)
    }

    /// Sets a register with a role that only one row has.
    pub(in super::super) fn set(&mut self, role: Role, index: usize, value: u64) {
        let row = self.row(role);
        if let Some(slot) = row.and_then(|row| self.slot(row, index)) {
            *slot = value;
        }
    }

    fn row(&self, role: Role) -> Option<usize> {
        self.registers
            .iter()
            .position(|register| register.role == role)
    }
}
