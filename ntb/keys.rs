// SPDX-License-Identifier: GPL-2.0

//! Which key goes with which NTB, while the module is loaded: a link that goes and comes back has the key it had.

use crate::key::Key;
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        global_lock,
        Arc, //
    },
};

struct Entry {
    ntb: CString,
    key: Arc<Key>,
}

global_lock! {
    // SAFETY: Initialised in `Keys::new`, before the first use.
    unsafe(uninit) static KEYS: Mutex<KVec<Entry>> = KVec::new();
}

/// The keys' owner: there while the module is.
pub struct Keys(());

impl Keys {
    /// There are none yet.
    ///
    /// # Safety
    ///
    /// Called once in the life of the module, before the first link is made.
    pub unsafe fn new() -> Self {
        // SAFETY: The caller promises that this is the one call, and the first use.
        unsafe { KEYS.init() };
        Self(())
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        *KEYS.lock() = KVec::new();
    }
}

/// The key that was last set for the NTB of that name.
pub(crate) fn get(ntb: &CStr) -> Option<Arc<Key>> {
    let keys = KEYS.lock();
    let entry = keys.iter().find(|entry| *entry.ntb == *ntb)?;
    Some(entry.key.clone())
}

/// Keeps a key for the NTB of that name in place of the one before, or forgets that. May sleep.
///
/// # Errors
///
/// `ENOMEM`: nothing has changed.
pub(crate) fn set(ntb: &CStr, key: Option<&Arc<Key>>) -> Result {
    let mut keys = KEYS.lock();
    match (keys.iter_mut().find(|entry| *entry.ntb == *ntb), key) {
        (Some(entry), Some(key)) => entry.key = key.clone(),
        (None, Some(key)) => {
            let (ntb, key) = (CString::try_from(ntb)?, key.clone());
            keys.push(Entry { ntb, key }, GFP_KERNEL)?;
        }
        (_, None) => keys.retain(|entry| *entry.ntb != *ntb),
    }
    Ok(())
}
