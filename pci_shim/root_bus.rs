// SPDX-License-Identifier: GPL-2.0

//! The root bus of a borrowed function, from set-up to removal.

use crate::{
    bridge::HostBridge,
    dma,
    intx::IntxLine,
    msi::ParentDomain,
    notifier::Notifier,
    rescan::RescanLock,
    window::Window,
    Address,
    ConfigOps,
    DmaWindow,
    IntxOps,
    WindowBar, //
};
use core::ptr;
use devlend_bindings as bindings;
use devlend_protocol::Extents;
use kernel::{
    error::to_result,
    new_mutex, pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
};

/// The place of the one function on its bus.
const DEVFN: c_uint = 0;

/// What a [`RootBus`] is made from.
pub struct Description {
    /// The BAR of the NTB in which the function's own BARs appear.
    pub bar: Arc<WindowBar>,
    /// CPU address of the window in that BAR onto the lender's devices.
    pub window_start: u64,
    /// The lender's bus address of the start of that window. The function's BARs keep the lender's addresses.
    pub bus_start: u64,
    /// The parts of the window that show the function's BARs.
    pub parts: Extents,
    /// The lender's window onto this host's memory.
    pub dma: DmaWindow,
    /// The lender's bus address of this host's interrupt message range (what is 0xfee00000 here).
    pub msi_base: u64,
    /// Answers for the function's configuration space.
    pub ops: Arc<dyn ConfigOps>,
    /// Gets the function's INTx, if it has an interrupt pin.
    pub intx: Option<Arc<dyn IntxOps>>,
}

/// Who asks for the removal of a [`RootBus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// An ordinary return, or the loss of the peer: from a work item or another context of one's own.
    Return,
    /// The NTB's driver is being unbound: from the NTB client's `remove` callback.
    ///
    /// The caller may or may not hold the PCI rescan/remove lock, depending on why the driver is unbound, so it is not
    /// taken, as in `vmd_remove`.
    ParentUnbound,
}

/// A PCI domain with one bus and one function.
///
/// | Step | Context |
/// |---|---|
/// | [`Self::new`] | may sleep |
/// | [`Self::scan`] | a work item: may sleep for minutes, which a dead device's driver can take to give up |
/// | [`Self::mark_gone`] | any that may sleep, also while another step is in progress |
/// | [`Self::interrupt`] | the same |
/// | [`Self::remove`] | may sleep for minutes; [`Self::mark_gone`] first makes it quick |
///
/// Dropping it removes the bus with [`Removal::Return`], if that was not done yet.
///
/// Lock order: 1. PCI rescan/remove lock, 2. `state`, 3. whatever device drivers take in probe and remove.
#[pin_data(PinnedDrop)]
pub struct RootBus {
    /// [`None`] while it is being set up, and once removed.
    #[pin]
    state: Mutex<Option<Live>>,
    /// The bus, with a reference of its own, or null before it was scanned. Kept until this is dropped, so that it can
    /// be used without `state`, which [`Self::scan`] holds for a long time.
    bus: Atomic<*mut bindings::pci_bus>,
    /// For log messages.
    parent: ARef<pci::Device>,
    /// The function's interrupt line, if it has one. It is there until all that could use it is gone.
    intx: Option<IntxLine>,
    bridge: HostBridge,
}

/// All that exists until removal; fields are dropped in this order, the reverse of set-up.
struct Live {
    scanned: bool,
    _notifier: Notifier,
    _msi: ParentDomain,
    _windows: KVec<Window>,
}

