// SPDX-License-Identifier: GPL-2.0

//! Turns at something that serves one client at a time, between programs.
//!
//! Two files are locked. Whoever is next holds the first while it waits for the second: without it, a client that
//! comes back at once would always be faster than one that has been waiting.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

const PAUSE: Duration = Duration::from_millis(5);

/// The place where turns are taken.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    next: PathBuf,
    now: PathBuf,
}

/// A turn; it ends when the value is dropped.
pub(crate) struct Turn {
    _lock: Flock<File>,
}

impl Turns {
    /// Lock files are made beside `path`, with the endings `.next` and `.now`.
    pub fn at(path: &Path) -> Self {
        Self {
            next: path.with_extension("next"),
            now: path.with_extension("now"),
        }
    }

    /// Waits for a turn.
    pub fn take(&self, limit: Duration) -> Result<Turn> {
        let end = Instant::now() + limit;
        let next = lock(&self.next, end)?;
        let now = lock(&self.now, end)?;
        drop(next);
        Ok(Turn { _lock: now })
    }

    /// Removes the files.
    pub fn clear(&self) {
        for file in [&self.next, &self.now] {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn lock(path: &Path, end: Instant) -> Result<Flock<File>> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() >= end => {
                bail!(
                    "waited for a turn, but others kept theirs ({})",
                    path.display()
                )
            }
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
            Err((_, error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
        sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_greedy_client_lets_others_through() {
        let dir = tempfile::tempdir().unwrap();
        let turns = Turns::at(&dir.path().join("x"));
        let done = AtomicBool::new(false);
        let limit = Duration::from_secs(20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let turn = turns.take(limit).unwrap();
                    sleep(Duration::from_millis(20));
                    drop(turn);
                }
            });
            sleep(Duration::from_millis(50));
            for _ in 0..20 {
                let start = Instant::now();
                drop(turns.take(limit).unwrap());
                assert!(start.elapsed() < Duration::from_secs(2));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn the_wait_ends() {
        let dir = tempfile::tempdir().unwrap();
        let turns = Turns::at(&dir.path().join("x"));
        let held = turns.take(Duration::ZERO).unwrap();
        assert!(turns.take(Duration::from_millis(30)).is_err());
        drop(held);
        assert!(turns.take(Duration::ZERO).is_ok());
    }
}
