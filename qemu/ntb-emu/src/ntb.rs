// SPDX-License-Identifier: GPL-2.0

//! The bridge in operation: two hosts, the registers between them, and the accesses that cross.
//!
//! # Order
//!
//! Everything a host sends is handled by one thread, in the order sent. What it writes arrives like this:
//!
//! - to RAM: before anything that the host sends later is looked at;
//! - to a device (or the MSI range): handed to the peer's QEMU, which keeps the order of all such writes and reads;
//! - doorbells: after all earlier writes, those to devices included. If some are still under way, the doorbell waits
//!   until an empty read behind them is answered, or for [`FORWARD_TIMEOUT`] if it is not.
//!
//! Not kept: a write to RAM may be seen before an *earlier* write to a device has been carried out. A register write
//! other than a doorbell may be seen before an earlier doorbell that waits.
//!
//! # Locks
//!
//! No lock is held while another is taken, but for a window's look at the table of the peer's memory. None is held
//! while waiting for a host.

mod host;
mod region;
mod window;

pub use host::Host;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};
use zerocopy::IntoBytes;

use crate::amd::{Bridge, Effect, Fixed, PerSide, Side, WINDOWS};
use crate::connection::{Connection, Question, Waiter};
use crate::layout::Layout;
use crate::waits::Waits;
use crate::wire::Reply;

/// How long a host may take to answer a read of one of its devices. QEMU gives up on us after 5 s, for good.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(1);

/// A memory window as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Bytes, a power of two.
    pub size: u64,
    /// Whether the peer's RAM is to be mapped into it, with a translation of 0 that cannot be changed.
    pub direct: bool,
}

/// The bridge.
#[derive(Debug)]
pub struct Ntb {
    layout: Layout,
    windows: [Window; WINDOWS],
    registers: Mutex<Bridge>,
    hosts: PerSide<Host>,
    waits: Waits,
}

impl Ntb {
    /// A bridge between two hosts, primary first: for each its name and its RAM file.
    pub fn new(windows: [Window; WINDOWS], hosts: [(String, PathBuf); 2]) -> Self {
        let layout = Layout::new(windows.map(|window| window.size));
        let fixed = windows.map(|window| {
            if window.direct {
                Fixed::AtZero
            } else {
                Fixed::No
            }
        });
        let hosts = hosts.map(|(name, ram)| Host::new(name, ram, &layout));
        let waits = Waits::new(hosts.len());
        Self {
            layout,
            windows,
            registers: Mutex::new(Bridge::new(fixed)),
            hosts: PerSide(hosts),
            waits,
        }
    }

    /// One of the hosts.
    pub fn host(&self, side: Side) -> &Host {
        &self.hosts[side]
    }

    /// Its regions.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The windows as configured.
    pub fn windows(&self) -> &[Window; WINDOWS] {
        &self.windows
    }

    /// The registers.
    pub fn registers(&self) -> MutexGuard<'_, Bridge> {
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A host has appeared.
    pub fn connected(&self, connection: &Arc<Connection>) {
        let side = connection.side;
        let host = self.host(side);
        host.counters.connections.one();
        host.set_connection(Some(connection.clone()));
        let (effect, link) = {
            let mut registers = self.registers();
            (registers.connect(side), registers.link())
        };
        info!(host = host.name, link, "connected");
        self.fire(effect);
    }

    /// A host has vanished.
    pub fn disconnected(&self, connection: &Connection) {
        let side = connection.side;
        let host = self.host(side);
        // First close the ways in, then say that it has gone.
        host.forget();
        let effect = self.registers().disconnect(side);
        for question in connection.close() {
            self.unanswered(side, question, Unanswered::Lost);
        }
        self.fire(effect);
        info!(host = host.name, "disconnected");
    }

    /// A host resets its function.
    pub fn reset(&self, side: Side) {
        let host = self.host(side);
        host.counters.resets.one();
        host.reset();
        let effect = self.registers().reset(side);
        self.fire(effect);
        info!(host = host.name, "reset");
    }

    /// A host's QEMU has answered something.
    pub fn answer(&self, connection: &Connection, reply: &Reply<'_>) {
        let counters = &self.host(connection.side).counters;
        match connection.answered(reply) {
            Some(Question {
                waiter: Waiter::Doorbell(doorbell),
                ..
            }) => self.ring(doorbell),
            Some(Question {
                waiter: Waiter::Read(read),
                address,
                count,
                ..
            }) => {
                let data = reply.read_data(address, count);
                if data.is_none() {
                    self.window_counters(read.reader.side, read.window)
                        .failed
                        .one();
                }
                self.finish_read(read, data);
            }
            None if reply.header.is_refusal() => counters.write_errors.one(),
            None => counters.late_replies.one(),
        }
    }

    /// Gives up on what has not been answered in time; to be called often.
    pub fn expire(&self) {
        for side in Side::BOTH {
            if let Some(connection) = self.host(side).connection() {
                for question in connection.overdue(FORWARD_TIMEOUT) {
                    self.unanswered(side, question, Unanswered::Late);
                }
            }
        }
    }

    /// Sees to it that whoever waits for `question`, asked of the host on `side`, goes on without an answer.
    fn unanswered(&self, side: Side, question: Question, why: Unanswered) {
        match question.waiter {
            Waiter::Doorbell(doorbell) => self.ring(doorbell),
            Waiter::Read(read) => {
                let counters = self.window_counters(read.reader.side, read.window);
                match why {
                    Unanswered::Late => {
                        warn!(
                            host = self.host(read.reader.side).name,
                            peer = self.host(side).name,
                            address = format_args!("{:#x}", question.address),
                            "read not answered in time"
                        );
                        counters.timeouts.one();
                    }
                    Unanswered::Lost => counters.failed.one(),
                }
                self.finish_read(read, None);
            }
        }
    }

    fn fire(&self, effect: Effect) {
        for side in Side::BOTH {
            let host = self.host(side);
            host.counters
                .msix_fired
                .add(host.interrupts.fire(effect.vectors(side)));
        }
    }
}

enum Unanswered {
    Late,
    Lost,
}

/// Answers a command that has come over `connection`. If that cannot be sent, the connection is over, which its own
/// thread will find out.
pub(crate) fn reply(connection: &Connection, header: &crate::wire::Header, parts: [&[u8]; 2]) {
    let [first, second] = parts;
    let head = header.reply(first.len() + second.len());
    if let Err(error) = connection
        .outbox()
        .send(&[head.as_bytes(), first, second], None)
    {
        warn!(side = ?connection.side, %error, "reply not sent");
        connection.outbox().close();
    }
}
