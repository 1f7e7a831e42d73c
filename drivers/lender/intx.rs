// SPDX-License-Identifier: GPL-2.0

//! INTx of a lent device, relayed to its borrower.
//!
//! The interrupt is taken here, on a line that the device may share. The device is masked at once, and the borrower told; when its
//! driver has looked, the borrower unmasks, and a device that still wants something interrupts again. So no interrupt gets lost,
//! and a device that nobody serves interrupts this host once.
//!
//! While a relay exists nobody writes the device's Command but with its gate locked, or held.

use crate::offer::Offer;
use devlend_config::IntxGate;
use devlend_protocol::Features;
use kernel::{
    pci::Device,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};
use ntb::{
    link::{
        Counter,
        Link,
        Notice,
        Peer,
        Signal, //
    },
    new_raw_spinlock,
    pci::{
        self,
        IntxHandler,
        IntxLine, //
    },
    raw_lock::RawSpinLock, //
};

/// The relay of one lease. Its drop leaves the device masked and its line free. Fields are dropped in this order.
pub(crate) struct Relay {
    _line: IntxLine<Source>,
    source: Arc<Source>,
}

/// A device that raises INTx.
#[pin_data]
struct Source {
    device: ARef<Device>,
    #[pin]
    state: RawSpinLock<State>,
    notice: Arc<Notice>,
    relayed: Counter,
}

struct State {
    gate: IntxGate,
    /// The lease of which the borrower has last unmasked it.
    epoch: u32,
}

/// Whether a device has INTx that can be relayed, if its borrower understands that.
pub(crate) fn is_relayable(device: &Device) -> bool {
    pci::has_intx(device) && pci::can_mask_intx(device)
}

impl Relay {
    /// Relays INTx of `offer`, which is masked, to the borrower at the other end of `link`. `None` if it has none, or if that does
    /// not work. Sleeps.
    pub(crate) fn new(offer: &Offer, link: &Arc<Link>, peer: &Peer) -> Option<Self> {
        if !pci::has_intx(&offer.device) {
            return None;
        }
        let tell = |why: &dyn core::fmt::Display| {
            link.report(|| {
                dev_info!(
                    offer.dev(),
                    "its INTx is not relayed: {}\n",
                    ntb::shown::Shown(why)
                )
            });
        };
        if !peer.features.contains(Features::INTX) {
            tell(&"the borrower's devlend is too old");
            return None;
        }
        if !pci::can_mask_intx(&offer.device) {
            tell(&"it cannot be masked in the device");
            return None;
        }
        Self::start(offer, link)
            .inspect_err(|error| tell(&fmt!("its line cannot be used ({error:?})")))
            .ok()
    }

    fn start(offer: &Offer, link: &Arc<Link>) -> Result<Self> {
        let signal = Signal::Interrupt {
            address: offer.address.into(),
        };
        let source = Arc::pin_init(
            pin_init!(Source {
                device: offer.device.clone(),
                state <- new_raw_spinlock!(State {
                    gate: IntxGate::default(),
                    epoch: 0,
                }, c"devlend_intx"),
                notice: Notice::new(link.clone(), signal)?,
                relayed: Counter::new(),
            }? Error),
            GFP_KERNEL,
        )?;
        Ok(Self {
            _line: IntxLine::new(&offer.device, source.clone())?,
            source,
        })
    }

    /// How many interrupts were relayed.
    pub(crate) fn relayed(&self) -> u64 {
        self.source.relayed.get()
    }

    /// The borrower takes one more interrupt. Does not sleep.
    pub(crate) fn unmask(&self, epoch: u32) {
        let mut state = self.source.state.lock();
        state.epoch = epoch;
        self.source.change(&mut state.gate, IntxGate::unmask);
    }

    /// Calls `write_it`, which may write the device's Command, with the gate locked.
    pub(crate) fn with_gate<R>(&self, write_it: impl FnOnce(&mut IntxGate) -> R) -> R {
        write_it(&mut self.source.state.lock().gate)
    }

    /// Masks the device until [`release`](Self::release): from here on the handler writes no Command. Does not sleep.
    pub(crate) fn hold(&self) {
        let mut state = self.source.state.lock();
        state.gate.hold();
        pci::set_intx(&self.source.device, false);
    }

    /// Lets the device interrupt again, if the borrower does. Does not sleep.
    pub(crate) fn release(&self) {
        let mut state = self.source.state.lock();
        self.source.change(&mut state.gate, IntxGate::release);
    }
}

impl Source {
    /// Changes the gate, and with it the device. What it raises comes when the gate is unlocked.
    fn change(&self, gate: &mut IntxGate, change: impl FnOnce(&mut IntxGate)) {
        let was_open = gate.is_open();
        change(gate);
        if gate.is_open() != was_open {
            pci::set_intx(&self.device, gate.is_open());
        }
    }
}

impl IntxHandler for Source {
    fn handle(&self) -> bool {
        let epoch = {
            let mut state = self.state.lock();
            // A device that is masked has not asserted the line, whatever its Status says.
            if !state.gate.is_open() || !pci::check_and_mask_intx(&self.device) {
                return false;
            }
            state.gate.interrupt();
            state.epoch
        };
        self.relayed.count();
        self.notice.send(epoch);
        true
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.hold();
        self.source.notice.cancel();
    }
}
