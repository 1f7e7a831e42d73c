// SPDX-License-Identifier: GPL-2.0

//! Directories and files below `/sys/kernel/devlend`.
//!
//! A [`Dir`] is a kobject; its files are a context (`Arc<T>`) and a pair of functions. Removing a file waits for
//! readers and writers inside it, so a context is never used after its [`Dir`] is dropped.
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use devlend_bindings as bindings;
use kernel::{
    alloc::flags::GFP_KERNEL,
    error::to_result,
    ffi::c_char,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        LockClassKey, //
    },
};

use core::{
    fmt,
    ptr::NonNull, //
};

mod binary;

pub use binary::{
    BinaryFile,
    Fill, //
};

/// The page a file's value is printed into; what does not fit is an error of the printing function.
pub struct Page<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

impl Page<'_> {
    /// What `writeln!` calls.
    ///
    /// # Errors
    ///
    /// The page is full.
    pub fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> fmt::Result {
        fmt::Write::write_fmt(self, arguments)
    }
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.used.checked_add(s.len()).ok_or(fmt::Error)?;
        self.bytes
            .get_mut(self.used..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(s.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// Prints a file's value. May sleep.
pub type Show<T> = fn(&T, &mut Page<'_>) -> fmt::Result;

/// Takes what was written to a file. May sleep; an error goes to the writer.
pub type Store<T> = fn(&Arc<T>, &[u8]) -> Result;

/// One file: its name, its mode (from which functions are there), and its lock class.
pub struct File<T> {
    name: &'static CStr,
    class: Pin<&'static LockClassKey>,
    show: Option<Show<T>>,
    store: Option<Store<T>>,
}

impl<T> File<T> {
    /// A file that can be read by everybody (0444).
    pub const fn read(
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
        show: Show<T>,
    ) -> Self {
        Self {
            name,
            class,
            show: Some(show),
            store: None,
        }
    }

    /// A file that only root can write, and nobody can read (0200).
    pub const fn write(
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
        store: Store<T>,
    ) -> Self {
        Self {
            name,
            class,
            show: None,
            store: Some(store),
        }
    }

    /// A file that everybody can read and only root can write (0644).
    pub const fn read_write(
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
        show: Show<T>,
        store: Store<T>,
    ) -> Self {
        Self {
            name,
            class,
            show: Some(show),
            store: Some(store),
        }
    }
}

/// A file that can be read: `read!(c"state", |link, page| ...)`.
#[macro_export]
macro_rules! sysfs_read {
    ($name:literal, $show:expr) => {
        $crate::sysfs::File::read($name, ::kernel::static_lock_class!(), $show)
    };
}

/// A file that can be written.
#[macro_export]
macro_rules! sysfs_write {
    ($name:literal, $store:expr) => {
        $crate::sysfs::File::write($name, ::kernel::static_lock_class!(), $store)
    };
}

/// A file that can be read and written.
#[macro_export]
macro_rules! sysfs_read_write {
    ($name:literal, $show:expr, $store:expr) => {
        $crate::sysfs::File::read_write($name, ::kernel::static_lock_class!(), $show, $store)
    };
}

/// A file in the tree. The attribute comes first, so that its address is the node's.
///
/// # Invariants
///
/// While the node is in a [`Dir`], `attribute` is registered with sysfs.
#[repr(C)]
struct Node<T> {
    attribute: bindings::kobj_attribute,
    context: Arc<T>,
    show: Option<Show<T>>,
    store: Option<Store<T>>,
}

/// What a [`Dir`] needs of a node, whatever its kind and its context.
trait Registered: Send {
    /// Makes the node's file.
    ///
    /// # Safety
    ///
    /// `kobj` is a live kobject; the node stays where it is until the file is removed.
    unsafe fn create(&self, kobj: *mut bindings::kobject) -> Result;

    /// Removes the node's file, and waits for those who use it.
    ///
    /// # Safety
    ///
    /// `kobj` is a live kobject, and the node's file is in it.
    unsafe fn remove(&self, kobj: *mut bindings::kobject);
}

// SAFETY: The attribute's pointers are to `'static` data, and the context is only handed out as `&T`.
unsafe impl<T: Send + Sync> Send for Node<T> {}

impl<T: Send + Sync> Registered for Node<T> {
    unsafe fn create(&self, kobj: *mut bindings::kobject) -> Result {
        // SAFETY: The caller vouches for `kobj`, and for the node, which is not moved.
        to_result(unsafe { bindings::sysfs_create_attr(kobj, &raw const self.attribute.attr) })
    }

    unsafe fn remove(&self, kobj: *mut bindings::kobject) {
        // SAFETY: The caller vouches for `kobj`, and that the file is in it. The call waits for its users.
        unsafe { bindings::sysfs_remove_attr(kobj, &raw const self.attribute.attr) };
    }
}

impl<T: Send + Sync> Node<T> {
    extern "C" fn show_callback(
        _kobj: *mut bindings::kobject,
        attribute: *mut bindings::kobj_attribute,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: `attribute` is the first field of a `Node<T>`, which outlives the call because removing the file
        // waits for it.
        let node = unsafe { &*attribute.cast::<Self>() };
        // SAFETY: sysfs hands a page that nobody else uses during the call.
        let bytes = unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), PAGE_SIZE) };
        let mut page = Page { bytes, used: 0 };

        match node.show.map(|show| show(&node.context, &mut page)) {
            // CAST: A page's size fits.
            Some(Ok(())) => page.used as isize,
            Some(Err(_)) => EOVERFLOW.to_errno() as isize,
            None => EIO.to_errno() as isize,
        }
    }

    extern "C" fn store_callback(
        _kobj: *mut bindings::kobject,
        attribute: *mut bindings::kobj_attribute,
        buf: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: As in `show_callback`.
        let node = unsafe { &*attribute.cast::<Self>() };
        // SAFETY: sysfs hands `count` bytes that stay as they are during the call.
        let bytes = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };

        match node.store.map(|store| store(&node.context, bytes)) {
            // CAST: A write to sysfs has at most a page.
            Some(Ok(())) => count as isize,
            Some(Err(error)) => error.to_errno() as isize,
            None => EIO.to_errno() as isize,
        }
    }
}

