// SPDX-License-Identifier: GPL-2.0

//! The register space: its blocks, what is in each, and where an access lands.

mod bank;
mod control;
mod doorbell;
mod event;
mod flash;
mod info;
mod mrpc;
mod partition;
mod port;
mod register;
mod system;

pub(super) use bank::Bank;
pub use register::Register;
pub(super) use register::{Event, Role};

use super::side_of;
use crate::side::Side;

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockId {
    /// Firmware commands.
    Mrpc,
    /// Events of the switch.
    Event,
    /// What the switch is.
    System,
    /// What its flash memory holds.
    Flash,
    /// A partition's functions and events.
    Partition,
    /// NT partitions.
    Info,
    /// What a partition's windows show.
    Control,
    /// A partition's doorbells and messages.
    Doorbell,
    /// A port function.
    Port,
}

/// A block of registers, or an array of such blocks.
#[derive(Debug)]
pub struct Block {
    /// Which one.
    pub id: BlockId,
    /// Where it is in BAR 0, in bytes.
    pub offset: u64,
    /// Bytes from one to the next.
    pub stride: u64,
    /// Room for how many; 1 where each host sees one of its own. Of the others there are two, by the partitions' numbers.
    pub count: u64,
    /// Its registers. What lies between them reads as zero and ignores writes.
    pub registers: &'static [Register],
}

const fn block(
    id: BlockId,
    offset: u64,
    stride: u64,
    count: u64,
    registers: &'static [Register],
) -> Block {
    Block {
        id,
        offset,
        stride,
        count,
        registers,
    }
}

/// All blocks, in the order of [`BlockId`] and of their offsets.
#[rustfmt::skip]
pub static BLOCKS: [Block; 9] = [
    //    which                offset     stride  count registers
    block(BlockId::Mrpc,       0x00_0000, 0x1000,   1, &mrpc::REGISTERS),
    block(BlockId::Event,      0x00_1800, 0x0800,   1, &event::REGISTERS),
    block(BlockId::System,     0x00_2000, 0x0200,   1, &system::REGISTERS),
    block(BlockId::Flash,      0x00_2200, 0x1e00,   1, &flash::REGISTERS),
    block(BlockId::Partition,  0x00_4000, 0x0400,  48, &partition::REGISTERS),
    block(BlockId::Info,       0x01_0000, 0x4000,   1, &info::REGISTERS),
    block(BlockId::Control,    0x01_4000, 0x2000,  48, &control::REGISTERS),
    block(BlockId::Doorbell,   0x07_4000, 0x4000,  48, &doorbell::REGISTERS),
    block(BlockId::Port,       0x13_4000, 0x1000, 255, &port::REGISTERS),
];

/// A register as an access meets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) block: BlockId,
    /// Whose it is.
    pub(super) owner: Side,
    /// Which row of the block's table.
    pub(super) row: usize,
    pub(super) register: &'static Register,
    /// Which one, if it is an array.
    pub(super) index: usize,
    /// The byte of it that is accessed first.
    pub(super) lane: usize,
    /// How many bytes there are from there on.
    pub(super) room: usize,
}

/// Finds the register that has the byte at `offset` of BAR 0, as `side` sees it.
pub(super) fn find(side: Side, offset: u64) -> Option<Place> {
    let block = BLOCKS.iter().rfind(|block| block.offset <= offset)?;
    let within = offset - block.offset;
    let number = within / block.stride;
    if number >= block.count {
        return None;
    }
    let owner = match block.count {
        1 => side,
        _ => side_of(number)?,
    };
    let within = within % block.stride;
    let (row, register, index, lane) =
        block
            .registers
            .iter()
            .enumerate()
            .find_map(|(row, register)| {
                let (index, lane) = register.at(within)?;
                Some((row, register, index, lane))
            })?;
    Some(Place {
        block: block.id,
        owner,
        row,
        register,
        index,
        lane,
        room: register.size.checked_sub(lane)?,
    })
}

#[cfg(test)]
mod tests;
