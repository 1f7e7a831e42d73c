// SPDX-License-Identifier: GPL-2.0

//! A lease, from this side: opened with the lender, checked, and given a root bus.

use crate::{
    bar::BarClaim,
    intx::Intx,
    offer::Offer,
    remote::Remote,
    shadow::Shadow, //
};
use devlend_config::{
    check_bars,
    present,
    Bar,
    Malformed,
    Policy, //
};
use devlend_protocol::{
    grant,
    Clunk,
    DmaMode,
    DmaPlan,
    Extents,
    Failure,
    Features,
    GrantError,
    Image,
    Open,
    OpenReply,
    Status,
    IMAGE_CHUNK, //
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        Queue,
        Work,
        WorkItem, //
    },
};
use ntb::{
    duty::Duty,
    errno::{
        enotconn,
        eproto, //
    },
    link::{
        Link,
        Peer,
        Refusal,
        Scope,
        TIMEOUT, //
    },
    shown::Shown, //
};
use pci_shim::{
    Description,
    DmaWindow,
    IntxOps,
    Removal,
    RootBus, //
};

/// From a device's interrupt to the next, if they take more than half of a processor's time.
const LONGEST_REST: Delta = Delta::from_millis(10);

/// How long the lender may take for a whole configuration space, but for its last part.
const IMAGE_TIMEOUT: Delta = Delta::from_secs(10);

/// How long the lender has to answer when our NTB goes. Drivers tell the peer before us (`ntb_hw_amd`): then there is no answer, and
/// the lender has stopped the device already.
const PARTING: Delta = Delta::from_millis(1000);

/// A device we have.
#[pin_data]
pub(crate) struct Borrowed {
    /// Its bus.
    pub(crate) bus: Arc<RootBus>,
    /// Its configuration space.
    pub(crate) shadow: Arc<Shadow>,
    /// How it reaches this host's memory.
    pub(crate) dma_mode: DmaMode,
    /// How much of that, from address 0.
    pub(crate) dma_size: u64,
    /// There until the bus is removed, whoever removes it and however long this value lives.
    #[pin]
    claim: Mutex<Option<BarClaim>>,
    /// Its INTx, if the lender relays that.
    intx: Option<Arc<Intx>>,
    /// Calls the driver's interrupt handler, which may ask the lender something: nobody else may have to wait for it.
    #[pin]
    raise: Work<Borrowed>,
    /// What that takes of a processor; only the work takes the lock, with no other held.
    #[pin]
    duty: Mutex<Duty>,
}

impl_has_work! {
    impl HasWork<Self> for Borrowed { self.raise }
}

/// An open lease that goes back to the lender unless it is put to use.
struct Lease<'a> {
    link: &'a Link,
    scope: Scope,
    kept: bool,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.link.request(self.scope, &Clunk {});
        }
    }
}