/// A directory and the files in it; dropped, it takes its files away first.
///
/// # Invariants
///
/// `kobj` is a kobject this directory holds a reference to; every node has a file in it.
pub struct Dir {
    kobj: NonNull<bindings::kobject>,
    nodes: KVec<KBox<dyn Registered>>,
}

// SAFETY: A kobject may be used and put from any thread.
unsafe impl Send for Dir {}
// SAFETY: `&Dir` allows nothing but creating a directory below it, which sysfs serialises.
unsafe impl Sync for Dir {}

impl Dir {
    /// Makes a directory in `/sys/kernel`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or the name is taken.
    pub fn in_kernel(name: &CStr) -> Result<Self> {
        // SAFETY: The kernel's kobject lives as long as the kernel.
        unsafe { Self::create(name, bindings::kernel_kobj) }
    }

    /// Makes a directory in this one. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or the name is taken.
    pub fn dir(&self, name: &CStr) -> Result<Self> {
        // SAFETY: `self.kobj` is valid by the type invariant.
        unsafe { Self::create(name, self.kobj.as_ptr()) }
    }

    /// The same directory, with files of its own: dropped, only they go away.
    pub fn share(&self) -> Self {
        // SAFETY: `self.kobj` is valid by the type invariant.
        unsafe { bindings::kobject_get(self.kobj.as_ptr()) };

        // INVARIANT: The reference was taken just now.
        Self {
            kobj: self.kobj,
            nodes: KVec::new(),
        }
    }

    /// # Safety
    ///
    /// `parent` is a live kobject.
    unsafe fn create(name: &CStr, parent: *mut bindings::kobject) -> Result<Self> {
        // SAFETY: `name` is a C string that is copied; the caller vouches for `parent`.
        let kobj = unsafe { bindings::kobject_create_and_add(name.as_char_ptr(), parent) };

        // INVARIANT: `kobject_create_and_add` hands its reference to us.
        Ok(Self {
            kobj: NonNull::new(kobj).ok_or(ENOMEM)?,
            nodes: KVec::new(),
        })
    }

    /// Adds files with a common context. May sleep. On an error the files added so far stay until the drop.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EEXIST` where the name is taken.
    pub fn add<T: Send + Sync + 'static, const N: usize>(
        &mut self,
        context: &Arc<T>,
        files: [File<T>; N],
    ) -> Result {
        for file in files {
            let mode = match (&file.show, &file.store) {
                (Some(_), Some(_)) => 0o644,
                (None, _) => 0o200,
                (_, None) => 0o444,
            };
            let mut node = KBox::new(
                Node {
                    attribute: bindings::kobj_attribute {
                        attr: bindings::attribute {
                            name: file.name.as_char_ptr(),
                            mode,
                            ..Default::default()
                        },
                        ..Default::default()
                    },
                    context: context.clone(),
                    show: file.show,
                    store: file.store,
                },
                GFP_KERNEL,
            )?;
            // SAFETY: The attribute is not registered yet, the class is `'static`, and the callbacks are those of its node's type.
            unsafe {
                bindings::sysfs_attr_set_class(&raw mut node.attribute.attr, file.class.as_ptr());
                bindings::kobj_attribute_set(
                    &raw mut node.attribute,
                    node.show.and(Some(Node::<T>::show_callback)),
                    node.store.and(Some(Node::<T>::store_callback)),
                );
            };
            self.register(node)?;
        }
        Ok(())
    }

    /// Makes a node's file, and keeps the node.
    fn register(&mut self, node: KBox<dyn Registered>) -> Result {
        self.nodes.push(node, GFP_KERNEL)?;
        let created = self.nodes.last().map_or(Err(EINVAL), |node| {
            // SAFETY: `self.kobj` is valid by the type invariant, and the box's contents stay where they are until the file
            // is removed again.
            unsafe { node.create(self.kobj.as_ptr()) }
        });
        if created.is_err() {
            // Only files are in the list, or the drop would remove one that is not there.
            drop(self.nodes.pop());
        }
        created
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        for node in &self.nodes {
            // SAFETY: By the type invariant the node's file is in `self.kobj`. The call waits for its users.
            unsafe { node.remove(self.kobj.as_ptr()) };
        }
        // SAFETY: The reference is ours by the type invariant.
        unsafe { bindings::kobject_put(self.kobj.as_ptr()) };
    }
}
