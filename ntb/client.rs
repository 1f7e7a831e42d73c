// SPDX-License-Identifier: GPL-2.0

//! Clients of the NTB bus, and the events the hardware sends them.
//!
//! `__ntb_register_client` wipes the embedded `device_driver`, and with it the callback by which the kernel crate's
//! generic registration frees driver data; so this registration is its own, and `remove` hands the data back.
//!
//! C header: [`include/linux/ntb.h`](srctree/include/linux/ntb.h)

use crate::device::{
    Device,
    Handle, //
};
use devlend_bindings as bindings;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A client of the NTB bus.
pub trait Client: 'static {
    /// What the client keeps for one device.
    type Data: Send + Sync + 'static;

    /// Takes a device. May sleep.
    fn probe(device: &Device) -> Result<Arc<Self::Data>>;

    /// Gives a device back. May sleep. After it returns the device must not be touched.
    fn remove(device: &Device, data: Arc<Self::Data>);
}

/// A client's registration with the bus; its drop removes the client from all its devices.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Client> {
    #[pin]
    client: Opaque<bindings::ntb_client>,
    _client: PhantomData<T>,
}

// SAFETY: The registration has no methods, and registering and unregistering may be done from any thread.
unsafe impl<T: Client> Send for Registration<T> {}
// SAFETY: As above.
unsafe impl<T: Client> Sync for Registration<T> {}

impl<T: Client> Registration<T> {
    /// Registers the client; devices that are there already are probed before it returns. May sleep.
    pub fn new(name: &'static CStr, module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            client <- Opaque::try_ffi_init(|client: *mut bindings::ntb_client| {
                // SAFETY: `client` may be written; both callbacks are there, and the memory is pinned until
                // `PinnedDrop` has unregistered it.
                unsafe {
                    client.write(bindings::ntb_client::default());
                    (*client).ops.probe = Some(Self::probe_callback);
                    (*client).ops.remove = Some(Self::remove_callback);
                    to_result(bindings::__ntb_register_client(
                        client,
                        module.as_ptr(),
                        name.as_char_ptr(),
                    ))
                }
            }),
            _client: PhantomData,
        })
    }

    extern "C" fn probe_callback(
        _client: *mut bindings::ntb_client,
        ntb: *mut bindings::ntb_dev,
    ) -> c_int {
        // SAFETY: The bus calls with a valid device that stays bound during the call.
        let device = unsafe { &*ntb.cast::<Device>() };

        from_result(|| {
            let data = T::probe(device)?;
            // SAFETY: The device is being bound to us, so its driver data is ours.
            unsafe { bindings::dev_set_drvdata(&raw mut (*ntb).dev, data.into_foreign().cast()) };
            Ok(0)
        })
    }

    extern "C" fn remove_callback(_client: *mut bindings::ntb_client, ntb: *mut bindings::ntb_dev) {
        // SAFETY: As in `probe_callback`; the driver data was set there.
        let (device, data) = unsafe {
            let data = bindings::dev_get_drvdata(&raw mut (*ntb).dev);
            bindings::dev_set_drvdata(&raw mut (*ntb).dev, core::ptr::null_mut());
            (
                &*ntb.cast::<Device>(),
                Arc::<T::Data>::from_foreign(data.cast()),
            )
        };

        T::remove(device, data);
    }
}

#[pinned_drop]
impl<T: Client> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The client was registered when the value was made.
        unsafe { bindings::ntb_unregister_client(self.client.get()) };
    }
}

/// What the hardware tells. Called with the device's context lock held and interrupts off: must not sleep.
pub trait Events: Send + Sync + 'static {
    /// The link went up or down, or may have.
    fn link_event(this: ArcBorrow<'_, Self>, device: &Device);

    /// The peer rang a doorbell.
    fn doorbell_event(this: ArcBorrow<'_, Self>, device: &Device);
}

/// What the bus keeps for us between events.
struct Inner<T> {
    device: Handle,
    events: Arc<T>,
}

/// Events of a device go to an [`Events`] while this lives. The drop waits for one that is being handled.
///
/// # Invariants
///
/// `inner` came from `KBox::into_raw`, and is the context of its device.
pub struct Context<T: Events> {
    inner: NonNull<Inner<T>>,
}

// SAFETY: The context is a device handle and an `Arc<T>`, and `T` is `Send` and `Sync`.
unsafe impl<T: Events> Send for Context<T> {}
// SAFETY: As above; there are no methods.
unsafe impl<T: Events> Sync for Context<T> {}

impl<T: Events> Context<T> {
    const OPS: bindings::ntb_ctx_ops = bindings::ntb_ctx_ops {
        link_event: Some(Self::link_callback),
        db_event: Some(Self::doorbell_callback),
        msg_event: None,
    };

    /// Sends the events of a device to `events`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the device has a context already; `ENOMEM`.
    pub fn new(device: Handle, events: Arc<T>) -> Result<Self> {
        let raw = device.as_raw();
        let inner = KBox::into_raw(KBox::new(Inner { device, events }, GFP_KERNEL)?);

        // SAFETY: The device is valid, the operations are `'static`, and the context stays until it is cleared.
        let set = to_result(unsafe { bindings::ntb_set_ctx(raw, inner.cast(), &Self::OPS) });
        if let Err(error) = set {
            // SAFETY: `inner` came from `into_raw` above, and the bus did not take it.
            drop(unsafe { KBox::from_raw(inner) });
            return Err(error);
        }

        // INVARIANT: Set just now.
        Ok(Self {
            inner: NonNull::new(inner).ok_or(ENOMEM)?,
        })
    }

    extern "C" fn link_callback(context: *mut c_void) {
        // SAFETY: `context` is the one of `new`, and is not taken back while a callback runs.
        let inner = unsafe { &*context.cast::<Inner<T>>() };
        T::link_event(inner.events.as_arc_borrow(), &inner.device);
    }

    extern "C" fn doorbell_callback(context: *mut c_void, _vector: c_int) {
        // SAFETY: As in `link_callback`.
        let inner = unsafe { &*context.cast::<Inner<T>>() };
        T::doorbell_event(inner.events.as_arc_borrow(), &inner.device);
    }
}

impl<T: Events> Drop for Context<T> {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant, as is the device by its handle's. When `ntb_clear_ctx` returns no
        // callback runs, and the box is ours alone.
        unsafe {
            bindings::ntb_clear_ctx(self.inner.as_ref().device.as_raw());
            drop(KBox::from_raw(self.inner.as_ptr()));
        }
    }
}
