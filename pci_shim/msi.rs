// SPDX-License-Identifier: GPL-2.0

//! Interrupt messages: an MSI parent domain between the function and this host's own.
//!
//! The platform's domain (the vector domain, or interrupt remapping) composes a message with one of our addresses. The
//! real function writes it on the lender's bus, where the window onto our message range is. So the address is changed
//! at the one place where every message passes on its way to the function: the `irq_write_msi_msg` of the per-device
//! chip, which the PCI core makes anew for each device and lets its parent domain adjust. The data word is left alone.
//!
//! A function whose MSI capability has a 32-bit address only cannot use a window above 4 GiB. The PCI core finds that
//! out itself when it verifies the messages (`msi_verify_entries`), before it enables MSI.
//!
//! C headers: [`include/linux/msi.h`](srctree/include/linux/msi.h),
//! [`include/linux/irqdomain.h`](srctree/include/linux/irqdomain.h).

use core::{
    mem,
    ptr::{
        self,
        NonNull, //
    },
};
use devlend_bindings as bindings;
use kernel::{
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

type WriteMessage = unsafe extern "C" fn(*mut bindings::irq_data, *mut kernel::bindings::msi_msg);

/// `struct msi_msg`: the low and the high half of the address, and the data, each of them a union of one word with
/// its meaning on this architecture.
type Words = [u32; 3];

static_assert!(size_of::<Words>() == size_of::<bindings::msi_msg>());

/// The MSI parent domain of one bridge.
///
/// Must be dropped after all devices that use it are gone.
pub(crate) struct ParentDomain {
    domain: NonNull<bindings::irq_domain>,
    /// Referenced by `domain`; freed after it.
    _shared: KBox<Shared>,
}

// SAFETY: An interrupt domain may be removed by any task.
unsafe impl Send for ParentDomain {}

/// What the domain's callbacks need; `irq_domain::host_data`.
struct Shared {
    parent_ops: bindings::msi_parent_ops,
    /// The lender's bus address of our message range.
    base: u64,
    /// How the PCI core writes a message to a device; a [`WriteMessage`], or null before the first device.
    write: Atomic<*mut c_void>,
}

impl ParentDomain {
    /// Creates a parent domain above the one `pdev` uses itself.
    ///
    /// `id` makes its name unique, `base` is the lender's bus address of this host's message range.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the NTB has no MSI parent domain.
    ///
    /// # Safety
    ///
    /// `pdev` must be a valid device.
    pub(crate) unsafe fn new(pdev: *mut bindings::pci_dev, id: u32, base: u64) -> Result<Self> {
        // SAFETY: By the safety requirements. The domain, if there is one, is the platform's and lives on.
        let (parent, supported_flags) = unsafe {
            let parent = bindings::dev_get_msi_domain(&raw mut (*pdev).dev);
            if parent.is_null() || (*parent).flags & bindings::IRQ_DOMAIN_FLAG_MSI_PARENT == 0 {
                return Err(ENODEV);
            }
            (parent, (*parent_ops(parent)).supported_flags)
        };

        let shared = KBox::new(
            Shared {
                parent_ops: bindings::msi_parent_ops {
                    supported_flags,
                    bus_select_token: bindings::irq_domain_bus_token_DOMAIN_BUS_NEXUS,
                    bus_select_mask: 1 << bindings::irq_domain_bus_token_DOMAIN_BUS_PCI_MSI,
                    prefix: c"devlend-".as_char_ptr(),
                    init_dev_msi_info: Some(init_dev_msi_info),
                    ..pin_init::zeroed()
                },
                base,
                write: Atomic::new(ptr::null_mut()),
            },
            GFP_KERNEL,
        )?;

        // SAFETY: The name is copied.
        let fwnode = unsafe {
            bindings::__irq_domain_alloc_fwnode(
                bindings::IRQCHIP_FWNODE_NAMED_ID,
                // CAST: Domain numbers are below `c_int::MAX`, and it is for the name only.
                id as c_int,
                c"devlend-msi".as_char_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if fwnode.is_null() {
            return Err(ENOMEM);
        }

        let mut info = bindings::irq_domain_info {
            fwnode,
            ops: &raw const DOMAIN_OPS.0,
            host_data: ptr::from_ref::<Shared>(&shared).cast_mut().cast(),
            parent,
            ..pin_init::zeroed()
        };
        // SAFETY: All that `info` and the operations point to lives until `drop`.
        let domain = unsafe {
            bindings::msi_create_parent_irq_domain(&raw mut info, &raw const shared.parent_ops)
        };
        let Some(domain) = NonNull::new(domain) else {
            // SAFETY: Allocated above, and in use by nobody.
            unsafe { bindings::irq_domain_free_fwnode(fwnode) };
            return Err(ENOMEM);
        };
        Ok(Self {
            domain,
            _shared: shared,
        })
    }

    /// Returns the C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::irq_domain {
        self.domain.as_ptr()
    }
}

impl Drop for ParentDomain {
    fn drop(&mut self) {
        // SAFETY: Created in `new`; the devices that used it are gone, and with them their domains and interrupts.
        unsafe {
            let fwnode = (*self.as_raw()).fwnode;
            bindings::irq_domain_remove(self.as_raw());
            bindings::irq_domain_free_fwnode(fwnode);
        }
    }
}

/// # Safety
///
/// `domain` must be a valid MSI parent domain.
unsafe fn parent_ops(domain: *mut bindings::irq_domain) -> *const bindings::msi_parent_ops {
    // SAFETY: By the safety requirements. CAST: The kernel's own bindings leave the type opaque.
    unsafe { (*domain).msi_parent_ops.cast() }
}

/// # Safety
///
/// `domain` must be the domain of a [`ParentDomain`], and must be it for `'a`.
unsafe fn shared<'a>(domain: *mut bindings::irq_domain) -> &'a Shared {
    // SAFETY: By the safety requirements; `host_data` was set in `new` and is freed after the domain.
    unsafe { &*(*domain).host_data.cast::<Shared>() }
}

/// C structures that hold pointers, as immutable statics.
struct Static<T>(T);

// SAFETY: The values are never written, and point to functions and literals only.
unsafe impl<T> Sync for Static<T> {}

static DOMAIN_OPS: Static<bindings::irq_domain_ops> = Static(bindings::irq_domain_ops {
    alloc: Some(alloc),
    free: Some(bindings::irq_domain_free_irqs_common),
    ..pin_init::zeroed()
});

/// The chip of the middle of the hierarchy: everything is done by the parent.
static CHIP: Static<bindings::irq_chip> = Static(bindings::irq_chip {
    name: as_char_ptr_in_const_context(c"devlend"),
    irq_ack: Some(bindings::irq_chip_ack_parent),
    irq_set_affinity: Some(bindings::irq_chip_set_affinity_parent),
    irq_retrigger: Some(bindings::irq_chip_retrigger_hierarchy),
    ..pin_init::zeroed()
});

/// # Safety
///
/// Called by the interrupt core as `irq_domain_ops::alloc` of the domain of a [`ParentDomain`].
unsafe extern "C" fn alloc(
    domain: *mut bindings::irq_domain,
    virq: c_uint,
    count: c_uint,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: The arguments are the interrupt core's own.
    let result = unsafe { bindings::irq_domain_alloc_irqs_parent(domain, virq, count, arg) };
    if result < 0 {
        return result;
    }
    for each in virq..virq + count {
        // SAFETY: The interrupt core has allocated the data of these interrupts in this domain. The chip is static and
        // is not written to; the number only has to be unique in the domain.
        let result = unsafe {
            bindings::irq_domain_set_hwirq_and_chip(
                domain,
                each,
                // CAST: `unsigned int` to `unsigned long`.
                each as c_ulong,
                &raw const CHIP.0,
                ptr::null_mut(),
            )
        };
        if result < 0 {
            // SAFETY: Allocated above.
            unsafe { bindings::irq_domain_free_irqs_parent(domain, virq, count) };
            return result;
        }
    }
    0
}

/// Fills in the domain of one device, on behalf of the platform, and gets hold of its messages.
///
/// # Safety
///
/// Called by the MSI core as `msi_parent_ops::init_dev_msi_info` of a [`ParentDomain`].
unsafe extern "C" fn init_dev_msi_info(
    dev: *mut bindings::device,
    domain: *mut bindings::irq_domain,
    _real_parent: *mut bindings::irq_domain,
    info: *mut bindings::msi_domain_info,
) -> bool {
    // SAFETY: `domain` is that of a `ParentDomain`, whose parent is an MSI parent domain itself (see `new`). It takes
    // the device for its own child, because it refuses parents it does not know.
    unsafe {
        let parent = (*domain).parent;
        let Some(init) = (*parent_ops(parent)).init_dev_msi_info else {
            return false;
        };
        if !init(dev, parent, parent, info) {
            return false;
        }
    }

    // SAFETY: `info` and the chip it points to were made for this device, and are not in use yet.
    let write = unsafe { &mut (*(*info).chip).irq_write_msi_msg };
    let Some(original) = *write else {
        return false;
    };
    let original = original as *mut c_void;
    // SAFETY: As above.
    let saved = unsafe { &shared(domain).write };
    match saved.cmpxchg(ptr::null_mut(), original, Full) {
        Ok(_) => {}
        // The PCI core has one function for all of its chips.
        Err(other) if other == original => {}
        Err(_) => return false,
    }
    *write = Some(write_message);
    true
}

/// Writes a message to a device, with the address at which the lender's side of the bridge expects it.
///
/// # Safety
///
/// Called as `irq_chip::irq_write_msi_msg` of a chip that [`init_dev_msi_info`] has changed.
unsafe extern "C" fn write_message(
    data: *mut bindings::irq_data,
    message: *mut kernel::bindings::msi_msg,
) {
    // SAFETY: `data` belongs to a device's domain, whose parent is that of a `ParentDomain`.
    let shared = unsafe { shared((*(*data).domain).parent) };
    // SAFETY: The pointer was made from a function of this type in `init_dev_msi_info`, before any message was written.
    let write = unsafe { mem::transmute::<*mut c_void, WriteMessage>(shared.write.load(Relaxed)) };

    // SAFETY: The caller passes a valid message; `Words` says what it is made of.
    let [low, high, word] = unsafe { *message.cast::<Words>() };
    let address = u64::from(high) << 32 | u64::from(low);

    // The message of an interrupt that is shut down.
    let translated = if address == 0 && word == 0 {
        Some((0, 0))
    } else {
        devlend_config::msi::translate(address, shared.base).map(|address| (address, word))
    };
    let (address, word) = translated.unwrap_or_else(|| {
        // A raw address would be a write into the lender's memory; without one, the interrupt is only lost.
        // SAFETY: No requirements.
        if unsafe { bindings::__printk_ratelimit(c"devlend".as_char_ptr()) } != 0 {
            pr_err!("interrupt message to {address:#x} is outside the message window, dropped\n");
        }
        (0, 0)
    });

    // CAST: The two halves of the address.
    let mut out: Words = [address as u32, (address >> 32) as u32, word];
    // SAFETY: The PCI core's own function, with the arguments it expects; it copies the message.
    unsafe { write(data, (&raw mut out).cast()) };
}
