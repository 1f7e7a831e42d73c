// SPDX-License-Identifier: GPL-2.0

//! A link in operation: two hosts, the model between them, and the accesses that cross.
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
//! With faults that hold things up, what a host sends waits in a line and arrives in that order; the rules above are then
//! those of the courier, the thread that empties the lines.
//!
//! # Locks
//!
//! No lock is held while another is taken, but for a window's look at the table of the peer's memory, and while faults
//! are put in and the cable is moved: these come first. None is held while waiting for a host.

mod attention;
mod courier;
mod end;
mod faults;
mod inject;
mod place;
mod region;
mod watch;
mod window;

pub use end::End;
pub use faults::{ActiveFaults, EndReport, FlapReport};
pub use place::{Place, Taken};
pub use watch::Watching;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};
use zerocopy::IntoBytes;

use crate::connection::{Connection, Question, Waiter};
use crate::layout::Layout;
use crate::model::{Effect, Family, Model, Window, WindowError};
use crate::side::{PerSide, Side};
use crate::trace::{Names, Outcome};
use crate::waits::Waits;
use crate::wire::Reply;
use attention::{Attention, Notice};
use faults::Faults;
use watch::Watchers;

/// How long a host may take to answer a read of one of its devices. QEMU gives up on us after 5 s, for good.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(1);

/// One end of a link as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndSpec {
    /// What it is called in logs and counters.
    pub name: String,
    /// Which host it is in, by its number in [`Waits`].
    pub host: usize,
    /// The file that is that host's RAM.
    pub ram: PathBuf,
}

/// A link as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// What it is called in logs and counters.
    pub name: String,
    /// Its hardware family.
    pub family: Family,
    /// The windows of both sides.
    pub windows: Vec<Window>,
    /// Its ends, primary first.
    pub ends: [EndSpec; 2],
}

/// A bridge between two hosts, or between two slots of one host.
#[derive(Debug)]
pub struct Link {
    name: String,
    family: Family,
    layout: Layout,
    windows: Vec<Window>,
    model: Mutex<Box<dyn Model>>,
    ends: PerSide<End>,
    waits: Waits,
    notice: Arc<Notice>,
    faults: Arc<Faults>,
    watchers: Watchers,
    /// One fault after the other is put in.
    injecting: Mutex<()>,
    /// Whether the model's cable is in.
    cable: Mutex<bool>,
}

impl Link {
    /// A link. `waits` is shared by all links between the same hosts.
    ///
    /// # Errors
    ///
    /// The family cannot have such windows.
    pub fn new(spec: LinkSpec, waits: Waits) -> Result<Self, WindowError> {
        let model = spec.family.build(&spec.windows)?;
        let layout = model.layout().clone();
        let notice = Arc::<Notice>::default();
        let names = Names {
            link: spec.name.clone(),
            hosts: PerSide(spec.ends.each_ref().map(|end| end.name.clone())),
        };
        Ok(Self {
            name: spec.name,
            family: spec.family,
            ends: PerSide(spec.ends.map(|end| End::new(end, &layout))),
            layout,
            windows: spec.windows,
            model: Mutex::new(model),
            waits,
            faults: Arc::new(Faults::new(notice.clone())),
            watchers: Watchers::new(notice.clone(), names),
            notice,
            injecting: Mutex::default(),
            cable: Mutex::new(true),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its hardware family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// One of its ends.
    pub fn end(&self, side: Side) -> &End {
        &self.ends[side]
    }

    /// The regions of its functions.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The windows as configured.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Registers, configuration space and translations of both sides.
    pub fn model(&self) -> MutexGuard<'_, Box<dyn Model>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What accesses have to mind.
    fn attention(&self) -> Attention {
        self.notice.read()
    }

    /// A host has appeared.
    pub fn connected(&self, connection: &Arc<Connection>) {
        let side = connection.side;
        let end = self.end(side);
        end.counters.connections.one();
        end.set_connection(Some(connection.clone()));
        let (effect, up) = {
            let mut model = self.model();
            (model.attach(side), model.link())
        };
        info!(link = self.name, host = end.name, up, "connected");
        self.tell_event(side, "connected");
        self.fire(effect);
    }

    /// A host has vanished.
    pub fn disconnected(&self, connection: &Connection) {
        let side = connection.side;
        let end = self.end(side);
        // First close the ways in, then say that it has gone.
        end.forget();
        let effect = self.model().detach(side);
        self.lose_all();
        for question in connection.close() {
            self.unanswered(side, question, Unanswered::Lost);
        }
        self.tell_event(side, "disconnected");
        self.fire(effect);
        info!(link = self.name, host = end.name, "disconnected");
    }

    /// A host resets its function.
    pub fn reset(&self, side: Side) {
        let end = self.end(side);
        end.counters.resets.one();
        let effect = self.model().reset(side);
        self.lose_all();
        self.tell_event(side, "reset");
        self.fire(effect);
        info!(link = self.name, host = end.name, "reset");
    }

    /// A host's QEMU has answered something.
    pub fn answer(&self, connection: &Connection, reply: &Reply<'_>) {
        let counters = &self.end(connection.side).counters;
        match connection.answered(reply) {
            Some(Question {
                waiter: Waiter::Doorbell(doorbell),
                ..
            }) => self.ring(doorbell),
            Some(Question {
                waiter: Waiter::Read(mut read),
                address,
                count,
                ..
            }) => {
                let data = reply.read_data(address, count);
                read.outcome = Outcome::Device;
                if data.is_none() {
                    read.outcome = Outcome::Failed;
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

    /// Lets time pass: goes on with what takes the hardware a while, and gives up on what has not been answered in time. To
    /// be called about ten times a second.
    pub fn tick(&self) {
        let effect = self.model().tick();
        self.fire(effect);
        for side in Side::BOTH {
            if let Some(connection) = self.end(side).connection() {
                for question in connection.overdue() {
                    self.unanswered(side, question, Unanswered::Late);
                }
            }
        }
        for (_, packet) in self.faults.take_overdue() {
            self.give_up(packet);
        }
    }

    /// Gives up hosts whose event descriptors make others wait; to be called often, by a thread that signals none.
    pub fn relieve(&self) {
        for side in Side::BOTH {
            let end = self.end(side);
            if !end.interrupts.relieve() {
                continue;
            }
            let reason = "it has filled the counter of an event descriptor and makes us wait";
            error!(
                link = self.name,
                host = end.name,
                reason,
                "connection given up"
            );
            if let Some(connection) = end.connection() {
                connection.outbox().close();
            }
        }
    }

    /// Sees to it that whoever waits for `question`, asked of the host on `side`, goes on without an answer.
    fn unanswered(&self, side: Side, question: Question, why: Unanswered) {
        match question.waiter {
            Waiter::Doorbell(doorbell) => self.ring(doorbell),
            Waiter::Read(mut read) => {
                let counters = self.window_counters(read.reader.side, read.window);
                match why {
                    Unanswered::Late => {
                        warn!(
                            link = self.name,
                            host = self.end(read.reader.side).name,
                            peer = self.end(side).name,
                            address = format_args!("{:#x}", question.address),
                            "read not answered in time"
                        );
                        counters.timeouts.one();
                        read.outcome = Outcome::Timeout;
                    }
                    Unanswered::Lost => {
                        counters.failed.one();
                        read.outcome = Outcome::Failed;
                    }
                }
                self.answer_read(read, None);
            }
        }
    }

    fn fire(&self, effect: Effect) {
        for side in Side::BOTH {
            self.signal(side, effect.vectors(side));
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.faults.close();
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
