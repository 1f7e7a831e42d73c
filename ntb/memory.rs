// SPDX-License-Identifier: GPL-2.0

//! This host's RAM, and what the kernel copies through where a device does not reach it.
//!
//! C headers: [`include/linux/ioport.h`](srctree/include/linux/ioport.h),
//! [`include/linux/swiotlb.h`](srctree/include/linux/swiotlb.h)

use crate::pci::{
    is_translated,
    raw_dev, //
};
use devlend_bindings as bindings;
use devlend_protocol::{
    BounceBuffers,
    DmaMemory,
    Span,
    LOW_END, //
};
use kernel::{
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    pci::Device, //
};

/// How far RAM reaches.
#[derive(Default)]
pub(crate) struct Ram {
    /// The physical address behind its last byte.
    pub(crate) end: u64,
    /// The same of what is below 4 GiB.
    pub(crate) low_end: u64,
}

impl Ram {
    /// Looks. May sleep.
    ///
    /// RAM that is reserved on the kernel's command line does not count: no driver is ever given it.
    pub(crate) fn of_host() -> Self {
        let mut ram = Self::default();

        // SAFETY: The callback gets `ram`, which lives as long as the call.
        unsafe {
            bindings::walk_iomem_res_desc(
                bindings::IORES_DESC_NONE as c_ulong,
                (bindings::IORESOURCE_SYSTEM_RAM | bindings::IORESOURCE_BUSY) as c_ulong,
                0,
                u64::MAX,
                (&raw mut ram).cast(),
                Some(note),
            )
        };
        ram
    }
}

extern "C" fn note(resource: *mut bindings::resource, ram: *mut c_void) -> c_int {
    // SAFETY: The walk hands a valid resource, and `ram` is the one of `of_host`.
    let (ram, start, end) = unsafe {
        (
            &mut *ram.cast::<Ram>(),
            (*resource).start,
            (*resource).end.saturating_add(1),
        )
    };
    ram.end = ram.end.max(end);
    if start < LOW_END {
        ram.low_end = ram.low_end.max(end.min(LOW_END));
    }
    0
}

/// This host's memory as a device finds it whose accesses come from that NTB. May sleep.
pub fn for_dma(ntb: &Device) -> DmaMemory {
    let dev = raw_dev(ntb);
    let Ram { end, low_end } = Ram::of_host();

    // The buffers are the kernel's, not the device's: a borrowed device has the same.
    let (mut first, mut behind) = (0, 0);
    // SAFETY: `ntb` is valid, and the two places may be written.
    let (exist, grow, always_bounces) = unsafe {
        (
            bindings::device_bounce_buffers(dev, &mut first, &mut behind),
            bindings::device_bounce_buffers_grow(dev),
            bindings::device_always_bounces(dev),
        )
    };
    let buffers = match (exist, grow) {
        (_, true) => BounceBuffers::Growing,
        (true, false) => BounceBuffers::At(Span {
            base: first,
            size: behind.saturating_sub(first),
        }),
        (false, false) => BounceBuffers::None,
    };
    DmaMemory {
        ram_end: end,
        low_end,
        buffers,
        always_bounces,
        translated: is_translated(ntb),
    }
}
