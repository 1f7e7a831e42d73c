// SPDX-License-Identifier: GPL-2.0

//! The configuration space of a borrowed device: a shadow here, the rest at the lender.
//!
//! Accessors run under raw spinlocks with interrupts off, so they poll for the lender's answer, for two seconds at the
//! most; then the device counts as lost and reads as all ones. So it does when accesses that are answered take too long together.

use crate::offer::Offer;
use devlend_config::{
    Bar,
    Interrupts,
    Policy,
    Read,
    Write, //
};
use devlend_protocol::{
    ConfigRead,
    ConfigWrite,
    Failure,
    Reset,
    Status, //
};
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
use ntb::{
    errno::etime,
    link::{
        Counter,
        Link,
        Refusal,
        Scope, //
    },
    new_raw_spinlock,
    raw_lock::RawSpinLock, //
};
use pci_shim::ConfigOps;

/// How configuration accesses were answered, and what came by itself.
pub(crate) struct Counters {
    /// Reads from the shadow.
    pub(crate) reads_shadow: Counter,
    /// Reads that asked the lender.
    pub(crate) reads_peer: Counter,
    /// Writes that went to the lender, resets included.
    pub(crate) writes_peer: Counter,
    /// Interrupts that the lender has relayed.
    pub(crate) interrupts: Counter,
}

/// The configuration space of one borrowed device.
#[pin_data]
pub(crate) struct Shadow {
    link: Arc<Link>,
    scope: Scope,
    bars: [Bar; 6],
    policy: KBox<Policy>,
    #[pin]
    image: RawSpinLock<KVec<u8>>,
    /// Held from the change of the shadow until the device has it: two writes reach both in the same order.
    #[pin]
    order: RawSpinLock<()>,
    gone: Atomic<bool>,
    /// Nobody but the PCI core has seen the device yet, which looks at its status again and again: the image is as good as an answer.
    unseen: Atomic<bool>,
    /// What to tell when the device is lost.
    offer: Arc<Offer>,
    pub(crate) counters: Counters,
}

impl Shadow {
    /// A shadow that starts as `image`.
    pub(crate) fn new(
        link: Arc<Link>,
        scope: Scope,
        bars: [Bar; 6],
        policy: KBox<Policy>,
        image: KVec<u8>,
        offer: Arc<Offer>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                link,
                scope,
                bars,
                policy,
                image <- new_raw_spinlock!(image, c"devlend_shadow"),
                order <- new_raw_spinlock!((), c"devlend_shadow_order"),
                gone: Atomic::new(false),
                unseen: Atomic::new(true),
                offer,
                counters: Counters {
                    reads_shadow: Counter::new(),
                    reads_peer: Counter::new(),
                    writes_peer: Counter::new(),
                    interrupts: Counter::new(),
                },
            }),
            GFP_KERNEL,
        )
    }

    /// What requests about the lease belong to.
    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// From here on all reads are all ones, and nothing is sent. Does not sleep.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Relaxed);
    }

    /// Whether the device is lost. Does not sleep.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// What kind of interrupts the device uses.
    pub(crate) fn interrupts(&self) -> Interrupts {
        self.policy.interrupts(&self.image.lock())
    }

    /// Judges a failed access: a refusal by policy costs nothing, all else is the end of the lease.
    fn failed(&self, refusal: Refusal) {
        if let Refusal::Peer(Failure::Status(Status::Denied)) = refusal {
            return;
        }
        if !self.gone.xchg(true, Relaxed) {
            let error: Error = refusal.into();
            let what = if error == etime() {
                "configuration accesses take too long"
            } else {
                "no answer to a configuration access"
            };
            dev_err!(self.link.dev(), "{what} ({error:?}): the device is lost\n");
            self.offer.lost(self.scope.epoch);
        }
    }
}

impl ConfigOps for Shadow {
    fn read(&self, offset: u16, size: u8) -> u32 {
        if self.is_gone() {
            return !0;
        }
        {
            let image = self.image.lock();
            let known = match self.policy.read(&image, offset, size) {
                Read::Shadow(value) => Some(value),
                Read::Peer if self.unseen.load(Relaxed) => {
                    Some(self.policy.remembered(&image, offset, size))
                }
                Read::Peer => None,
            };
            if let Some(value) = known {
                self.counters.reads_shadow.count();
                return value;
            }
        }
        self.counters.reads_peer.count();
        let request = ConfigRead {
            offset: offset.into(),
            size,
        };
        match self.link.request_atomic(self.scope, &request) {
            Ok(answer) => {
                self.policy
                    .merge_read(&self.image.lock(), offset, size, answer.value.get())
            }
            Err(refusal) => {
                self.failed(refusal);
                !0
            }
        }
    }

    fn write(&self, offset: u16, size: u8, value: u32) {
        let _order = self.order.lock();
        // Inside: those who waited while one found out that the lender does not answer must not try it again, each of
        // them for the whole of the time with interrupts off.
        if self.is_gone() {
            return;
        }
        if self.policy.clears(offset, size, value) {
            self.unseen.store(false, Relaxed);
        }
        let write = self
            .policy
            .write(&mut self.image.lock(), &self.bars, offset, size, value);
        let answer = match write {
            Write::Done => return,
            Write::Peer { value } => {
                let request = ConfigWrite {
                    offset: offset.into(),
                    size,
                    value: value.into(),
                };
                self.link.request_atomic(self.scope, &request)
            }
            Write::Reset => self.link.request_atomic(self.scope, &Reset {}),
        };
        self.counters.writes_peer.count();
        if let Err(refusal) = answer {
            self.failed(refusal);
        }
    }

    fn scanned(&self) {
        self.unseen.store(false, Relaxed);
    }
}
