// SPDX-License-Identifier: GPL-2.0

//! A fake PCI host bridge: one function of another machine, shown to this kernel as if it were local.
//!
//! [`RootBus`] is the whole of it: a PCI domain of its own with one bus and, on it, the one function that a
//! [`ConfigOps`] answers for. The function's BARs lie in a part of an NTB memory window ([`WindowBar`]), its DMA goes
//! through another ([`DmaWindow`]), and its interrupt messages are rewritten to reach us through a third. Once a driver
//! is bound, nothing here is in the data path, unless the driver uses INTx ([`IntxOps`]).
//!
//! All that is unsafe about this is in this crate; its users are safe Rust.
//!
//! C headers: [`include/linux/pci.h`](srctree/include/linux/pci.h), [`include/linux/msi.h`](srctree/include/linux/msi.h),
//! [`include/linux/ioport.h`](srctree/include/linux/ioport.h).

mod address;
mod bridge;
mod config;
mod dma;
mod intx;
mod msi;
mod notifier;
mod rescan;
mod root_bus;
mod virtio;
mod window;

pub use self::{
    address::Address,
    config::ConfigOps,
    dma::DmaWindow,
    intx::IntxOps,
    root_bus::{
        Description,
        Removal,
        RootBus, //
    },
    virtio::MemoryRestriction,
    window::WindowBar, //
};

/// A library has no `module!`, which would define this; it is linked into `devlend_borrower`.
const __LOG_PREFIX: &[u8] = b"devlend_borrower\0";
