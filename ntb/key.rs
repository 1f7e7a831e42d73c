// SPDX-License-Identifier: GPL-2.0

//! Keys of the kernel's keyrings, of the types "logon" and "user".
//!
//! The payload never leaves the keyring: what is made of it is a MAC.
//!
//! C header: [`include/linux/key.h`](srctree/include/linux/key.h)

use crate::errno::{
    ekeyexpired,
    ekeyrevoked,
    enokey, //
};
use devlend_bindings as bindings;
use devlend_protocol::{
    AttachRefusal,
    Nonce,
    Proof, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use core::ptr::NonNull;

/// A shorter payload is no key, bytes.
pub(crate) const SHORTEST: usize = 16;

/// A reference to a key.
///
/// # Invariants
///
/// The pointer is a key of type "logon" or "user" that this value holds a reference to.
pub(crate) struct Key(NonNull<bindings::key>);

// SAFETY: Keys are reference counted, and may be used and put from any thread.
unsafe impl Send for Key {}
// SAFETY: As above.
unsafe impl Sync for Key {}

impl Key {
    /// Finds a key in the caller's keyrings, and tries it. Does not call user space to make one, but waits for one that is
    /// just being made there.
    ///
    /// # Errors
    ///
    /// `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`; `EINVAL`: it is shorter than [`SHORTEST`]; `EOPNOTSUPP`: the kernel was
    /// built without keys.
    pub(crate) fn find(description: &CStr) -> Result<Self> {
        // SAFETY: The description is a C string.
        let key = from_err_ptr(unsafe { bindings::find_key(description.as_char_ptr()) })?;
        // INVARIANT: `find_key` hands its reference to us.
        let key = Self(NonNull::new(key).ok_or(enokey())?);
        key.try_mac(&[])?;
        Ok(key)
    }

    /// What people call it.
    pub(crate) fn description(&self) -> &CStr {
        // SAFETY: The key is valid by the type invariant, and its description is a C string that stays as it is.
        unsafe { CStr::from_char_ptr(bindings::key_description(self.0.as_ptr())) }
    }

    /// HMAC-SHA256 of a message. Does not sleep.
    ///
    /// # Errors
    ///
    /// What has become of the key.
    pub(crate) fn mac(&self, message: &[u8]) -> Result<Proof, AttachRefusal> {
        self.try_mac(message).map_err(|error| {
            // Without a key it was invalidated.
            if error == ekeyrevoked() || error == enokey() {
                AttachRefusal::Revoked
            } else if error == ekeyexpired() {
                AttachRefusal::Expired
            } else {
                AttachRefusal::Unusable
            }
        })
    }

    fn try_mac(&self, message: &[u8]) -> Result<Proof> {
        let mut mac: Proof = [0; 32];

        // SAFETY: The key is valid and of one of the two types, by the type invariant; the message is as long as said, and
        // the MAC has room for 32 bytes.
        to_result(unsafe {
            bindings::key_hmac_sha256(
                self.0.as_ptr(),
                message.as_ptr(),
                message.len(),
                SHORTEST,
                mac.as_mut_ptr(),
            )
        })?;
        Ok(mac)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant.
        unsafe { bindings::key_release(self.0.as_ptr()) };
    }
}

/// Random bytes that nobody has used or will use again.
pub(crate) fn nonce() -> Nonce {
    let mut nonce: Nonce = [0; 32];
    // SAFETY: As many bytes are written as there are.
    unsafe { bindings::get_random_bytes(nonce.as_mut_ptr().cast(), nonce.len()) };
    nonce
}
