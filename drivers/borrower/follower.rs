// SPDX-License-Identifier: GPL-2.0

//! The borrower, as the links see it. Nothing here waits for a peer: what has to is queued.

use crate::remote::Remote;
use devlend_protocol::RevokeReason;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};
use ntb::{
    link::Link,
    queue::OwnedQueue,
    role::Borrower, //
};
use pci_shim::Removal;

/// All links of this host.
#[pin_data]
pub(crate) struct Follower {
    #[pin]
    remotes: Mutex<KVec<Arc<Remote>>>,
    /// The module goes: no link is followed any more.
    closing: Atomic<bool>,
    queue: Arc<OwnedQueue>,
}

impl Follower {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queue = Arc::new(OwnedQueue::new(c"devlend_borrower")?, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                remotes <- new_mutex!(KVec::new(), "devlend_remotes"),
                closing: Atomic::new(false),
                queue,
            }),
            GFP_KERNEL,
        )
    }

    fn remote(&self, link: &Arc<Link>) -> Option<Arc<Remote>> {
        self.remotes
            .lock()
            .iter()
            .find(|remote| Arc::ptr_eq(&remote.link, link))
            .cloned()
    }

    fn any(&self) -> Option<Arc<Remote>> {
        self.remotes.lock().first().cloned()
    }

    /// Only when it is closed: until then the end of its link has to find it.
    fn forget(&self, remote: &Arc<Remote>) {
        self.remotes
            .lock()
            .retain(|other| !Arc::ptr_eq(other, remote));
    }

    fn add(&self, link: &Arc<Link>) -> Result {
        // Held all along: two tasks may be told of the same link.
        let mut remotes = self.remotes.lock();
        let is_known = remotes.iter().any(|remote| Arc::ptr_eq(&remote.link, link));
        if is_known || self.closing.load(Relaxed) {
            return Ok(());
        }
        // Room first: what is made and then not kept would have to be taken away again.
        remotes.reserve(1, GFP_KERNEL)?;
        let remote = Remote::new(link.clone(), self.queue.clone())?;
        Ok(remotes.push(remote, GFP_KERNEL)?)
    }
}

impl Borrower for Follower {
    fn link_added(&self, link: &Arc<Link>) {
        if let Err(error) = self.add(link) {
            dev_err!(link.dev(), "cannot borrow over this link ({error:?})\n");
        }
    }

    fn link_up(&self, link: &Arc<Link>) {
        if let Some(remote) = self.remote(link) {
            remote.wishes.renew();
            remote.refresh();
        }
    }

    fn link_down(&self, link: &Arc<Link>) {
        if let Some(remote) = self.remote(link) {
            remote.lose_all();
        }
    }

    fn link_removed(&self, link: &Arc<Link>) {
        let Some(remote) = self.remote(link) else {
            return;
        };
        // Not waited for: work that is removing a device. It may be waiting for the rescan lock, which whoever removes
        // the NTB may hold; it finds the bus gone.
        remote.close(Removal::ParentUnbound);
        self.forget(&remote);
    }

    fn offers_changed(&self, link: &Arc<Link>) {
        if let Some(remote) = self.remote(link) {
            remote.refresh();
        }
    }

    fn revoked(&self, link: &Arc<Link>, address: u32, epoch: u32, reason: Option<RevokeReason>) {
        if let Some(remote) = self.remote(link) {
            let why = reason.map_or("taken back", RevokeReason::as_str);
            remote.revoke(address.into(), epoch, why);
        }
    }

    fn device_error(&self, link: &Arc<Link>, address: u32, epoch: u32) {
        if let Some(remote) = self.remote(link) {
            remote.device_error(address.into(), epoch);
        }
    }

    fn interrupt(&self, link: &Arc<Link>, address: u32, epoch: u32) -> bool {
        self.remote(link)
            .is_some_and(|remote| remote.interrupt(address.into(), epoch))
    }

    fn in_use(&self) -> bool {
        let remotes = self.remotes.lock();
        remotes.iter().any(|remote| remote.has_leases())
    }

    fn take_back(&self, link: &Arc<Link>, address: u32, epoch: u32, seconds: u32) {
        if let Some(remote) = self.remote(link) {
            remote.take_back(address.into(), epoch, seconds);
        }
    }
}

/// Its drop gives everything back, and waits for the work that is under way.
///
/// The role is still registered, so that an NTB that goes away meanwhile waits for what is borrowed through it.
pub(crate) struct ReturnAll(pub(crate) Arc<Follower>);

impl Drop for ReturnAll {
    fn drop(&mut self) {
        let follower = &self.0;
        follower.closing.store(true, Relaxed);
        while let Some(remote) = follower.any() {
            remote.close(Removal::Return);
            follower.forget(&remote);
        }
    }
}

/// Its drop waits for the work that is under way, when nobody queues any more.
pub(crate) struct Drain(pub(crate) Arc<Follower>);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.queue.drain();
    }
}
