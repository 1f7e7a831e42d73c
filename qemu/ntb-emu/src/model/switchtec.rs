// SPDX-License-Identifier: GPL-2.0

//! A Microsemi/Microchip Switchtec PFX 96xG3 switch (11f8:8536) with two partitions and an NT endpoint in each host, as a
//! model without any I/O.
//!
//! Written after what the kernel's `drivers/pci/switch/switchtec.c`, `drivers/ntb/hw/mscc/ntb_hw_switchtec.c` and
//! `include/linux/switchtec.h` expect of the hardware. The primary side is partition 0, the secondary one partition 1.
//!
//! BAR 0 is the GAS, one address space of registers that both hosts see: [`BLOCKS`] lists its blocks, and each block has
//! one table of registers. BAR 2 is the first window: a table of 64 KiB windows (LUT) in its lower half, of at most 512,
//! and a direct window behind them. BAR 4 is the second window, a direct one. What a partition's BARs show is written in
//! *its* control block, by the host whose memory they are to show: LOCK, write the entries, CFG.
//!
//! The driver has no scratchpads in hardware: it shows LUT 0 of each side the other's `struct shared_mw`, which also says
//! whether the link is up. Messages, doorbells and link events only make it look there.
//!
//! Decisions where the drivers leave room or the hardware is not documented:
//!
//! - The lock of a control block belongs to one host. LOCK while the other has it reads as LOCKING until that one's CFG;
//!   both drivers lock both blocks in their probe, possibly at the same time. `partition_status` is therefore what it is
//!   to the host that reads it.
//! - Entries can only be written by the host that has the lock. They take effect with CFG, all or none: if one cannot be
//!   had, the error registers say which, the lock stays, and all is as it was. RESET takes back what was written since
//!   LOCK and gives up the lock.
//! - `bar_error`, `lut_error`: bit 31 says that there is an error, the low bits which BAR or entry is the first wrong one.
//! - Only the low bits of an address come from the BAR's offset, `xlate_pos` of them, so a direct window must begin at a
//!   multiple of 2^`xlate_pos`. If it is larger than that, it shows the same memory again from there on.
//! - Who accesses cannot be known here. The requester id table of a partition must have an enabled entry or nothing gets
//!   through its windows; which entry does not matter. (Hardware drops what comes from a device that is not in the table,
//!   and the driver only enters the root complex: a device of the host could not write through the window.)
//! - The proxy ids are functions 1 to 7 of device 1e: the kernel makes them DMA aliases of the NT endpoint, and no other
//!   device's address may be among them where the endpoint is on a bus with others.
//! - A message that finds the last one unread waits, with `omsg.status` 1, until that one is cleared; one more takes its
//!   place. `imsg.mask` lets a message interrupt, on the vector that `idb_vec_map` has for doorbell 60 and up.
//! - A doorbell or message interrupts when it becomes pending and unmasked, or gets another vector, not again while it
//!   stays so.
//! - A link event interrupts both hosts each time, whether or not the last one was cleared: the driver never clears it.
//! - Each partition has one port function (PFF), its NT endpoint's. Its link is up while its host is there and the cable
//!   is in. Without the cable windows read as ones and doorbells and messages are lost; everything else stays, so the
//!   driver's link comes up again by itself when the cable is back.
//! - A host that vanishes or resets its function leaves its partition as after power-on, and the other one without
//!   windows into it. The driver sets LUT 0 up again when it is told that the peer has started anew.
//! - Firmware commands (MRPC) end at once: ECHO answers, all others are refused as unknown. There is no DMA for them.

mod bridge;
mod gas;
mod map;

pub use bridge::Bridge;
pub use gas::{Block, Register, BLOCKS};

use crate::layout::{BarType, Layout, Msix, WindowBar};
use crate::model::{Family, Window, WindowError};
use crate::pci_config::Identity;
use crate::side::Side;

/// What the function is: the NT endpoint of a PFX 96xG3.
pub const IDENTITY: Identity = Identity {
    vendor: 0x11f8,
    device: 0x8536,
    revision: 0,
    class: 0x06_8000,
};
/// Memory windows of each side.
pub const WINDOWS: usize = 2;
/// Interrupt vectors.
pub const VECTORS: usize = 64;
/// The vector of events, in both partitions.
const EVENT_VECTOR: u32 = 0;
/// Bytes that an entry of a LUT shows, and their logarithm.
pub const LUT_SIZE: u64 = 1 << LUT_SHIFT;
const LUT_SHIFT: u32 = 16;
/// Entries that a LUT can have.
const LUTS: u64 = 512;

/// The number of a side's partition.
fn partition(side: Side) -> u64 {
    match side {
        Side::Primary => 0,
        Side::Secondary => 1,
    }
}

/// The side whose partition has a number.
fn side_of(partition: u64) -> Option<Side> {
    Side::BOTH
        .into_iter()
        .find(|side| self::partition(*side) == partition)
}

/// How many LUT entries fit into the lower half of a BAR 2 of `size` bytes.
fn luts(size: u64) -> u64 {
    (size / 2 / LUT_SIZE).min(LUTS)
}

fn layout(windows: &[Window]) -> Result<Layout, WindowError> {
    let family = Family::Switchtec;
    let [first, second] = windows else {
        return Err(WindowError::Count {
            family,
            needed: WINDOWS,
            given: windows.len(),
        });
    };
    if first.direct {
        return Err(WindowError::Direct { family, window: 0 });
    }
    if first.size < 2 * LUT_SIZE {
        return Err(WindowError::Size {
            family,
            window: 0,
            size: first.size,
            why: "at least 128K, half of it in entries of 64K",
        });
    }
    let bar = |index, window: &Window| WindowBar {
        index,
        size: window.size,
        kind: BarType::Prefetchable64,
    };
    Ok(Layout {
        registers: 4 << 20,
        registers_kind: BarType::Memory64,
        windows: vec![bar(2, first), bar(4, second)],
        // Where partition 0 has them in the GAS. A layout is the same on both sides, and nobody looks there.
        msix: Msix {
            vectors: VECTORS,
            table: 0x7_6000,
            pending: 0x7_7000,
        },
    })
}