impl RootBus {
    /// Sets up the domain, the interrupt domain, the window and the bridge of a function; nothing is visible yet.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the description is not consistent, `EBUSY` if the window overlaps another one, `ENODEV` if the NTB
    /// has no MSI domain, `ENOMEM`.
    pub fn new(description: Description) -> Result<Arc<Self>> {
        let Description {
            bar,
            window_start,
            bus_start,
            parts,
            dma,
            msi_base,
            ops,
            intx,
        } = description;
        // SAFETY: The NTB's driver stays bound for as long as `bar` exists, which is in `live` below: so its device
        // outlives the registration of the bridge.
        let bridge = unsafe { HostBridge::new(bar.as_raw())? };
        let parent = bar.device().into();
        let intx = intx.map(IntxLine::new).transpose()?;
        // On failure below, what was made is dropped in reverse order, and the bridge, whose memory is used, last.
        let this = Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(None, "RootBus::state"),
                bus: Atomic::new(ptr::null_mut()),
                parent,
                intx,
                bridge,
            }),
            GFP_KERNEL,
        )?;
        let bridge = &this.bridge;

        let mut windows = KVec::new();
        for (part, resource) in parts.iter().zip(bridge.windows()) {
            let start = window_start.checked_add(part.offset).ok_or(EINVAL)?;
            // The function's addresses must not wrap around either.
            bus_start
                .checked_add(part.offset)
                .and_then(|bus| bus.checked_add(part.length))
                .ok_or(EINVAL)?;
            // SAFETY: The resource is zeroed and belongs to the bridge, which is dropped after the window.
            let window = unsafe { bar.request(start, part.length, resource)? };
            windows.push(window, GFP_KERNEL)?;
            // SAFETY: Not registered yet, and the resource is the bridge's. Bus addresses may be above CPU addresses: the offset
            // is meant to wrap.
            unsafe {
                bridge.add_resource(resource.as_ptr(), window_start.wrapping_sub(bus_start))?
            };
        }

        // SAFETY: The device is valid, as above.
        let msi = unsafe { ParentDomain::new(bar.as_raw(), bridge.domain(), msi_base)? };
        let raw = bridge.as_raw();
        // SAFETY: The bridge is valid and not registered yet. Devices get the domain from the bus, and the bus from
        // the bridge; the domain is removed after them.
        unsafe {
            bindings::dev_set_msi_domain(&raw mut (*raw).dev, msi.as_raw());
            (*raw).enable_device = Some(dma::enable_device);
        }
        let irq = this.intx.as_ref().map(IntxLine::number);
        // SAFETY: The line goes with `this`, after the functions.
        let notifier = unsafe { Notifier::new(raw, dma, irq)? };
        bridge.set_accessor(ops)?;

        *this.state.lock() = Some(Live {
            scanned: false,
            _notifier: notifier,
            _msi: msi,
            _windows: windows,
        });
        Ok(this)
    }

    /// Finds the function and lets drivers bind to it.
    ///
    /// Returns when drivers that probe synchronously are done; a driver that does not bind is no error. After an error
    /// the bus has to be removed.
    ///
    /// # Errors
    ///
    /// `ENODEV` if nobody answers or the bus was removed or marked as gone, `EBUSY` if it was scanned before, `ENOSPC`
    /// if a BAR is not in the window.
    pub fn scan(&self) -> Result {
        let _rescan = RescanLock::new();
        let mut state = self.state.lock();
        let live = state.as_mut().get_mut().as_mut().ok_or(ENODEV)?;
        if live.scanned {
            return Err(EBUSY);
        }
        if self.bridge.is_gone() {
            return Err(ENODEV);
        }

        // SAFETY: The bridge is complete and not registered; the lock is held.
        to_result(unsafe { bindings::pci_scan_root_bus_bridge(self.bridge.as_raw()) })?;
        live.scanned = true;
        // SAFETY: Successful registration has set the bus. The reference is put when `self` is dropped.
        let bus = unsafe {
            let bus = (*self.bridge.as_raw()).bus;
            bindings::get_device(&raw mut (*bus).dev);
            bus
        };
        self.bus.store(bus, Release);

        // Pairs with the barrier in `mark_gone`: either it finds the bus, or it is found out here.
        bindings::series::full_barrier();
        if self.bridge.is_gone() {
            self.mark_gone();
            return Err(ENODEV);
        }

        let function = self.function().ok_or(ENODEV)?;
        if let Err(index) = function.check_bars() {
            dev_err!(
                *self.parent,
                "{}: BAR {index} is not in its window\n",
                self.address()
            );
            return Err(ENOSPC);
        }
        drop(function);

        self.bridge.scanned();
        // SAFETY: The bus is valid; the lock is held.
        unsafe { bindings::pci_bus_add_devices(bus) };
        Ok(())
    }

    /// Makes everything about the function fail at once: it is lost.
    ///
    /// From here on configuration reads answer all ones without asking [`ConfigOps`], and the channel of each device is
    /// in permanent failure. May sleep, but not for long.
    pub fn mark_gone(&self) {
        self.bridge.set_gone();
        bindings::series::full_barrier();
        self.disconnect();
    }

    /// Raises the function's INTx: its driver's handler is called. Without a driver nothing happens, nor without an interrupt pin.
    ///
    /// The handler may access configuration space. May sleep.
    pub fn interrupt(&self) {
        if let Some(intx) = &self.intx {
            intx.raise();
        }
    }

    /// Returns where the function is on this host.
    pub fn address(&self) -> Address {
        Address {
            domain: self.bridge.domain(),
            bus: 0,
            device: 0,
            function: 0,
        }
    }

    /// Unbinds the driver and removes the bus and all that belongs to it.
    ///
    /// Does nothing if that was done before. If another task is at it, returns when that one is done. Afterwards the
    /// [`ConfigOps`] and this bus's share of the [`WindowBar`] are dropped.
    ///
    /// The rescan lock is not needed, and not taken, for a bus that was not scanned or is removed already: so its last
    /// reference may be dropped in a task that holds that lock, or that is waited for with that lock held.
    pub fn remove(&self, why: Removal) {
        {
            let mut state = self.state.lock();
            if state.as_ref().is_none_or(|live| !live.scanned) {
                self.tear_down(state.take());
                return;
            }
        }
        let _rescan = match why {
            Removal::Return => Some(RescanLock::new()),
            Removal::ParentUnbound => None,
        };
        let mut state = self.state.lock();
        self.tear_down(state.take());
    }

    /// What [`Self::remove`] does, with `state` locked.
    fn tear_down(&self, live: Option<Live>) {
        let Some(live) = live else {
            return;
        };

        if live.scanned {
            let bus = self.bus.load(Acquire);
            // SAFETY: The bus is registered, and is removed only once: it was in `state`.
            unsafe { bindings::pci_stop_root_bus(bus) };
            // Nobody drives the function any more. Who still holds its device must not get as far as our accessors,
            // which will not be there.
            self.disconnect();
            // SAFETY: As above.
            unsafe { bindings::pci_remove_root_bus(bus) };
        }
        self.bridge.clear_accessor();
        drop(live);
    }

    /// Sets the channel state of every device on the bus to permanent failure.
    fn disconnect(&self) {
        let bus = self.bus.load(Acquire);
        if bus.is_null() {
            return;
        }
        // SAFETY: `self` holds a reference to the bus; after its removal there are no devices on it.
        unsafe { bindings::pci_walk_bus(bus, Some(disconnect_device), ptr::null_mut()) };
    }

    fn function(&self) -> Option<Function> {
        let bus = self.bus.load(Acquire);
        if bus.is_null() {
            return None;
        }
        // SAFETY: `self` holds a reference to the bus.
        let function = unsafe { bindings::pci_get_slot(bus, DEVFN) };
        ptr::NonNull::new(function).map(Function)
    }
}

