// SPDX-License-Identifier: GPL-2.0

//! An interrupted program ends the beds that it started.
//!
//! The hosts live in sessions of their own, so a terminal's Ctrl-C reaches only the program; without this it
//! would leave them running.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{ensure, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::bed::Bed;

static BEDS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static ENDING: AtomicBool = AtomicBool::new(false);

/// Makes SIGINT, SIGTERM and SIGHUP end all beds that this program has started and not detached, and then the
/// program with status 130. To be called once, before the first bed.
///
/// # Errors
///
/// The signals cannot be caught.
pub fn end_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        ENDING.store(true, Ordering::SeqCst);
        eprintln!("bed: interrupted, ending the hosts");
        let beds = BEDS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for run_dir in beds {
            if let Err(error) = Bed::attach(Some(&run_dir)).and_then(|bed| bed.down()) {
                eprintln!("bed: {error:#}");
            }
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Whether the program is ending because of a signal: what fails now says nothing.
#[must_use]
pub fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// Refuses to start anything more once the program is ending.
pub(crate) fn check() -> Result<()> {
    ensure!(!is_ending(), "interrupted");
    Ok(())
}

pub(crate) fn add(run_dir: &Path) {
    BEDS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(run_dir.to_path_buf());
}

pub(crate) fn remove(run_dir: &Path) {
    BEDS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(run_dir);
}
