// SPDX-License-Identifier: GPL-2.0

//! The NTB device: what a client may ask of the hardware.
//!
//! Only the default peer (port index 0) is used: a link joins two hosts, and a host has one NTB function a link.
//!
//! C header: [`include/linux/ntb.h`](srctree/include/linux/ntb.h)

use crate::worker::without_signals;
use devlend_bindings as bindings;
use kernel::{
    device,
    error::to_result,
    ffi::c_int,
    pci,
    prelude::*,
    types::Opaque, //
};

use core::{
    ops::Deref,
    ptr::NonNull, //
};

/// `NTB_DEF_PEER_IDX`.
const PEER: c_int = 0;

/// An NTB device that is bound to a client.
///
/// # Invariants
///
/// The reference is to a valid `struct ntb_dev` whose hardware driver is bound.
#[repr(transparent)]
pub struct Device(Opaque<bindings::ntb_dev>);

// SAFETY: The operations of `ntb_dev` may be called from any thread; hardware drivers do their own locking.
unsafe impl Sync for Device {}

/// One inbound memory window, as the hardware describes it.
pub struct Inbound {
    /// Alignment of a translation's address, in bytes.
    pub address_align: u64,
    /// Largest size of a translation, in bytes.
    pub size_max: u64,
}

/// One outbound memory window: where the peer's memory appears in this host's physical address space.
#[derive(Clone, Copy)]
pub struct Outbound {
    /// Physical address of the window.
    pub base: u64,
    /// Size of the window, in bytes.
    pub size: u64,
}

impl Device {
    pub(crate) fn as_raw(&self) -> *mut bindings::ntb_dev {
        self.0.get()
    }

    /// The device's name: its PCI address, for instance `0000:00:02.0`.
    pub fn name(&self) -> &CStr {
        self.dev().name()
    }

