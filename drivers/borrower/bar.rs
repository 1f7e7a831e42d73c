// SPDX-License-Identifier: GPL-2.0

//! The NTB's BAR in which borrowed devices lie: claimed while there is one, and given back after the last.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use ntb::link::Link;
use pci_shim::WindowBar;

/// The BAR of one NTB.
#[pin_data]
pub(crate) struct Bar {
    #[pin]
    claimed: Mutex<Option<Claimed>>,
}

struct Claimed {
    window: Arc<WindowBar>,
    /// How many [`BarClaim`]s there are.
    claims: usize,
}

/// One user of the BAR, who has to let go of the [`WindowBar`] before this is dropped.
pub(crate) struct BarClaim(Arc<Bar>);

impl Bar {
    /// A BAR that nobody has claimed.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                claimed <- new_mutex!(None, "devlend_bar"),
            }),
            GFP_KERNEL,
        )
    }

    /// Claims the BAR in which `address`, a CPU address, lies. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`WindowBar::new`]; `ENODEV`: the NTB device is gone.
    pub(crate) fn claim(
        self: &Arc<Self>,
        link: &Link,
        address: u64,
    ) -> Result<(BarClaim, Arc<WindowBar>)> {
        let mut claimed = self.claimed.lock();
        let window = match &mut *claimed {
            Some(claimed) => {
                claimed.claims = claimed.claims.checked_add(1).ok_or(EOVERFLOW)?;
                claimed.window.clone()
            }
            None => {
                let window = link.with_device(|ntb| WindowBar::new(ntb.pci(), address))?;
                *claimed = Some(Claimed {
                    window: window.clone(),
                    claims: 1,
                });
                window
            }
        };
        Ok((BarClaim(self.clone()), window))
    }
}

impl Drop for BarClaim {
    fn drop(&mut self) {
        // The BAR is given back with the lock held: the next claim must find it as it was.
        let mut slot = self.0.claimed.lock();
        if let Some(claimed) = &mut *slot {
            claimed.claims = claimed.claims.saturating_sub(1);
            if claimed.claims == 0 {
                *slot = None;
            }
        }
    }
}
