// SPDX-License-Identifier: GPL-2.0

//! A link's beginning and end: the NTB device comes, the NTB device goes.

use super::{
    attributes,
    keepalive,
    Link,
    State,
    DOORBELL_HANDSHAKE,
    DOORBELL_REQUEST, //
};
use crate::{
    client::{
        Client,
        Context,
        Events, //
    },
    control::OwnBlock,
    device::Device,
    queue::OwnedQueue,
    role,
    root,
    ticker, //
};
use devlend_protocol::SCRATCHPADS;
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc,
        ArcBorrow, //
    },
};

const DOORBELLS: u64 = DOORBELL_REQUEST | DOORBELL_HANDSHAKE;

/// Our client of the NTB bus: one link a device.
pub struct Ntb;

impl Client for Ntb {
    type Data = Link;

    fn probe(device: &Device) -> Result<Arc<Link>> {
        check(device)?;

        let own = OwnBlock::new(device.pci())?;
        let name = CString::try_from(device.name())?;
        let queue = OwnedQueue::new(&CString::try_from_fmt(fmt!("devlend_{}", &*name))?)?;
        let pci: ARef<kernel::pci::Device> = device.pci().into();
        // SAFETY: `remove` takes the handle out of the set-up before it returns.
        let link = Link::new(name, pci, own, queue, unsafe { device.handle() })?;

        attach(device, &link).inspect_err(|_| detach(device, &link))?;
        Ok(link)
    }

    fn remove(device: &Device, link: Arc<Link>) {
        detach(device, &link);
    }
}

/// What the hardware must have.
fn check(device: &Device) -> Result {
    let (scratchpads, doorbells) = (device.scratchpad_count(), device.doorbells());
    if scratchpads < SCRATCHPADS || doorbells & DOORBELLS != DOORBELLS {
        dev_err!(device.dev(), "needs {SCRATCHPADS} scratchpads and doorbells {DOORBELLS:#x}, the device has {scratchpads} and {doorbells:#x}\n");
        return Err(ENODEV);
    }
    if device.peer_count() != 1 {
        dev_err!(
            device.dev(),
            "devices with {} peers are not supported\n",
            device.peer_count()
        );
        return Err(ENODEV);
    }
    Ok(())
}

/// Shows the link to people and to the roles, and lets events in.
fn attach(device: &Device, link: &Arc<Link>) -> Result {
    let mut dir = root::links(|links| links.dir(link.name()))?;
    attributes::add(&mut dir, link)?;
    if let Some(key) = link.key.lock().as_ref() {
        dev_info!(link.dev(), "the key is {}, as before\n", key.description());
    }
    *link.dir.lock() = Some(dir);
    role::add_link(link.clone())?;
    role::with_borrower(|borrower| borrower.link_added(link));

    // SAFETY: `detach` drops the context before `probe` fails or `remove` returns.
    let context = Context::new(unsafe { device.handle() }, link.clone())?;
    *link.events.lock() = Some(context);
    *link.ticking.lock() = Some(ticker::start(link, keepalive::look_every(link))?);
    device.clear_doorbells(DOORBELLS);
    device.unmask_doorbells(DOORBELLS)?;
    // The secondary side of most hardware says EINVAL; the primary trains the link for both.
    let _ = device.link_enable();
    let _ = link
        .queue
        .enqueue::<Arc<Link>, { super::handshake::WORK }>(link.clone());
    Ok(())
}

/// The mirror of `attach` and of all that came after it. When it returns nobody touches the device.
fn detach(device: &Device, link: &Arc<Link>) {
    role::remove_link(link);
    // While the channel still works: what is borrowed is given back in good order.
    role::with_borrower(|borrower| borrower.link_removed(link));

    device.mask_doorbells(DOORBELLS);
    let events = link.events.lock().take();
    drop(events);
    let ticking = link.ticking.lock().take();
    drop(ticking);
    // No event and no timer can queue work any more, and no work finds the device; what runs already runs to its end.
    {
        let mut setup = link.setup.lock();
        setup.ntb = None;
        // By us: who ends a lease from here on, and resets what was lent, finds no device to do it with.
        link.close_windows(device);
        link.hide(device, &mut setup.shown);
    }
    link.close_session();
    link.queue.drain();
    link.set_state(State::Down);
    link.go_down();
    role::with_lender(|lender| lender.link_removed(link));
    let dir = link.dir.lock().take();
    drop(dir);

    Link::withdraw(device);
    let _ = device.link_disable();
    // The peer cannot write any more, and nobody here waits for it to.
    let own = link.own.lock().take();
    drop(own);
}

impl Events for Link {
    fn link_event(this: ArcBorrow<'_, Self>, _device: &Device) {
        this.flapped.store(true, Relaxed);
        let _ = this
            .queue
            .enqueue::<Arc<Self>, { super::handshake::WORK }>(this.into());
    }

    fn doorbell_event(this: ArcBorrow<'_, Self>, device: &Device) {
        let rung = device.doorbells_rung() & DOORBELLS;
        // Cleared before the work looks: what is rung after that interrupts again.
        device.clear_doorbells(rung);
        if rung & DOORBELL_HANDSHAKE != 0 {
            let _ = this
                .queue
                .enqueue::<Arc<Self>, { super::handshake::WORK }>(this.into());
        }
        if rung & DOORBELL_REQUEST != 0 {
            let _ = this
                .queue
                .enqueue::<Arc<Self>, { super::serve::WORK }>(this.into());
        }
    }
}
