// SPDX-License-Identifier: GPL-2.0

//! Files of bytes, of a size that is known: registers, for programs that read them.

use super::{
    Dir,
    Registered, //
};
use devlend_bindings as bindings;
use kernel::{
    alloc::flags::GFP_KERNEL,
    error::to_result,
    ffi::c_char,
    prelude::*,
    sync::{
        Arc,
        LockClassKey, //
    },
};

/// Fills a buffer with what the file holds from an offset on; buffer and offset are within its size. May sleep; an error
/// goes to the reader.
pub type Fill<T> = fn(&T, usize, &mut [u8]) -> Result;

/// One file of bytes, which only root can read (0400).
pub struct BinaryFile<T> {
    name: &'static CStr,
    class: Pin<&'static LockClassKey>,
    size: usize,
    fill: Fill<T>,
}

impl<T> BinaryFile<T> {
    /// A file of `size` bytes.
    pub const fn new(
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
        size: usize,
        fill: Fill<T>,
    ) -> Self {
        Self {
            name,
            class,
            size,
            fill,
        }
    }
}

/// A file of bytes: `sysfs_binary!(c"config", size, |device, offset, bytes| ...)`.
#[macro_export]
macro_rules! sysfs_binary {
    ($name:literal, $size:expr, $fill:expr) => {
        $crate::sysfs::BinaryFile::new($name, ::kernel::static_lock_class!(), $size, $fill)
    };
}

/// A file in the tree. The attribute comes first, so that its address is the node's.
///
/// # Invariants
///
/// While the node is in a [`Dir`], `attribute` is registered with sysfs.
#[repr(C)]
struct Node<T> {
    attribute: bindings::bin_attribute,
    context: Arc<T>,
    fill: Fill<T>,
}

// SAFETY: The attribute's pointers are to `'static` data, and the context is only handed out as `&T`.
unsafe impl<T: Send + Sync> Send for Node<T> {}

impl<T: Send + Sync> Registered for Node<T> {
    unsafe fn create(&self, kobj: *mut bindings::kobject) -> Result {
        // SAFETY: The caller vouches for `kobj`, and for the node, which is not moved.
        to_result(unsafe { bindings::sysfs_create_bin_file(kobj, &raw const self.attribute) })
    }

    unsafe fn remove(&self, kobj: *mut bindings::kobject) {
        // SAFETY: The caller vouches for `kobj`, and that the file is in it. The call waits for its users.
        unsafe { bindings::sysfs_remove_bin_file(kobj, &raw const self.attribute) };
    }
}

impl<T: Send + Sync> Node<T> {
    extern "C" fn read_callback(
        _file: *mut bindings::file,
        _kobj: *mut bindings::kobject,
        attribute: *const bindings::bin_attribute,
        buf: *mut c_char,
        offset: bindings::loff_t,
        count: usize,
    ) -> isize {
        // SAFETY: `attribute` is the first field of a `Node<T>`, which outlives the call because removing the file
        // waits for it.
        let node = unsafe { &*attribute.cast::<Self>() };
        // sysfs keeps to the size; this says so again.
        let Some(rest) = usize::try_from(offset)
            .ok()
            .and_then(|offset| node.attribute.size.checked_sub(offset))
        else {
            return 0;
        };
        let count = count.min(rest);
        // SAFETY: sysfs hands a buffer of that many bytes that nobody else uses during the call.
        let bytes = unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), count) };
        // PANIC: not below 0, as above.
        let offset = node.attribute.size - rest;

        // A buffer of sysfs' is not cleared.
        bytes.fill(0);
        match (node.fill)(&node.context, offset, bytes) {
            // CAST: At most a page.
            Ok(()) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }
}

impl Dir {
    /// Adds files of bytes with a common context. May sleep. On an error the files added so far stay until the drop.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EEXIST` where the name is taken.
    pub fn add_binary<T: Send + Sync + 'static, const N: usize>(
        &mut self,
        context: &Arc<T>,
        files: [BinaryFile<T>; N],
    ) -> Result {
        for file in files {
            let mut node = KBox::new(
                Node {
                    attribute: bindings::bin_attribute {
                        attr: bindings::attribute {
                            name: file.name.as_char_ptr(),
                            mode: 0o400,
                            ..Default::default()
                        },
                        size: file.size,
                        read: Some(Node::<T>::read_callback),
                        ..Default::default()
                    },
                    context: context.clone(),
                    fill: file.fill,
                },
                GFP_KERNEL,
            )?;
            // SAFETY: The attribute is not registered yet, and the class is `'static`.
            unsafe {
                bindings::sysfs_attr_set_class(&raw mut node.attribute.attr, file.class.as_ptr())
            };
            self.register(node)?;
        }
        Ok(())
    }
}
