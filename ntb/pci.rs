// SPDX-License-Identifier: GPL-2.0

//! What lending needs of the PCI core and the kernel crate does not offer.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use devlend_bindings as bindings;
use devlend_config::{
    Bar,
    BarFlags, //
};
use devlend_protocol::Address;
use kernel::{
    device,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    pci::Device,
    prelude::*,
    str::CString,
    sync::aref::ARef, //
};

use core::ptr::NonNull;

mod errors;
mod intx;
mod iov;

pub use bindings::{
    pci_device_table as device_table,
    series::IdInfo, //
};
pub use errors::{
    handle_errors,
    ErrorHandlers, //
};
pub use intx::{
    can_mask_intx,
    check_and_mask_intx,
    has_intx,
    set_intx,
    IntxHandler,
    IntxLine, //
};
pub use iov::{
    virtual_function,
    virtual_functions,
    with_physical_locked,
    Assigned, //
};

/// Number of standard BARs.
const BARS: usize = 6;

fn raw(device: &Device) -> *mut bindings::pci_dev {
    // CAST: `pci::Device` is transparent over `struct pci_dev`.
    core::ptr::from_ref(device).cast_mut().cast()
}

pub(crate) fn raw_dev(device: &Device) -> *mut bindings::device {
    // SAFETY: `device` is a valid `struct pci_dev`, which embeds its `struct device`.
    unsafe { &raw mut (*raw(device)).dev }
}

/// Stands for any vendor and any device.
const ANY_ID: u32 = !0;

/// A random number.
pub fn random() -> u32 {
    // SAFETY: The random number generator may be called from any context.
    unsafe { bindings::get_random_u32() }
}

/// Finds a function by its address. May sleep.
pub fn find(address: Address) -> Option<ARef<Device>> {
    // SAFETY: The call takes numbers only.
    let device = unsafe {
        bindings::pci_get_domain_bus_and_slot(
            address.domain.into(),
            address.bus.into(),
            address.devfn().into(),
        )
    };
    // SAFETY: The reference that the call took is handed to us. CAST: As in `raw`.
    NonNull::new(device).map(|device| unsafe { ARef::from_raw(device.cast()) })
}

/// Calls `visit` for each function of this host. May sleep, and so may `visit`.
pub fn for_each(mut visit: impl FnMut(&Device)) {
    let mut last = core::ptr::null_mut();
    loop {
        // SAFETY: The call finds the function after `last`, of which it takes over our reference.
        last = unsafe { bindings::pci_get_device(ANY_ID, ANY_ID, last) };
        let Some(found) = NonNull::new(last.cast()) else {
            return;
        };
        // SAFETY: We have the reference that the call took. CAST: As in `raw`.
        visit(unsafe { found.as_ref() });
    }
}

/// The function's address.
pub fn address(device: &Device) -> Address {
    // SAFETY: `device` is a valid `struct pci_dev`, which stays on its bus.
    let (domain, bus, devfn) = unsafe {
        let bus = (*raw(device)).bus;
        (
            bindings::pci_domain_nr(bus),
            (*bus).number,
            (*raw(device)).devfn,
        )
    };
    // CAST: A `devfn` has eight bits. Domains that do not fit are made up by bridges such as ours; none is lent.
    Address::from_devfn(u16::try_from(domain).unwrap_or(u16::MAX), bus, devfn as u8)
}

/// Vendor id, device id, class code with programming interface, revision.
pub fn ids(device: &Device) -> (u16, u16, u32, u8) {
    // SAFETY: `device` is a valid `struct pci_dev`, and these fields do not change.
    unsafe {
        let device = raw(device);
        (
            (*device).vendor,
            (*device).device,
            (*device).class,
            (*device).revision,
        )
    }
}

/// Whether the function is a bridge of a kind that has no class of its own, as most NTBs are, used by a driver or not.
pub fn is_other_bridge(device: &Device) -> bool {
    let (_, _, class, _) = ids(device);
    class >> 8 == bindings::PCI_CLASS_BRIDGE_OTHER
}