impl Borrowed {
    /// Opens the lease, and makes all that is needed to add the device. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY`: taken; `ENOENT`: the offer is gone; `ENOSPC`: a window is too small; `EPROTO`: the lender's answer
    /// makes no sense; `ENOTCONN`, `ETIMEDOUT`: the link.
    pub(crate) fn open(
        remote: &Remote,
        offer: &Arc<Offer>,
        peer: &Peer,
        dma: &DmaPlan,
    ) -> Result<Arc<Self>> {
        let link = &remote.link;
        let reply = link
            .request(
                peer.scope(0),
                &Open {
                    address: u32::from(offer.address).into(),
                },
            )
            .map_err(|refusal| refused(link, offer, refusal))?;
        let mut lease = Lease {
            link,
            scope: peer.scope(reply.epoch.get()),
            kept: false,
        };

        let (bars, parts) = check(link, offer, peer, &reply, dma)?;
        let shown = link.plan().ok_or(ENODEV)?.shown();
        let window = DmaWindow {
            base: reply.dma_base.get(),
            size: shown.min(reply.dma_size.get()).min(dma.limit),
            translated: dma.mode == DmaMode::Iommu,
        };
        let malformed = |malformed: Malformed| {
            dev_err!(
                link.dev(),
                "{}: its configuration space makes no sense: {}\n",
                Shown(offer.address),
                Shown(malformed)
            );
            eproto()
        };
        let told =
            fetch_image(link, lease.scope, reply.config_size.get()).inspect_err(|error| {
                dev_err!(
                    link.dev(),
                    "{}: its configuration space could not be fetched ({error:?})\n",
                    Shown(offer.address)
                );
            })?;
        // An honest lender's image comes out as it is; of any other, nothing is left that we would not show.
        let mut image = KVec::from_elem(0, told.len(), GFP_KERNEL)?;
        let is_relayed = peer.features.contains(Features::INTX);
        present(&told, &bars, is_relayed, &mut image).map_err(malformed)?;
        let policy = Policy::of(&image).map_err(malformed)?;
        let intx = policy
            .has_intx()
            .then(|| Intx::new(link, lease.scope.epoch))
            .transpose()?;
        let shadow = Shadow::new(
            link.clone(),
            lease.scope,
            bars,
            KBox::new(policy, GFP_KERNEL)?,
            image,
            offer.clone(),
        )?;
        let (claim, bar) = remote.bar.claim(link, peer.mmio.base)?;
        let bus = RootBus::new(Description {
            bar,
            window_start: peer.mmio.base,
            bus_start: reply.mmio_base.get(),
            parts,
            dma: window,
            msi_base: reply.msi_base.get(),
            ops: shadow.clone(),
            intx: intx.clone().map(|intx| -> Arc<dyn IntxOps> { intx }),
        })
        .inspect_err(|error| {
            dev_err!(
                link.dev(),
                "{}: no root bus for it ({error:?})\n",
                Shown(offer.address)
            );
        })?;
        let borrowed = Arc::pin_init(
            pin_init!(Self {
                bus,
                shadow,
                dma_mode: dma.mode,
                dma_size: window.size,
                claim <- new_mutex!(Some(claim), "devlend_bar_claim"),
                intx,
                raise <- new_work!("devlend_raise"),
                duty <- new_mutex!(Duty::new(), "devlend_raise_duty"),
            }),
            GFP_KERNEL,
        )?;
        lease.kept = true;
        Ok(borrowed)
    }

    /// Which lease it is.
    pub(crate) fn epoch(&self) -> u32 {
        self.shadow.scope().epoch
    }

    /// Makes everything about the device fail at once.
    pub(crate) fn mark_gone(&self) {
        self.shadow.set_gone();
        if let Some(intx) = &self.intx {
            intx.set_gone();
        }
        self.bus.mark_gone();
    }

    /// The device has raised INTx: has its driver called, in work. False if nobody waits for the interrupt. Does not sleep.
    pub(crate) fn interrupt(self: &Arc<Self>, queue: &Queue) -> bool {
        let is_due = self.intx.as_ref().is_some_and(|intx| intx.take());
        if is_due {
            let _ = queue.enqueue(self.clone());
        }
        is_due
    }

    /// Whether the device is lost.
    pub(crate) fn is_gone(&self) -> bool {
        self.shadow.is_gone()
    }

    /// Removes the device and its bus. Sleeps for as long as its driver takes to let go. May be called more than once;
    /// when it returns nothing lies in the NTB's BAR any more.
    pub(crate) fn remove(&self, why: Removal) {
        self.bus.remove(why);
        drop(self.claim.lock().take());
    }

    /// Removes the device and ends the lease. To be called once. Sleeps for as long as the driver takes to let go.
    pub(crate) fn end(&self, link: &Arc<Link>, why: Removal) {
        // The driver of a device that is lost cannot stop it, and frees the memory it may still be writing to: so the
        // lender has to stop it first. Otherwise the driver needs the device until it is removed.
        let is_lost = self.is_gone();
        if is_lost {
            self.clunk(link, why);
        }
        self.remove(why);
        if !is_lost {
            self.clunk(link, why);
        }
    }

    /// Ends the session: the driver is letting go of the device, and nobody has stopped it. Sleeps.
    pub(crate) fn shut_out(&self, link: &Arc<Link>) {
        if link.end_session(self.shadow.scope().session) {
            dev_err!(
                link.dev(),
                "the device was lost while its driver let go of it: ending the session\n"
            );
        }
    }

