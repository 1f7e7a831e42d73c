// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/devlend`, and the directory of links in it.

use crate::sysfs::Dir;
use kernel::{
    prelude::*,
    sync::global_lock, //
};

struct Tree {
    // Below `root`, so dropped first.
    links: Dir,
    root: Dir,
}

global_lock! {
    // SAFETY: Initialised in `Root::new`, before the first use.
    unsafe(uninit) static TREE: Mutex<Option<Tree>> = None;
}

/// The tree's owner: there while the module is.
pub struct Root(());

impl Root {
    /// Makes the tree. May sleep.
    ///
    /// # Safety
    ///
    /// Called once in the life of the module.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or somebody else has the name.
    pub unsafe fn new() -> Result<Self> {
        // SAFETY: The caller promises that this is the one call.
        unsafe { TREE.init() };

        let root = Dir::in_kernel(c"devlend")?;
        let links = root.dir(c"links")?;
        *TREE.lock() = Some(Tree { links, root });
        Ok(Self(()))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let tree = TREE.lock().take();
        drop(tree);
    }
}

/// Calls `make` with the directory of links.
pub(crate) fn links<R>(make: impl FnOnce(&Dir) -> Result<R>) -> Result<R> {
    make(&TREE.lock().as_ref().ok_or(ENODEV)?.links)
}

/// Makes a directory of a role.
///
/// # Errors
///
/// `ENOMEM`, or the name is taken.
pub fn role(name: &CStr) -> Result<Dir> {
    TREE.lock().as_ref().ok_or(ENODEV)?.root.dir(name)
}