/// Whether the function is a bridge of any kind; an NTB is one by its class.
pub fn is_bridge(device: &Device) -> bool {
    // SAFETY: As in `ids`.
    unsafe {
        (*raw(device)).hdr_type != 0
            || (*raw(device)).class >> 16 == bindings::PCI_BASE_CLASS_BRIDGE
    }
}

/// Size of the configuration space, bytes: 256 or 4096.
pub fn config_size(device: &Device) -> usize {
    // SAFETY: As in `ids`.
    let size = unsafe { (*raw(device)).cfg_size };
    if size >= 4096 {
        4096
    } else {
        256
    }
}

/// Reads configuration space; all ones if the device is gone, or for a size other than 1, 2 or 4.
pub fn read_config(device: &Device, offset: u16, size: u8) -> u32 {
    let at = c_int::from(offset);
    let (mut byte, mut word, mut dword) = (!0u8, !0u16, !0u32);

    // SAFETY: `device` is a valid `struct pci_dev`; the accessors check the offset. On failure they set all ones.
    unsafe {
        match size {
            1 => {
                let _ = bindings::pci_read_config_byte(raw(device), at, &mut byte);
                byte.into()
            }
            2 => {
                let _ = bindings::pci_read_config_word(raw(device), at, &mut word);
                word.into()
            }
            4 => {
                let _ = bindings::pci_read_config_dword(raw(device), at, &mut dword);
                dword
            }
            _ => !0,
        }
    }
}

/// Reads the dword at `offset` as a program does: not while the device is being reset, for which it waits. All ones if the
/// device is gone. Sleeps.
pub fn read_config_patiently(device: &Device, offset: u16) -> u32 {
    let mut value = !0;
    // SAFETY: As in `read_config`.
    let _ = unsafe {
        bindings::pci_user_read_config_dword(raw(device), c_int::from(offset), &mut value)
    };
    value
}

/// Whether the function itself answers, which may be a virtual one: it has no vendor id.
pub fn answers(device: &Device) -> bool {
    // Command and Status have bits that are always 0.
    const COMMAND: u16 = 4;

    read_config(device, COMMAND, 4) != !0
}

/// Writes configuration space; sizes other than 1, 2 and 4 write nothing.
pub fn write_config(device: &Device, offset: u16, size: u8, value: u32) {
    let at = c_int::from(offset);

    // SAFETY: `device` is a valid `struct pci_dev`; the accessors check the offset. CAST: The low bytes are meant.
    unsafe {
        let _ = match size {
            1 => bindings::pci_write_config_byte(raw(device), at, value as u8),
            2 => bindings::pci_write_config_word(raw(device), at, value as u16),
            4 => bindings::pci_write_config_dword(raw(device), at, value),
            _ => 0,
        };
    }
}

/// Flags, size and bus address of a BAR.
fn bar(device: &Device, index: usize) -> (u32, u64, u64) {
    // CAST: At most five; and the flags that are looked at are in the low half.
    let (index, raw) = (index as c_int, raw(device));
    // SAFETY: `device` is a valid `struct pci_dev`, and `index` is a standard BAR.
    unsafe {
        (
            bindings::pci_resource_flags(raw, index) as u32,
            bindings::pci_resource_len(raw, index),
            bindings::pci_bus_address(raw, index),
        )
    }
}

/// The memory BARs by number; I/O BARs, empty ones and those without an address have size zero. Addresses are bus addresses.
pub fn bars(device: &Device) -> [Bar; BARS] {
    core::array::from_fn(|index| {
        let (flags, size, address) = bar(device, index);
        if flags & bindings::IORESOURCE_MEM == 0 || flags & bindings::IORESOURCE_UNSET != 0 {
            return Bar::default();
        }
        let mut kind = BarFlags::empty();
        kind.set(BarFlags::MEM64, flags & bindings::IORESOURCE_MEM_64 != 0);
        kind.set(
            BarFlags::PREFETCH,
            flags & bindings::IORESOURCE_PREFETCH != 0,
        );
        Bar {
            size,
            flags: kind,
            address,
        }
    })
}

