// SPDX-License-Identifier: GPL-2.0

//! What differs between the kernel series that devlend builds for, 7.2 and 7.3: the one place that asks for the version.
//!
//! `Kbuild` sets `devlend_since_7_3` for 7.3 and later. `docs/kernels.md` says how to bring up a new series.

use kernel::{
    dma::{
        Coherent,
        DmaAddress, //
    },
    ptr::KnownSize,
    sync::barrier, //
};

#[cfg(not(devlend_since_7_3))]
mod constants {
    pub use crate::raw::{
        dma_data_direction_DMA_BIDIRECTIONAL as DMA_BIDIRECTIONAL,
        irqreturn_IRQ_HANDLED as IRQ_HANDLED,
        irqreturn_IRQ_NONE as IRQ_NONE, //
    };
}

// Linux 7.3 makes these enums types of their own (rust/bindgen_parameters).
#[cfg(devlend_since_7_3)]
mod constants {
    use crate::raw::{
        dma_data_direction,
        irqreturn, //
    };

    pub const DMA_BIDIRECTIONAL: dma_data_direction = dma_data_direction::DMA_BIDIRECTIONAL;
    pub const IRQ_HANDLED: irqreturn = irqreturn::IRQ_HANDLED;
    pub const IRQ_NONE: irqreturn = irqreturn::IRQ_NONE;
}

pub use constants::*;

/// The bus address of a coherent allocation.
pub fn dma_address<T: KnownSize + ?Sized>(memory: &Coherent<T>) -> DmaAddress {
    #[cfg(not(devlend_since_7_3))]
    return memory.dma_handle();
    #[cfg(devlend_since_7_3)]
    memory.dma_address()
}

/// Orders all accesses to memory before it against all that come after it, as other processors see them: `smp_mb()` of C.
pub fn full_barrier() {
    #[cfg(not(devlend_since_7_3))]
    barrier::smp_mb();
    #[cfg(devlend_since_7_3)]
    barrier::smp_mb(barrier::Full);
}

/// What `kernel::pci::Driver::probe` is told of the entry of the driver's table that has matched.
#[cfg(not(devlend_since_7_3))]
pub type IdInfo<'a, T> = &'a T;
/// What `kernel::pci::Driver::probe` is told of the entry of the driver's table that has matched.
#[cfg(devlend_since_7_3)]
pub type IdInfo<'a, T> = Option<&'a T>;

/// `kernel::pci_device_table!` for a driver without data in its table: the table's name, and the entries' ids.
#[cfg(not(devlend_since_7_3))]
#[macro_export]
macro_rules! pci_device_table {
    ($table:ident, [$($id:expr),+ $(,)?]) => {
        ::kernel::pci_device_table!($table, MODULE_TABLE, (), [$(($id, ())),+]);
    };
}
/// `kernel::pci_device_table!` for a driver without data in its table: the table's name, and the entries' ids.
#[cfg(devlend_since_7_3)]
#[macro_export]
macro_rules! pci_device_table {
    ($table:ident, [$($id:expr),+ $(,)?]) => {
        ::kernel::pci_device_table!($table, (), [$(($id, ())),+]);
    };
}
