// SPDX-License-Identifier: GPL-2.0

//! What is made to go wrong goes wrong like that, and nothing else does.

mod cable;
mod doorbells;
mod frozen;
mod late;
mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;
use ntb_emu::fault::Fault;
use ntb_emu::link::Link;

pub const MS: Duration = Duration::from_millis(1);

pub fn delay(host: &str, by: Duration) -> Fault {
    Fault::Delay {
        host: Some(host.into()),
        by,
    }
}

pub fn freeze(host: &str) -> Fault {
    Fault::Freeze { host: host.into() }
}

/// What calls `tick`, as the process has it.
pub struct Clock {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    pub fn of(link: &Arc<Link>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (link, over) = (link.clone(), end.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(100 * MS);
                link.tick();
            }
        });
        let thread = Some(thread);
        Self { end, thread }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(MS);
    }
}

pub fn is_clear(link: &Link) -> bool {
    serde_json::to_value(link.active_faults()).unwrap() == serde_json::json!({})
}