/// The BARs that there are, but not in [`bars`], by number, and why.
pub fn hidden_bars(device: &Device) -> impl Iterator<Item = (usize, &'static str)> + '_ {
    (0..BARS).filter_map(|index| {
        let (flags, ..) = bar(device, index);
        if flags & bindings::IORESOURCE_IO != 0 {
            Some((index, "it is of I/O ports"))
        } else if flags & bindings::IORESOURCE_UNSET != 0 {
            Some((index, "there was no room for it"))
        } else {
            None
        }
    })
}

/// Whether the function answers at all.
pub fn is_present(device: &Device) -> bool {
    // SAFETY: `device` is a valid `struct pci_dev`.
    unsafe { bindings::pci_device_is_present(raw(device)) }
}

/// Whether an IOMMU translates what the device reads and writes: it reaches only what is mapped for it.
pub fn is_translated(device: &Device) -> bool {
    // SAFETY: `device` is valid.
    unsafe { bindings::device_iommu_translates(raw_dev(device)) }
}

/// Calls `use_it` with the device's coherent DMA mask narrowed to `mask`.
///
/// # Safety
///
/// Nobody but `use_it` may allocate coherent memory for the device meanwhile, or set its masks.
pub(crate) unsafe fn with_coherent_mask<R>(
    device: &Device<device::Bound>,
    mask: u64,
    use_it: impl FnOnce() -> R,
) -> R {
    let dev = raw_dev(device);
    // SAFETY: `device` is valid, and nobody else sets the mask.
    let before = unsafe { (*dev).coherent_dma_mask };
    if before > mask {
        // SAFETY: `device` is valid; by the safety requirements nobody relies on the mask now. If it cannot be, it stays.
        let _ = unsafe { bindings::dma_set_coherent_mask(dev, mask) };
    }
    let result = use_it();
    // SAFETY: As above; it was supported before.
    let _ = unsafe { bindings::dma_set_coherent_mask(dev, before) };
    result
}

/// Whether there is an IOMMU that can confine the device: it tells the device's accesses from those of all others, and
/// lets it raise its own interrupts only.
pub fn can_be_confined(device: &Device) -> bool {
    let dev = raw_dev(device);
    // SAFETY: `device` is valid.
    unsafe {
        bindings::device_is_alone_in_iommu_group(dev) && bindings::device_has_isolated_msi(dev)
    }
}

/// Whether an IOMMU confines the device to what is mapped for it. That may change with its driver, so it is asked for by
/// the driver that is bound.
pub fn is_confined(device: &Device<device::Core<'_>>) -> bool {
    can_be_confined(device) && is_translated(device)
}

/// The bound driver's name, if there is one. Sleeps while the device is being bound or unbound.
///
/// # Errors
///
/// `ENOMEM`.
pub fn driver_name(device: &Device) -> Result<Option<CString>> {
    let dev = raw_dev(device);

    // SAFETY: `device` is valid; while it is locked its driver does not change, and a driver has a name.
    unsafe {
        bindings::device_lock(dev);
        let driver = (*dev).driver;
        let name = (!driver.is_null())
            .then(|| CString::try_from(CStr::from_char_ptr((*driver).name)))
            .transpose();
        bindings::device_unlock(dev);
        Ok(name?)
    }
}

/// Whether something made from the device is in use: a disk that is open or mounted, a network interface that is up.
///
/// Looks at what hangs below the device in the driver model. May sleep.
pub fn is_in_use(device: &Device) -> bool {
    extern "C" fn visit(dev: *mut bindings::device, _: *mut c_void) -> c_int {
        // SAFETY: The walk hands a valid device.
        unsafe {
            if bindings::device_is_open(dev) {
                return 1;
            }
            bindings::device_for_each_child(dev, core::ptr::null_mut(), Some(visit))
        }
    }
    // SAFETY: `device` is valid, and the visitor needs no data.
    unsafe {
        bindings::device_for_each_child(raw_dev(device), core::ptr::null_mut(), Some(visit)) != 0
    }
}

/// The name that was set with [`set_driver_override`], by us or by somebody else.
///
/// # Errors
///
/// `ENOMEM`.
pub fn driver_override(device: &Device) -> Result<Option<CString>> {
    // No driver has a longer name; with one that matches none the device is as if without a driver.
    let mut name = [0u8; 128];

    // SAFETY: `device` is valid, and the name is copied into our bytes while it is locked.
    let length = unsafe {
        bindings::device_copy_driver_override(raw_dev(device), name.as_mut_ptr().cast(), name.len())
    };
    if length == 0 {
        return Ok(None);
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| EINVAL)?;
    Ok(Some(CString::try_from(name)?))
}

/// Lets only the driver of that name bind; with `None`, any that matches again. May sleep.
///
/// # Errors
///
/// `ENOMEM`.
pub fn set_driver_override(device: &Device, driver: Option<&CStr>) -> Result {
    // SAFETY: `device` is valid, and the name is copied.
    to_result(unsafe {
        match driver {
            Some(name) => bindings::__device_set_driver_override(
                raw_dev(device),
                name.as_char_ptr(),
                name.to_bytes().len(),
            ),
            // An empty name clears it.
            None => bindings::__device_set_driver_override(raw_dev(device), c"".as_char_ptr(), 0),
        }
    })
}

/// Unbinds the device's driver, if it has one. Sleeps for as long as the driver takes.
pub fn release_driver(device: &Device) {
    // SAFETY: `device` is valid.
    unsafe { bindings::device_release_driver(raw_dev(device)) };
}

/// Binds a driver that matches. Sleeps for as long as its probe takes.
///
/// # Errors
///
/// `ENODEV`: none matches, or none that does took the device.
pub fn attach_driver(device: &Device) -> Result {
    // SAFETY: `device` is valid.
    match unsafe { bindings::device_attach(raw_dev(device)) } {
        1 => Ok(()),
        0 => Err(ENODEV),
        errno => to_result(errno),
    }
}

/// Makes the function's memory reachable, and its DMA addresses 64 bits wide. From a driver's probe.
///
/// # Errors
///
/// From the PCI core.
pub fn enable(device: &Device<device::Core<'_>>) -> Result {
    // SAFETY: `device` is valid and bound to the caller.
    unsafe {
        to_result(bindings::pci_enable_device_mem(raw(device)))?;
        to_result(bindings::dma_set_mask_and_coherent(
            raw_dev(device),
            u64::MAX,
        ))
        .inspect_err(|_| bindings::pci_disable_device(raw(device)))
    }
}

/// The mirror of [`enable`].
pub fn disable(device: &Device<device::Core<'_>>) {
    // SAFETY: `device` is valid and bound to the caller.
    unsafe { bindings::pci_disable_device(raw(device)) };
}

/// Stops the function's DMA and its message interrupts: bus mastering off; then its INTx. Does not sleep; for Command as
/// [`set_intx`].
pub fn stop(device: &Device) {
    // SAFETY: `device` is valid.
    unsafe { bindings::pci_clear_master(raw(device)) };
    set_intx(device, false);
}

/// Whether there is a way to reset the function alone. (That one failed may look the same as that there is none.) Does not sleep.
pub fn can_be_reset(device: &Device) -> bool {
    // SAFETY: `device` is valid. As `pci_reset_supported`, which is not exported.
    unsafe { (*raw(device)).reset_methods }
        .first()
        .is_some_and(|&method| method != 0)
}

/// Resets the function and restores its configuration space; for callers that hold the device lock, as probe does.
/// Sleeps: normally 0.1 s, up to a minute for a device that does not come back.
///
/// # Errors
///
/// `ENOTTY`: the function has no way to be reset alone.
pub fn reset_locked(device: &Device<device::Core<'_>>) -> Result {
    // SAFETY: `device` is valid, and the driver core holds the device lock in the contexts of `Core`.
    to_result(unsafe { bindings::pci_reset_function_locked(raw(device)) })
}

/// Calls `use_it` with the device locked, so that it is neither bound nor unbound meanwhile; `None` if somebody else has
/// it locked.
pub fn try_with_lock<R>(
    device: &Device,
    use_it: impl FnOnce(&Device<device::Core<'_>>) -> R,
) -> Option<R> {
    // SAFETY: `device` is valid; the lock is released below.
    if unsafe { bindings::device_trylock(raw_dev(device)) } == 0 {
        return None;
    }
    // SAFETY: The device lock is held. CAST: Devices of all contexts are transparent over `struct pci_dev`.
    let result = use_it(unsafe { &*core::ptr::from_ref(device).cast() });
    // SAFETY: Locked above.
    unsafe { bindings::device_unlock(raw_dev(device)) };
    Some(result)
}

/// The same range is mapped for each device that is lent over a link, which `dma-debug` would take for a leak.
// CAST: A bit of the lower 32.
const ATTRIBUTES: usize = bindings::DMA_ATTR_DEBUGGING_IGNORE_CACHELINES as usize;

/// A range of this host's physical addresses that a device may reach by DMA.
///
/// # Invariants
///
/// `address` is what `dma_map_resource` returned for `device`, or, if `is_fixed`, is mapped in its IOMMU domain.
pub struct Mapping {
    device: ARef<Device>,
    address: u64,
    size: usize,
    is_fixed: bool,
}

impl Mapping {
    /// Maps a range of device memory, not RAM. Without an IOMMU the address is the range's own. May sleep.
    ///
    /// The caller drops it before the device's driver is unbound.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: the device cannot address the range, or there is no room for it.
    pub fn new(device: &Device, address: u64, size: u64) -> Result<Self> {
        let size = usize::try_from(size)?;
        let direction = bindings::series::DMA_BIDIRECTIONAL;

        // SAFETY: `device` is valid and bound.
        let mapped = unsafe {
            bindings::dma_map_resource(raw_dev(device), address, size, direction, ATTRIBUTES)
        };
        // SAFETY: As above.
        to_result(unsafe { bindings::dma_mapping_error(raw_dev(device), mapped) })?;

        // INVARIANT: Mapped just now.
        Ok(Self {
            device: device.into(),
            address: mapped,
            size,
            is_fixed: false,
        })
    }

    /// Maps a range of device memory, not RAM, so that the device sees it at the address `at`: whole pages. May sleep.
    ///
    /// That takes an IOMMU, and nothing else may be mapped there. It has to tell the device's accesses from those of all
    /// others: between devices that it cannot tell apart, a switch may carry an access to another device's registers at that
    /// address. The caller drops it before the device's driver is unbound.
    ///
    /// # Errors
    ///
    /// `ENODEV`: there is no such IOMMU; `EADDRINUSE`: something is mapped there; others from the IOMMU's driver.
    pub fn new_at(device: &Device, at: u64, address: u64, size: u64) -> Result<Self> {
        let (iova, size) = (usize::try_from(at)?, usize::try_from(size)?);
        if !can_be_confined(device) || !is_translated(device) {
            return Err(ENODEV);
        }

        // SAFETY: `device` is valid and bound, so that its domain stays.
        to_result(unsafe { bindings::device_iommu_map(raw_dev(device), iova, address, size) })?;

        // INVARIANT: Mapped just now.
        Ok(Self {
            device: device.into(),
            address: at,
            size,
            is_fixed: true,
        })
    }

    /// Size of the range, bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The address at which the device sees the range.
    pub fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let direction = bindings::series::DMA_BIDIRECTIONAL;

        if self.is_fixed {
            // CAST: It was a `usize`.
            let iova = self.address as usize;
            // SAFETY: Mapped for this device by `new_at`, with that size; it is still bound.
            unsafe { bindings::device_iommu_unmap(raw_dev(&self.device), iova, self.size) };
            return;
        }
        // SAFETY: Mapped for this device by `new`, with that size.
        unsafe {
            bindings::dma_unmap_resource(
                raw_dev(&self.device),
                self.address,
                self.size,
                direction,
                ATTRIBUTES,
            )
        };
    }
}
