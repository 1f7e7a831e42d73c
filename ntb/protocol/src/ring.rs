// SPDX-License-Identifier: GPL-2.0

//! The control block: request ring, reply slots and their indices.
//!
//! Each host owns one control block in its own RAM. The peer writes it, by posted writes through the memory window;
//! the owner only reads it. So nobody ever waits for a read across the bridge. A host *sends* a request into the
//! peer's block (slot first, then [`PRODUCER`]) and learns from [`CONSUMED`] in its own block how many of them the peer
//! has taken out. A reply goes into the requester's block, into the slot of the request's tag, its sequence number last.
//!
//! The indices run free and wrap at 2^32, a multiple of the ring size; slots are found modulo the ring size.

use core::fmt;

/// Size of a request or reply slot, bytes; the largest message with its header.
pub const SLOT_SIZE: usize = 512;

/// Slots of the request ring; a power of two, so that free-running indices may wrap.
pub const REQUEST_SLOTS: u32 = 32;

/// Reply slots, one per request that may be waiting for its reply.
pub const REPLY_SLOTS: u16 = 16;

/// Offset of the `u32` in which the peer counts the requests it has written.
pub const PRODUCER: usize = 0;

/// Offset of the `u32` in which the peer counts *our* requests it has taken out of *its* block. On another cache
/// line than [`PRODUCER`], since the two are written at different moments.
pub const CONSUMED: usize = 64;

/// Offset of the request ring.
pub const REQUESTS: usize = 4096;

/// Offset of the reply slots.
pub const REPLIES: usize = REQUESTS + REQUEST_SLOTS as usize * SLOT_SIZE;

/// Size of a control block, bytes; whole pages.
pub const CONTROL_SIZE: usize = REPLIES + REPLY_SLOTS as usize * SLOT_SIZE;

const _: () = assert!(REQUEST_SLOTS.is_power_of_two());
const _: () = assert!(CONTROL_SIZE % 4096 == 0);
const _: () = assert!(CONSUMED + 4 <= REQUESTS && CONSUMED / 64 != PRODUCER / 64);
const _: () = assert!(REPLY_SLOTS as u32 == u16::BITS);

/// Offset of the slot that request `index` lies in; any index is good.
pub const fn request_slot(index: u32) -> usize {
    // CAST: below `REQUEST_SLOTS`.
    REQUESTS + (index % REQUEST_SLOTS) as usize * SLOT_SIZE
}

/// Offset of the slot the reply to `tag` lies in.
pub const fn reply_slot(tag: Tag) -> usize {
    REPLIES + tag.index() * SLOT_SIZE
}

/// A peer's index that cannot be: it is further from ours than the ring is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// Our index.
    pub ours: u32,
    /// What the peer wrote.
    pub theirs: u32,
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ring index {:#x} is out of reach of {:#x}",
            self.theirs, self.ours
        )
    }
}

/// Our place in the ring of requests the peer writes to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// Index of the next request to take out.
    pub next: u32,
}

impl Consumer {
    /// At the start of a fresh control block.
    pub const fn new() -> Self {
        Self { next: 0 }
    }

    /// How many requests are there to take out, 0 to [`REQUEST_SLOTS`], given the value at [`PRODUCER`].
    ///
    /// # Errors
    ///
    /// [`Overrun`] when the peer claims more than the ring holds, or to have gone back.
    pub const fn pending(&self, producer: u32) -> Result<u32, Overrun> {
        let pending = producer.wrapping_sub(self.next);
        if pending > REQUEST_SLOTS {
            return Err(Overrun {
                ours: self.next,
                theirs: producer,
            });
        }
        Ok(pending)
    }

    /// Counts one request as taken out; [`Consumer::next`] is then what the peer should find at its [`CONSUMED`].
    pub fn advance(&mut self) {
        self.next = self.next.wrapping_add(1);
    }
}

/// Our place in the ring of requests we write to the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    /// Index of the next request to write.
    pub next: u32,
}

impl Producer {
    /// At the start of the peer's fresh control block.
    pub const fn new() -> Self {
        Self { next: 0 }
    }

    /// How many requests may be written now, 0 to [`REQUEST_SLOTS`], given the value at our [`CONSUMED`].
    ///
    /// # Errors
    ///
    /// [`Overrun`] when the peer claims to have taken out more than we wrote, or to have put some back.
    pub const fn space(&self, consumed: u32) -> Result<u32, Overrun> {
        match REQUEST_SLOTS.checked_sub(self.next.wrapping_sub(consumed)) {
            Some(space) => Ok(space),
            None => Err(Overrun {
                ours: self.next,
                theirs: consumed,
            }),
        }
    }

    /// Counts one request as written; [`Producer::next`] is then what goes to the peer's [`PRODUCER`].
    pub fn advance(&mut self) {
        self.next = self.next.wrapping_add(1);
    }
}

/// Names a request that waits for its reply, and so a reply slot.
///
/// # Invariants
///
/// The value is below [`REPLY_SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u16);

impl Tag {
    /// The number of the reply slot, below [`REPLY_SLOTS`].
    pub const fn index(self) -> usize {
        // CAST: widening; `usize::from` is not const.
        self.0 as usize
    }

    const fn bit(self) -> u16 {
        // PANIC: by the type invariant the shift is below the width of the type.
        1 << self.0
    }
}

impl From<Tag> for u16 {
    fn from(tag: Tag) -> u16 {
        tag.0
    }
}

impl TryFrom<u16> for Tag {
    /// The value that names no reply slot.
    type Error = u16;

    fn try_from(value: u16) -> Result<Self, u16> {
        if value >= REPLY_SLOTS {
            return Err(value);
        }
        // INVARIANT: just checked.
        Ok(Tag(value))
    }
}

/// Which tags are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags(u16);

impl Tags {
    /// All tags free.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Takes the lowest free tag; `None` when [`REPLY_SLOTS`] requests are waiting already.
    pub fn alloc(&mut self) -> Option<Tag> {
        // CAST: at most 16.
        let tag = Tag::try_from(self.0.trailing_ones() as u16).ok()?;
        self.0 |= tag.bit();
        Some(tag)
    }

    /// Gives a tag back; says whether it was in use.
    pub fn free(&mut self, tag: Tag) -> bool {
        let used = self.is_used(tag);
        self.0 &= !tag.bit();
        used
    }

    /// Whether a request with this tag is waiting: a reply to any other is refused.
    pub const fn is_used(&self, tag: Tag) -> bool {
        self.0 & tag.bit() != 0
    }

    /// How many tags are in use.
    pub const fn used(&self) -> u32 {
        self.0.count_ones()
    }
}

#[cfg(test)]
mod tests;