    /// Ends the lease with the lender, if that did not end with its session.
    fn clunk(&self, link: &Arc<Link>, why: Removal) {
        let scope = self.shadow.scope();
        if !link.peer().is_ok_and(|peer| peer.session == scope.session) {
            return;
        }
        let timeout = match why {
            Removal::Return => TIMEOUT,
            Removal::ParentUnbound => PARTING,
        };
        match link.request_within(timeout, scope, &Clunk {}) {
            // The lender has taken it back itself, or everything with its module.
            Ok(_) | Err(Refusal::Peer(Failure::Status(Status::Stale | Status::NotFound))) => {}
            // It does when it sees the session end.
            Err(Refusal::Local(error)) if error == enotconn() => {}
            // Nobody has stopped the device, and its driver is about to free the memory it may be writing to: so nothing
            // of the lender's may reach this host's memory any more.
            Err(_) if self.is_gone() => {
                if link.end_session(scope.session) && why == Removal::Return {
                    dev_err!(
                        link.dev(),
                        "the lender does not take a lost device back: ending the session\n"
                    );
                }
            }
            Err(refusal) => {
                let error: Error = refusal.into();
                dev_warn!(
                    link.dev(),
                    "the lender did not take the device back ({error:?}); it will when it notices\n"
                );
            }
        }
    }
}

impl WorkItem for Borrowed {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let start = Instant::now();
        this.shadow.counters.interrupts.count();
        this.bus.interrupt();
        let rest = this.duty.lock().rest(start, LONGEST_REST);
        fsleep(rest);
    }
}

/// Says why the lender refused.
fn refused(link: &Link, offer: &Offer, refusal: Refusal) -> Error {
    match &refusal {
        Refusal::Peer(Failure::NoSpace(no_space)) => dev_err!(
            link.dev(),
            "{}: its BARs do not fit the MMIO window: {}\n",
            Shown(offer.address),
            Shown(*no_space)
        ),
        Refusal::Peer(failure) => {
            dev_err!(
                link.dev(),
                "{}: the lender refuses: {}\n",
                Shown(offer.address),
                Shown(*failure)
            )
        }
        Refusal::Local(error) => {
            dev_err!(
                link.dev(),
                "{}: the lender does not answer ({error:?})\n",
                Shown(offer.address)
            )
        }
    }
    refusal.into()
}

/// Believes the lender's answer only where it fits our windows and our memory.
fn check(
    link: &Link,
    offer: &Offer,
    peer: &Peer,
    reply: &OpenReply,
    dma: &DmaPlan,
) -> Result<([Bar; 6], Extents)> {
    let wrong = |what: &dyn core::fmt::Display| {
        dev_err!(
            link.dev(),
            "{}: the lender's answer makes no sense: {}\n",
            Shown(offer.address),
            Shown(what)
        );
        eproto()
    };
    let needed = dma.needed;
    let parts = grant::check(reply, peer.mmio.size, dma).map_err(|error| match error {
        GrantError::MemoryShown { shown } => {
            dev_err!(
                link.dev(),
                "{}: the lender's window shows the device {shown} bytes of this host's memory, {needed} are needed\n",
                Shown(offer.address)
            );
            ENOSPC
        }
        GrantError::MemoryElsewhere { base } => {
            dev_err!(
                link.dev(),
                "{}: the device finds this host's memory at {base:#x}, where its IOMMU has it at 0: that takes a lender with an \
                 IOMMU, and a memory window of no more than 2 GiB; or boot this host with iommu=pt\n",
                Shown(offer.address)
            );
            EINVAL
        }
        GrantError::NoBars => ENODEV,
        error => wrong(&error),
    })?;
    let mut bars = [Bar::default(); 6];
    for (bar, told) in bars.iter_mut().zip(&reply.bars) {
        let kind = told
            .flags()
            // The bits are the same on the wire and in a register's image.
            .and_then(|kind| devlend_config::BarFlags::from_bits(kind.bits()));
        *bar = Bar {
            size: told.size.get(),
            flags: kind.ok_or_else(|| wrong(&GrantError::BarFlags))?,
            address: told.address.get(),
        };
    }
    check_bars(&bars).map_err(|malformed| wrong(&malformed))?;
    Ok((bars, parts))
}

/// # Errors
///
/// `ETIMEDOUT`: a lender that takes its time for each part keeps all commands waiting.
fn fetch_image(link: &Link, scope: Scope, size: u16) -> Result<KVec<u8>> {
    let start = Instant::<Monotonic>::now();
    let mut image = KVec::with_capacity(size.into(), GFP_KERNEL)?;
    // CAST: A small constant.
    for offset in (0..size).step_by(IMAGE_CHUNK) {
        if start.elapsed() > IMAGE_TIMEOUT {
            return Err(ETIMEDOUT);
        }
        let chunk = link
            .request(
                scope,
                &Image {
                    offset: offset.into(),
                },
            )
            .map_err(Error::from)?;
        image.extend_from_slice(&chunk.bytes, GFP_KERNEL)?;
    }
    Ok(image)
}
