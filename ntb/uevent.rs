// SPDX-License-Identifier: GPL-2.0

//! Events for user space: what happens to a link, an offer or a lease; described in `docs/ABI/sysfs-kernel-devlend`.
//!
//! Directories in `/sys/kernel` cannot send any, so they come from a PCI function: the one it is about, if it is this
//! host's own, else the link's NTB.
//!
//! C header: [`include/linux/kobject.h`](srctree/include/linux/kobject.h)

use crate::{
    link::Link,
    pci::raw_dev,
    shown::Shown, //
};
use devlend_bindings as bindings;
use devlend_protocol::Address;
use kernel::{
    ffi::c_char,
    pci::Device,
    prelude::*,
    str::CString, //
};

/// What happened. What is `None` is not said.
#[derive(Clone, Copy, Default)]
pub struct Uevent<'a> {
    /// One of the words in the ABI document.
    pub event: &'a str,
    /// "lender" or "borrower"; `None` for the link's own events.
    pub role: Option<&'a str>,
    /// The link.
    pub link: Option<&'a Link>,
    /// The device, by its address in the lender.
    pub device: Option<Address>,
    /// Epoch of the lease.
    pub epoch: Option<u32>,
    /// Why.
    pub reason: Option<&'a str>,
    /// So much time is left, seconds.
    pub seconds: Option<u32>,
}

impl Uevent<'_> {
    /// Sends it from `function`. May sleep. It is lost if there is no memory for it, or if the link's peer has caused too many of
    /// late: events are hints, the truth is in sysfs.
    pub fn send(&self, function: &Device) {
        if self.link.is_some_and(|link| !link.allows_uevent()) {
            return;
        }
        if let Ok(variables) = self.variables() {
            send(function, &variables);
        }
    }

    fn variables(&self) -> Result<KVec<CString>> {
        let mut variables = KVec::new();
        let mut add = |variable: kernel::fmt::Arguments<'_>| -> Result {
            Ok(variables.push(CString::try_from_fmt(variable)?, GFP_KERNEL)?)
        };
        add(fmt!("DEVLEND_EVENT={}", self.event))?;
        if let Some(role) = self.role {
            add(fmt!("DEVLEND_ROLE={role}"))?;
        }
        if let Some(link) = self.link {
            add(fmt!("DEVLEND_LINK={}", link.name()))?;
        }
        if let Some(device) = self.device {
            add(fmt!("DEVLEND_DEVICE={}", Shown(device)))?;
        }
        if let Some(epoch) = self.epoch {
            add(fmt!("DEVLEND_EPOCH={epoch}"))?;
        }
        if let Some(reason) = self.reason {
            add(fmt!("DEVLEND_REASON={reason}"))?;
        }
        if let Some(seconds) = self.seconds {
            add(fmt!("DEVLEND_SECONDS={seconds}"))?;
        }
        Ok(variables)
    }
}

/// At most so many variables: one for each field, and the end.
const ENDED: usize = 8;

fn send(function: &Device, variables: &[CString]) {
    let mut pointers: [*mut c_char; ENDED] = [core::ptr::null_mut(); ENDED];
    // The last place stays empty: it is the end of the list.
    for (pointer, variable) in pointers.iter_mut().take(ENDED - 1).zip(variables) {
        *pointer = variable.as_char_ptr().cast_mut();
    }
    // SAFETY: `function` is a valid device, whose kobject is embedded in it. The strings live as long as the call, which
    // copies them, and a null pointer ends their list.
    let _ = unsafe {
        bindings::kobject_uevent_env(
            &raw mut (*raw_dev(function)).kobj,
            bindings::kobject_action_KOBJ_CHANGE,
            pointers.as_mut_ptr(),
        )
    };
}
