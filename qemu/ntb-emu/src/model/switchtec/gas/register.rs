// SPDX-License-Identifier: GPL-2.0

//! A row of a block's table.

/// What a register does beyond holding its value. Where an array of registers has a role, each of them has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Role {
    /// Nothing.
    Plain,
    /// The number of the partition that reads it.
    PartitionNumber,
    /// The number of the partition whose block it is.
    PartitionOwner,
    /// The partitions that one can reach, one a bit; by its number.
    TargetPartitions,
    /// A firmware command's input.
    MrpcInput,
    /// A firmware command's output.
    MrpcOutput,
    /// The firmware command to carry out.
    MrpcCommand,
    /// How it went.
    MrpcStatus,
    /// What it returned.
    MrpcReturn,
    /// An event's header.
    EventHeader(Event),
    /// Partitions that have an event, one a bit.
    PartitionBitmap,
    /// A partition's events, one a bit.
    PartitionSummary,
    /// A port function's events, one a bit.
    PortSummary,
    /// A port's speed and width.
    LinkStatus,
    /// How the last operation on a control block went.
    Status,
    /// The operation to carry out on a control block.
    Operation,
    /// The first BAR that could not be had.
    BarError,
    /// The first LUT entry that could not be had.
    LutError,
    /// How many LUT entries there are.
    LutEntries,
    /// What a BAR is and which of its parts are open.
    BarControl,
    /// Low half of a direct window's size, and how many bits of an address come from the offset.
    WindowSize,
    /// High half of a direct window's size.
    WindowSizeHigh,
    /// Where a direct window leads: address and partition.
    WindowTarget,
    /// A requester that may pass, and the id that it has on the other side.
    Requester,
    /// Where a LUT entry leads: address and partition.
    LutEntry,
    /// Rings doorbells.
    DoorbellRing,
    /// Doorbells that may be rung.
    DoorbellAllowed,
    /// Doorbells rung; ones clear.
    DoorbellPending,
    /// Doorbells that interrupt.
    DoorbellEnabled,
    /// The vector of a doorbell; the last four are those of messages.
    DoorbellVector,
    /// Where each message goes.
    MessageMap,
    /// Sends a message.
    MessageOut,
    /// Whether it waits.
    MessageOutStatus,
    /// The last message.
    MessageIn,
    /// Whether it is unread; one clears.
    MessageInStatus,
    /// Whether messages interrupt.
    MessageInEnabled,
    /// The partition it came from.
    MessageInSource,
}

/// The events that happen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Event {
    /// A firmware command has ended.
    MrpcDone,
    /// A port's link went up or down.
    LinkState,
}

/// A register, or an array of registers.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// The kernel's name for it.
    pub name: &'static str,
    /// Where it is in its block, in bytes.
    pub offset: u64,
    /// Its bytes: 1, 2, 4 or 8.
    pub size: usize,
    /// How many there are.
    pub count: usize,
    /// Bytes from one to the next.
    pub stride: u64,
    /// Value after a reset.
    pub reset: u64,
    /// Bits that the partition whose block it is can change.
    pub own: u64,
    /// Bits that the other partition can change.
    pub peer: u64,
    pub(in super::super) role: Role,
}

impl Register {
    /// Which of an array, and which byte of it, is at this offset of the block.
    pub(super) fn at(&self, offset: u64) -> Option<(usize, usize)> {
        let within = offset.checked_sub(self.offset)?;
        let index = usize::try_from(within / self.stride).ok()?;
        let lane = usize::try_from(within % self.stride).ok()?;
        (index < self.count && lane < self.size).then_some((index, lane))
    }
}

/// One register.
pub(super) const fn one(
    name: &'static str,
    offset: u64,
    size: usize,
    reset: u64,
    own: u64,
    peer: u64,
    role: Role,
) -> Register {
    array(name, offset, size, [1, size as u64], reset, own, peer, role)
}

/// One register that cannot be written and does nothing else.
pub(super) const fn constant(name: &'static str, offset: u64, size: usize, reset: u64) -> Register {
    one(name, offset, size, reset, 0, 0, Role::Plain)
}

/// An array of registers, so many and so far apart.
#[allow(clippy::too_many_arguments)]
pub(super) const fn array(
    name: &'static str,
    offset: u64,
    size: usize,
    [count, stride]: [u64; 2],
    reset: u64,
    own: u64,
    peer: u64,
    role: Role,
) -> Register {
    Register {
        name,
        offset,
        size,
        count: count as usize,
        stride,
        reset,
        own,
        peer,
        role,
    }
}

/// The header of an event that does not happen here.
pub(super) const fn unsupported(name: &'static str, offset: u64) -> Register {
    constant(name, offset, 4, 1 << 31)
}

/// All bits of a register of 1, 4 or 8 bytes.
pub(super) const A1: u64 = 0xff;
pub(super) const A4: u64 = 0xffff_ffff;
pub(super) const A8: u64 = u64::MAX;
