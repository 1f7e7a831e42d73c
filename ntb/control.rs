// SPDX-License-Identifier: GPL-2.0

//! The control blocks of a link: ours in RAM, the peer's behind the memory window.
//!
//! Ours is written by the peer at any time, so it is only ever read by volatile loads into local copies. The peer's
//! is only ever written: a read across the bridge costs a round trip, and no part of the channel needs one.

use crate::{
    device::Outbound,
    pci::{
        is_translated,
        with_coherent_mask, //
    },
};
use devlend_bindings as bindings;
use devlend_protocol::{
    CONTROL_SIZE,
    LOW_END, //
};
use kernel::{
    device,
    dma,
    pci,
    prelude::*, //
};

use core::ptr::NonNull;

/// Up to here there is room for a control block where an IOMMU translates: its addresses are its own, and few are in use.
const LOWEST: u64 = 1 << 24;

/// This host's control block.
pub struct OwnBlock(dma::Coherent<[u8; CONTROL_SIZE]>);

// SAFETY: The memory may be read and written from any thread; accesses are volatile.
unsafe impl Send for OwnBlock {}
// SAFETY: As above.
unsafe impl Sync for OwnBlock {}

impl OwnBlock {
    /// Allocates a block that the NTB can reach, as low as there is room: where a memory window shows it that shows memory
    /// from address 0, but not all of it. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(ntb: &pci::Device<device::Bound>) -> Result<Self> {
        let limit = match is_translated(ntb) {
            true => LOWEST,
            false => LOW_END,
        };
        let allocate = || dma::Coherent::zeroed(ntb.as_ref(), GFP_KERNEL);
        // SAFETY: Its driver has the NTB's function for itself but for its one client, which is here.
        let low = unsafe { with_coherent_mask(ntb, limit - 1, allocate) };
        Ok(Self(low.or_else(|_| allocate())?))
    }

    /// The bus address at which the NTB reaches the block.
    pub fn address(&self) -> u64 {
        bindings::series::dma_address(&self.0)
    }

    fn at(&self, offset: usize, length: usize) -> Option<*mut u8> {
        let end = offset.checked_add(length)?;
        // SAFETY: The range lies in the allocation, by the check.
        (end <= CONTROL_SIZE).then(|| unsafe { self.0.as_mut_ptr().cast::<u8>().add(offset) })
    }

    /// Reads a word once. An offset outside the block reads as zero.
    pub fn read(&self, offset: usize) -> u32 {
        self.at(offset, 4)
            .filter(|_| offset % 4 == 0)
            .map_or(0, |word| {
                // SAFETY: In the allocation, and aligned: the block is page-aligned, the offset a multiple of four.
                u32::from_le(unsafe { word.cast::<u32>().read_volatile() })
            })
    }

    /// Sets a word; for the words of a session that has ended.
    pub fn write(&self, offset: usize, value: u32) {
        if let Some(word) = self.at(offset, 4).filter(|_| offset % 4 == 0) {
            // SAFETY: As in `read`.
            unsafe { word.cast::<u32>().write_volatile(value.to_le()) };
        }
    }

    /// Copies bytes out, each read once. A range outside the block copies nothing.
    pub fn copy(&self, offset: usize, out: &mut [u8]) {
        let Some(from) = self.at(offset, out.len()) else {
            return;
        };
        // SAFETY: A barrier has no requirements. The word that says the bytes are there was read before them.
        unsafe { bindings::dma_read_barrier() };
        for (index, byte) in out.iter_mut().enumerate() {
            // SAFETY: The whole range lies in the allocation.
            *byte = unsafe { from.add(index).read_volatile() };
        }
    }
}

/// The peer's control block, through the memory window.
///
/// # Invariants
///
/// `base` maps `CONTROL_SIZE` bytes.
pub struct PeerBlock {
    base: NonNull<u8>,
}

// SAFETY: An I/O mapping may be used and unmapped from any thread.
unsafe impl Send for PeerBlock {}

impl PeerBlock {
    /// Maps the block at `offset` of the window. May sleep.
    ///
    /// # Errors
    ///
    /// `ERANGE`: the block does not lie in the window; `ENOMEM`.
    pub fn new(window: Outbound, offset: u64) -> Result<Self> {
        let end = offset.checked_add(CONTROL_SIZE as u64).ok_or(ERANGE)?;
        if end > window.size {
            return Err(ERANGE);
        }
        let address = window.base.checked_add(offset).ok_or(ERANGE)?;

        // SAFETY: The range lies in a window BAR, which is device memory of this host.
        let base = unsafe { bindings::ioremap(address, CONTROL_SIZE) };

        // INVARIANT: Mapped with that size.
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(ENOMEM)?,
        })
    }

    /// Writes bytes. A range outside the block writes nothing. Does not sleep.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        if offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= CONTROL_SIZE)
        {
            // SAFETY: The range lies in the mapping.
            unsafe {
                bindings::memcpy_toio(
                    self.base.as_ptr().add(offset).cast(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                )
            };
        }
    }

    /// Publishes a word: all that was written before is seen before it. Does not sleep.
    pub fn publish(&mut self, offset: usize, value: u32) {
        if offset % 4 == 0 && offset.checked_add(4).is_some_and(|end| end <= CONTROL_SIZE) {
            // SAFETY: A barrier has no requirements; the word lies in the mapping.
            unsafe {
                bindings::write_barrier();
                bindings::writel(value, self.base.as_ptr().add(offset).cast());
            }
        }
    }
}

impl Drop for PeerBlock {
    fn drop(&mut self) {
        // SAFETY: Mapped by `new`, and unmapped only here.
        unsafe { bindings::iounmap(self.base.as_ptr().cast()) };
    }
}
