// SPDX-License-Identifier: GPL-2.0

//! INTx of a borrowed device: what the lender relays.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use ntb::link::{
    Link,
    Notice,
    Signal, //
};
use pci_shim::IntxOps;

/// The interrupts of one lease.
pub(crate) struct Intx {
    epoch: u32,
    notice: Arc<Notice>,
    /// The driver waits for an interrupt.
    armed: Atomic<bool>,
}

impl Intx {
    /// No interrupt is asked for yet.
    pub(crate) fn new(link: &Arc<Link>, epoch: u32) -> Result<Arc<Self>> {
        let intx = Self {
            epoch,
            notice: Notice::new(link.clone(), Signal::Unmask)?,
            armed: Atomic::new(false),
        };
        Ok(Arc::new(intx, GFP_KERNEL)?)
    }

    /// The lender tells of an interrupt; false if nobody waits for one: a lender may say so as often as it likes. Does not sleep.
    pub(crate) fn take(&self) -> bool {
        self.armed.xchg(false, Relaxed)
    }

    /// The device is lost: nothing is asked for any more. Does not sleep.
    pub(crate) fn set_gone(&self) {
        self.notice.cancel();
    }
}

impl IntxOps for Intx {
    fn unmask(&self) {
        // First: the interrupt may be there before `send` returns.
        self.armed.store(true, Relaxed);
        self.notice.send(self.epoch);
    }
}
