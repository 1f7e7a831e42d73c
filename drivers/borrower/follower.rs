// SPDX-License-Identifier: GPL-2.0

//! The borrower, as the links see it. Nothing here waits for a peer: what has to is queued.

use crate::remote::Remote;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
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
    queue: Arc<OwnedQueue>,
}

impl Follower {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queue = Arc::new(OwnedQueue::new(c"devlend_borrower")?, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                remotes <- new_mutex!(KVec::new(), "devlend_remotes"),
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

    fn add(&self, link: &Arc<Link>) -> Result {
        // Held all along: two tasks may be told of the same link.
        let mut remotes = self.remotes.lock();
        if remotes.iter().any(|remote| Arc::ptr_eq(&remote.link, link)) {
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
        self.remotes
            .lock()
            .retain(|other| !Arc::ptr_eq(other, &remote));
        // Not waited for: work that is removing a device. It may be waiting for the rescan lock, which whoever removes
        // the NTB may hold; it finds the bus gone.
        remote.close(Removal::ParentUnbound);
    }

    fn offers_changed(&self, link: &Arc<Link>) {
        if let Some(remote) = self.remote(link) {
            remote.refresh();
        }
    }

    fn revoked(&self, link: &Arc<Link>, address: u32, epoch: u32) {
        if let Some(remote) = self.remote(link) {
            remote.revoke(address.into(), epoch);
        }
    }
}

/// Its drop gives everything back, and waits for the work that is under way.
pub(crate) struct ReturnAll(pub(crate) Arc<Follower>);

impl Drop for ReturnAll {
    fn drop(&mut self) {
        while let Some(remote) = {
            let mut remotes = self.0.remotes.lock();
            remotes.pop()
        } {
            remote.close(Removal::Return);
        }
        self.0.queue.drain();
    }
}