    /// The device in the driver model; log lines are about it.
    pub fn dev(&self) -> &device::Device {
        // SAFETY: `dev` is embedded in the `ntb_dev`, which is valid by the type invariant.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }

    /// The PCI function behind the NTB device. Its driver stays bound for as long as a client is.
    pub fn pci(&self) -> &pci::Device<device::Bound> {
        // SAFETY: `pdev` is set before the device is registered and valid until it is unregistered; the hardware
        // driver is bound by the type invariant. CAST: `pci::Device` is transparent over `struct pci_dev`.
        unsafe { &*(*self.as_raw()).pdev.cast() }
    }

    /// Whether the link is up. Does not sleep.
    pub fn link_is_up(&self) -> bool {
        // SAFETY: `self` is a valid `ntb_dev` by the type invariant.
        unsafe { bindings::ntb_link_is_up(self.as_raw()) != 0 }
    }

    /// Enables the link. Secondary sides answer `EINVAL`: the primary side is the one that trains it.
    pub fn link_enable(&self) -> Result {
        // SAFETY: As in `link_is_up`.
        to_result(unsafe { bindings::ntb_link_enable(self.as_raw()) })
    }

    /// Disables the link.
    pub fn link_disable(&self) -> Result {
        // SAFETY: As in `link_is_up`.
        to_result(unsafe { bindings::ntb_link_disable(self.as_raw()) })
    }

    /// Number of hosts at the other end.
    pub fn peer_count(&self) -> usize {
        // SAFETY: As in `link_is_up`.
        let count = unsafe { bindings::ntb_peer_port_count(self.as_raw()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Number of inbound memory windows.
    pub fn window_count(&self) -> u8 {
        // SAFETY: As in `link_is_up`.
        let count = unsafe { bindings::ntb_mw_count(self.as_raw(), PEER) };
        u8::try_from(count).unwrap_or(0)
    }

    /// Whether an inbound window shows only what is a power of two in size and at a multiple of that.
    ///
    /// No driver says so. Switches replace the high bits of an address: `ntb_hw_switchtec` gives the hardware the number of
    /// low bits that stay, the logarithm of the size rounded down, and nothing checks that the rest of the size is shown.
    pub fn natural_windows(&self) -> bool {
        self.is_switch()
    }

    /// Whether it is a port of a switch.
    pub fn is_switch(&self) -> bool {
        // SAFETY: `self` is valid, and `topo` does not change after the registration.
        let topology = unsafe { (*self.as_raw()).topo };
        topology == bindings::ntb_topo_NTB_TOPO_SWITCH
    }

    /// Describes an inbound window. Some hardware answers only while the link is up.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such window; others from the hardware driver.
    pub fn inbound(&self, index: u8) -> Result<Inbound> {
        let (mut address_align, mut size_align, mut size_max) = (0, 0, 0);

        // SAFETY: `self` is valid, and the three places may be written.
        to_result(unsafe {
            bindings::ntb_mw_get_align(
                self.as_raw(),
                PEER,
                index.into(),
                &mut address_align,
                &mut size_align,
                &mut size_max,
            )
        })?;
        Ok(Inbound {
            address_align,
            size_max,
        })
    }

    /// Describes an outbound window.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such window.
    pub fn outbound(&self, index: u8) -> Result<Outbound> {
        let (mut base, mut size) = (0, 0);
        // SAFETY: As in `link_is_up`.
        let count = unsafe { bindings::ntb_peer_mw_count(self.as_raw()) };
        // Not every driver checks this itself.
        if c_int::from(index) >= count {
            return Err(EINVAL);
        }

        // SAFETY: `self` is valid, and the two places may be written.
        to_result(unsafe {
            bindings::ntb_peer_mw_get_addr(self.as_raw(), index.into(), &mut base, &mut size)
        })?;
        Ok(Outbound { base, size })
    }

    /// Lets the peer reach `size` bytes from bus address `address` through its window `index`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the size does not fit the window; others from the hardware driver.
    pub fn set_translation(&self, index: u8, address: u64, size: u64) -> Result {
        // SAFETY: As in `link_is_up`.
        to_result(unsafe {
            bindings::ntb_mw_set_trans(self.as_raw(), PEER, index.into(), address, size)
        })
    }

    /// Takes a translation to `address` away again. Sleeps, whatever signals the caller has.
    ///
    /// # Errors
    ///
    /// From the hardware driver: the peer may reach what was shown as before.
    pub fn clear_translation(&self, index: u8, address: u64) -> Result {
        match self.clear(index, address) {
            // `ntb_hw_switchtec` gives up when its caller has a signal.
            Err(error) if error == EINTR => without_signals(|| self.clear(index, address)),
            done => done,
        }
    }

    fn clear(&self, index: u8, address: u64) -> Result {
        // SAFETY: `self` is valid, and so are its operations, which do not change.
        let has_clear = unsafe { (*(*self.as_raw()).ops).mw_clear_trans.is_some() };
        if !has_clear {
            // Such a driver is told to translate to zero instead, and may do so while the window is open still (`ntb_hw_amd`,
            // `ntb_hw_intel`): what is under way would arrive there. So the window is shut first, where it is.
            let shut = self.set_translation(index, address, 0);
            if self.is_switch() {
                // To `ntb_hw_switchtec` both are the same, and take long.
                return shut;
            }
        }
        // SAFETY: As in `link_is_up`.
        to_result(unsafe { bindings::ntb_mw_clear_trans(self.as_raw(), PEER, index.into()) })
    }

    /// The doorbell bits there are.
    pub fn doorbells(&self) -> u64 {
        // SAFETY: As in `link_is_up`.
        unsafe { bindings::ntb_db_valid_mask(self.as_raw()) }
    }

    /// The doorbells the peer has rung. Does not sleep.
    pub fn doorbells_rung(&self) -> u64 {
        // SAFETY: As in `link_is_up`.
        unsafe { bindings::ntb_db_read(self.as_raw()) }
    }

    /// Forgets doorbells that were rung. Does not sleep.
    pub fn clear_doorbells(&self, bits: u64) {
        // SAFETY: As in `link_is_up`.
        let _ = unsafe { bindings::ntb_db_clear(self.as_raw(), bits) };
    }

    /// Masks doorbells: they no longer interrupt. Does not sleep.
    pub fn mask_doorbells(&self, bits: u64) {
        // SAFETY: As in `link_is_up`.
        let _ = unsafe { bindings::ntb_db_set_mask(self.as_raw(), bits) };
    }

    /// Unmasks doorbells. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: not a valid doorbell.
    pub fn unmask_doorbells(&self, bits: u64) -> Result {
        // SAFETY: As in `link_is_up`.
        to_result(unsafe { bindings::ntb_db_clear_mask(self.as_raw(), bits) })
    }

    /// Rings doorbells of the peer. Does not sleep.
    pub fn ring(&self, bits: u64) -> Result {
        // SAFETY: As in `link_is_up`.
        to_result(unsafe { bindings::ntb_peer_db_set(self.as_raw(), bits) })
    }

    /// Number of scratchpads.
    pub fn scratchpad_count(&self) -> usize {
        // SAFETY: As in `link_is_up`.
        let count = unsafe { bindings::ntb_spad_count(self.as_raw()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Reads one of our scratchpads, which the peer writes. Does not sleep.
    pub fn scratchpad(&self, index: usize) -> u32 {
        // CAST: An index beyond `c_int` is no scratchpad; the driver answers zero.
        let index = c_int::try_from(index).unwrap_or(-1);
        // SAFETY: As in `link_is_up`; drivers check the index.
        unsafe { bindings::ntb_spad_read(self.as_raw(), index) }
    }

    /// Writes one of the peer's scratchpads. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such scratchpad.
    pub fn write_peer_scratchpad(&self, index: usize, value: u32) -> Result {
        let index = c_int::try_from(index)?;
        // SAFETY: As in `link_is_up`.
        to_result(unsafe { bindings::ntb_peer_spad_write(self.as_raw(), PEER, index, value) })
    }

    /// A reference that is not tied to a borrow.
    ///
    /// # Safety
    ///
    /// It is dropped before the client's `remove` returns.
    pub unsafe fn handle(&self) -> Handle {
        Handle(NonNull::from(self))
    }
}

/// An NTB device held across calls; see [`Device::handle`].
///
/// # Invariants
///
/// The device is bound to the client while the handle lives.
pub struct Handle(NonNull<Device>);

// SAFETY: `Device` is `Sync`, and the handle gives shared access only.
unsafe impl Send for Handle {}
// SAFETY: As above.
unsafe impl Sync for Handle {}

impl Deref for Handle {
    type Target = Device;

    fn deref(&self) -> &Device {
        // SAFETY: Valid by the type invariant.
        unsafe { self.0.as_ref() }
    }
}
