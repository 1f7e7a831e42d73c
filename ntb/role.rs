// SPDX-License-Identifier: GPL-2.0

//! The two roles, as the links see them.
//!
//! Each role is one module. Its functions run for several links at once, and two of one link, too; after its registration is
//! dropped none of them runs, and the module may go. They must not wait for the peer: the peer may be waiting for us.

use crate::{
    calls::Callee,
    link::{
        Incoming,
        Link, //
    },
};
use devlend_protocol::{
    RevokeReason,
    Status, //
};
use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    },
};

/// Serves the requests of borrowers. Called from a link's work; may sleep, but not for the peer.
pub trait Lender: Send + Sync {
    /// Answers a request about offers and leases; a refusal is returned.
    fn request(&self, link: &Arc<Link>, request: &mut Incoming<'_>) -> Result<(), Status>;

    /// The borrower takes one more interrupt of a device; false if it has no such lease.
    fn unmask(&self, link: &Arc<Link>, epoch: u32) -> bool;

    /// The link is lost: the peer's leases have ended.
    fn link_down(&self, link: &Arc<Link>);

    /// The link, which is lost, does not come back: its NTB device has gone.
    fn link_removed(&self, link: &Arc<Link>);

    /// Whether a peer has a lease.
    fn in_use(&self) -> bool;
}

/// Follows the links to lenders. Called from a link's work; must not wait for the peer.
pub trait Borrower: Send + Sync {
    /// There is a link; it may be down. A link that is known already is not an error.
    fn link_added(&self, link: &Arc<Link>);

    /// A link is up.
    fn link_up(&self, link: &Arc<Link>);

    /// A link is lost: what was borrowed over it is gone.
    fn link_down(&self, link: &Arc<Link>);

    /// A link's NTB device goes away: nothing may use its windows after this returns.
    fn link_removed(&self, link: &Arc<Link>);

    /// The peer's offers have changed.
    fn offers_changed(&self, link: &Arc<Link>);

    /// The peer has taken a lease back; no reason: it gave one we do not know.
    fn revoked(&self, link: &Arc<Link>, address: u32, epoch: u32, reason: Option<RevokeReason>);

    /// The peer wants a device back within so many seconds.
    fn take_back(&self, link: &Arc<Link>, address: u32, epoch: u32, seconds: u32);

    /// A device that is lent has reported an error, and works on.
    fn device_error(&self, link: &Arc<Link>, address: u32, epoch: u32);

    /// A device has raised INTx; false if we have no such lease, or did not ask for the interrupt.
    fn interrupt(&self, link: &Arc<Link>, address: u32, epoch: u32) -> bool;

    /// Whether we have a lease, or are about to.
    fn in_use(&self) -> bool;
}

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    unsafe(uninit) static LENDER: Mutex<Option<Callee<dyn Lender>>> = None;
}

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    unsafe(uninit) static BORROWER: Mutex<Option<Callee<dyn Borrower>>> = None;
}

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    unsafe(uninit) static LINKS: Mutex<KVec<Arc<Link>>> = KVec::new();
}

/// Prepares the registries.
///
/// # Safety
///
/// Called once, when the module is loaded.
pub unsafe fn init() {
    // SAFETY: The caller promises that this is the one call, and the first use.
    unsafe {
        LENDER.init();
        BORROWER.init();
        LINKS.init();
    }
}

/// Frees what the registries hold when the module goes.
pub struct Registries;

impl Drop for Registries {
    fn drop(&mut self) {
        *LINKS.lock() = KVec::new();
    }
}

/// Calls the lender, if there is one.
pub(crate) fn with_lender<R>(call: impl FnOnce(&dyn Lender) -> R) -> Option<R> {
    let lender = LENDER.lock().as_ref()?.call();
    Some(call(&*lender))
}

/// Calls the borrower, if there is one.
pub(crate) fn with_borrower<R>(call: impl FnOnce(&dyn Borrower) -> R) -> Option<R> {
    let borrower = BORROWER.lock().as_ref()?.call();
    Some(call(&*borrower))
}

/// Makes a link known to the roles.
pub(crate) fn add_link(link: Arc<Link>) -> Result {
    Ok(LINKS.lock().push(link, GFP_KERNEL)?)
}

/// Forgets a link.
pub(crate) fn remove_link(link: &Arc<Link>) {
    LINKS.lock().retain(|other| !Arc::ptr_eq(other, link));
}

/// Calls `visit` for each link there is. Links are not removed meanwhile; `visit` may sleep.
pub fn for_each_link(mut visit: impl FnMut(&Arc<Link>)) {
    for link in LINKS.lock().iter() {
        visit(link);
    }
}

/// The lender's registration; its drop waits for the functions that run.
pub struct LenderRegistration(());

impl LenderRegistration {
    /// Registers the lender. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY`: there is one; `ENOMEM`.
    pub fn new(lender: Arc<dyn Lender>) -> Result<Self> {
        let lender = Callee::new(lender)?;
        let mut slot = LENDER.lock();
        if slot.is_some() {
            return Err(EBUSY);
        }
        *slot = Some(lender);
        Ok(Self(()))
    }
}

impl Drop for LenderRegistration {
    fn drop(&mut self) {
        let lender = LENDER.lock().take();
        if let Some(lender) = lender {
            lender.wait();
        }
    }
}

/// The borrower's registration; its drop waits for the functions that run.
pub struct BorrowerRegistration(());

impl BorrowerRegistration {
    /// Registers the borrower, and tells it of the links there are. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY`: there is one; `ENOMEM`.
    pub fn new(borrower: Arc<dyn Borrower>) -> Result<Self> {
        {
            let callee = Callee::new(borrower.clone())?;
            let mut slot = BORROWER.lock();
            if slot.is_some() {
                return Err(EBUSY);
            }
            *slot = Some(callee);
        }
        for_each_link(|link| {
            borrower.link_added(link);
            if link.is_up() {
                borrower.link_up(link);
            }
        });
        Ok(Self(()))
    }
}

impl Drop for BorrowerRegistration {
    fn drop(&mut self) {
        let borrower = BORROWER.lock().take();
        if let Some(borrower) = borrower {
            borrower.wait();
        }
    }
}