#[pinned_drop]
impl PinnedDrop for RootBus {
    fn drop(self: Pin<&mut Self>) {
        self.remove(Removal::Return);
        let bus = self.bus.load(Acquire);
        if !bus.is_null() {
            // SAFETY: The reference was taken in `scan`.
            unsafe { bindings::put_device(&raw mut (*bus).dev) };
        }
    }
}

/// # Safety
///
/// Called by [`bindings::pci_walk_bus`].
unsafe extern "C" fn disconnect_device(pdev: *mut bindings::pci_dev, _data: *mut c_void) -> c_int {
    // What `pci_dev_set_disconnected` does, which only the PCI core can call.
    // SAFETY: The device is valid, and C accesses the field atomically too.
    let state = unsafe { Atomic::from_ptr(&raw mut (*pdev).error_state) };
    state.store(bindings::pci_channel_io_perm_failure, Relaxed);
    0
}

/// A reference to the function behind the bridge.
///
/// # Invariants
///
/// The device is valid, and this value owns a reference to it.
struct Function(ptr::NonNull<bindings::pci_dev>);

impl Function {
    /// Checks that every BAR was claimed, or returns the index of one that was not.
    fn check_bars(&self) -> Result<(), usize> {
        let pdev = self.0.as_ptr();
        // CAST: A small number.
        for index in 0..bindings::PCI_STD_NUM_BARS as usize {
            // SAFETY: By the type invariant; a device has a resource for each BAR. It has no driver yet, so nobody
            // changes them.
            let lost = unsafe {
                let resource = (&raw const (*pdev).resource)
                    .cast::<bindings::resource>()
                    .add(index);
                (*resource).flags != 0 && (*resource).parent.is_null()
            };
            if lost {
                return Err(index);
            }
        }
        Ok(())
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::pci_dev_put(self.0.as_ptr()) };
    }
}
