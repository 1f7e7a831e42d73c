// SPDX-License-Identifier: GPL-2.0

//! A link: this host and one peer, joined by one NTB device.
//!
//! The life of a link, top to bottom: `bind` makes it when the NTB device is probed; events from the hardware queue
//! `handshake`, which brings the session up and down; `serve` takes the peer's requests off our ring; `request` puts
//! ours on the peer's. The roles see [`Link`] and [`Peer`].
//!
//! Lock order: set-up, all links' keys, key, attach, peer, pulse, receiver, session, control block. The session's lock is
//! raw, since configuration accessors send from under raw spinlocks with interrupts off.

mod attach;
mod attributes;
mod bind;
mod counters;
mod handshake;
mod keepalive;
mod notice;
mod request;
mod serve;
mod windows;

pub use self::{
    bind::Ntb,
    counters::{
        Counter,
        Counters,
        Longest, //
    },
    notice::{
        Notice,
        Signal, //
    },
    request::{
        Refusal,
        Scope,
        TIMEOUT, //
    },
    serve::Incoming, //
};

use crate::{
    client::Context,
    control::{
        OwnBlock,
        PeerBlock, //
    },
    device::{
        Device,
        Handle,
        Outbound, //
    },
    duty::Duty,
    errno::enotconn,
    key::Key,
    keys,
    new_raw_spinlock,
    queue::OwnedQueue,
    rate_limit::RateLimit,
    raw_lock::RawSpinLock,
    sysfs::Dir,
    ticker::Ticking, //
};
use devlend_protocol::{
    credit::Credit,
    Announcement,
    AnnouncementError,
    Consumer,
    Features,
    Handshake,
    Plan,
    Producer,
    Tags,
    SLOT_SIZE, //
};
use kernel::{
    device,
    impl_has_work,
    new_mutex,
    new_work,
    pci,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    workqueue::Work, //
};

/// Doorbell bit: there are requests in your ring.
const DOORBELL_REQUEST: u64 = 1 << 0;
/// Doorbell bit: my scratchpads have changed.
const DOORBELL_HANDSHAKE: u64 = 1 << 1;

/// Id of the next link.
static NEXT_ID: Atomic<u32> = Atomic::new(1);

/// How far a link has come.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// The hardware says that the link is down.
    Down = 0,
    /// The link is up, the peer's devlend has not answered yet.
    Waiting = 1,
    /// The session is up.
    Up = 2,
    /// The peer has answered, but one of the two has not the right key.
    Refused = 3,
}

/// What a session needs of the peer, told by the peer. Values are bounded where they are used.
#[derive(Clone, Copy)]
pub struct Peer {
    /// Names the session in which the peer said this.
    pub session: u32,
    /// Protocol version both speak.
    pub version: u16,
    /// What both can do.
    pub features: Features,
    /// Window that shows the peer's RAM.
    pub memory: Outbound,
    /// Window that shows the registers of devices the peer lends.
    pub mmio: Outbound,
    /// Where the peer's interrupt range appears in this host's physical address space.
    pub msi: u64,
}

impl Peer {
    /// The scope of requests about the lease of that epoch; zero for none.
    pub fn scope(&self, epoch: u32) -> Scope {
        Scope {
            session: self.session,
            epoch,
        }
    }
}

/// The sending half of a session.
struct Session {
    peer: PeerBlock,
    producer: Producer,
    ntb: Handle,
}

/// The receiving half of a session.
struct Receiver {
    consumer: Consumer,
}

/// What the handshake works on.
struct Setup {
    /// The hardware; gone once the device is removed.
    ntb: Option<Handle>,
    /// The bus address that the MMIO window shows, while it is open.
    shown: Option<u64>,
    /// How far the two hosts have come.
    handshake: Handshake,
    /// What is in the peer's scratchpads.
    announced: Option<Announcement>,
    /// What was wrong with the peer's announcement when it was last looked at.
    nonsense: Option<AnnouncementError>,
    /// The log says that the link is up.
    told_up: bool,
    /// When the hardware, if it is a switch, was last asked for a link.
    asked: Instant<Monotonic>,
    /// What the handshake takes of a processor.
    duty: Duty,
}

/// One link.
#[pin_data]
pub struct Link {
    id: u32,
    name: CString,
    pci: ARef<pci::Device>,
    /// Made when the link is up for the first time: before that the hardware does not describe its windows.
    plan: SetOnce<Plan>,
    /// Our control block, until the device goes; after the session's lock in the lock order.
    #[pin]
    own: RawSpinLock<Option<OwnBlock>>,
    /// Its bus address.
    control: u64,
    queue: OwnedQueue,
    state: Atomic<u32>,
    /// Counts sessions; a request that sees it change stops waiting. Changed with the session's lock held.
    session_id: Atomic<u32>,
    sequence: Atomic<u32>,
    /// When the link was made.
    made: Instant<Monotonic>,
    /// What requests may still hold interrupts off.
    #[pin]
    held_off: RawSpinLock<Credit>,
    /// The peer broke the rules, or does not answer: the handshake has to start anew.
    broken: Atomic<bool>,
    /// The log has a complaint about the session that does not come about.
    failing: Atomic<bool>,
    /// There was a link event since the handshake looked last.
    flapped: Atomic<bool>,
    /// The session in which the peer is served: it knows our version and we its windows, and it has proven itself if it has to.
    answered: Atomic<u32>,
    /// The session in which the peer is believed, and told of offers.
    proven: Atomic<u32>,
    counters: Counters,
    /// What is wrong with the peer.
    #[pin]
    complaints: RateLimit,
    /// What happens to the link, to offers and to leases.
    #[pin]
    transitions: RateLimit,
    /// Events for user space about the link, its offers and leases. More than all offers of a peer that come, are borrowed, lost
    /// and go.
    #[pin]
    uevents: RateLimit,
    knobs: keepalive::Knobs,
    /// What the peer has to have, too.
    #[pin]
    key: Mutex<Option<Arc<Key>>>,
    #[pin]
    attach: Mutex<attach::Present>,
    #[pin]
    pulse: Mutex<keepalive::Pulse>,
    /// Our directory in sysfs, while the device is there.
    #[pin]
    dir: Mutex<Option<Dir>>,
    /// Events reach us while this is there.
    #[pin]
    events: Mutex<Option<Context<Link>>>,
    /// Looks at the peer's beats are queued while this is there.
    #[pin]
    ticking: Mutex<Option<Ticking<Link>>>,
    #[pin]
    setup: Mutex<Setup>,
    #[pin]
    receiver: Mutex<Receiver>,
    #[pin]
    session: RawSpinLock<Option<Session>>,
    #[pin]
    tags: RawSpinLock<Tags>,
    #[pin]
    peer: Mutex<Option<Peer>>,
    /// Copies of a request and of its reply while `serve` works on them; nobody else takes this lock.
    #[pin]
    serving: Mutex<serve::Buffers>,
    #[pin]
    handshake_work: Work<Link, { handshake::WORK }>,
    #[pin]
    serve_work: Work<Link, { serve::WORK }>,
    #[pin]
    keepalive_work: Work<Link, { keepalive::WORK }>,
    /// The offer to tell of when there is room in the peer's ring.
    changed_offer: Atomic<u32>,
    #[pin]
    notice_work: Work<Link, { notice::WORK }>,
}

impl_has_work! {
    impl HasWork<Self, { handshake::WORK }> for Link { self.handshake_work }
    impl HasWork<Self, { serve::WORK }> for Link { self.serve_work }
    impl HasWork<Self, { keepalive::WORK }> for Link { self.keepalive_work }
    impl HasWork<Self, { notice::WORK }> for Link { self.notice_work }
}

impl Link {
    fn new(
        name: CString,
        pci: ARef<pci::Device>,
        own: OwnBlock,
        queue: OwnedQueue,
        ntb: Handle,
    ) -> Result<Arc<Self>> {
        let buffers = serve::Buffers::new()?;
        let key = keys::get(&name);

        Arc::pin_init(
            try_pin_init!(Self {
                id: NEXT_ID.fetch_add(1, Relaxed),
                name,
                pci,
                plan: SetOnce::new(),
                control: own.address(),
                own <- new_raw_spinlock!(Some(own), c"devlend_control"),
                queue,
                state: Atomic::new(State::Down as u32),
                session_id: Atomic::new(0),
                sequence: Atomic::new(0),
                made: Instant::now(),
                held_off <- new_raw_spinlock!(request::credit(), c"devlend_held_off"),
                broken: Atomic::new(false),
                failing: Atomic::new(false),
                flapped: Atomic::new(false),
                answered: Atomic::new(0),
                proven: Atomic::new(0),
                counters: Counters::new(),
                complaints <- RateLimit::new(10),
                transitions <- RateLimit::new(50),
                uevents <- RateLimit::new(2000),
                knobs: keepalive::Knobs::new(),
                key <- new_mutex!(key, "devlend_key"),
                attach <- new_mutex!(attach::Present::new(), "devlend_attach"),
                pulse <- new_mutex!(keepalive::Pulse::new(), "devlend_pulse"),
                dir <- new_mutex!(None, "devlend_dir"),
                events <- new_mutex!(None, "devlend_events"),
                ticking <- new_mutex!(None, "devlend_ticking"),
                setup <- new_mutex!(Setup {
                    ntb: Some(ntb),
                    shown: None,
                    handshake: Handshake::new(handshake::new_generation()),
                    announced: None,
                    nonsense: None,
                    told_up: false,
                    asked: Instant::now(),
                    duty: Duty::new(),
                }, "devlend_setup"),
                receiver <- new_mutex!(Receiver { consumer: Consumer::new() }, "devlend_receiver"),
                session <- new_raw_spinlock!(None, c"devlend_session"),
                tags <- new_raw_spinlock!(Tags::new(), c"devlend_tags"),
                peer <- new_mutex!(None, "devlend_peer"),
                serving <- new_mutex!(buffers, "devlend_serving"),
                handshake_work <- new_work!("devlend_handshake"),
                serve_work <- new_work!("devlend_serve"),
                keepalive_work <- new_work!("devlend_keepalive"),
                changed_offer: Atomic::new(0),
                notice_work <- new_work!("devlend_notice"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// A number that no other link has, while the module is loaded.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The NTB device's name, by which people know the link.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// The PCI function of the NTB.
    pub fn pci(&self) -> &pci::Device {
        &self.pci
    }

    /// The device that log lines are about.
    pub fn dev(&self) -> &device::Device {
        (*self.pci).as_ref()
    }

    /// What the peer's windows show of this host; there from the moment the link is up for the first time.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// How far the link has come. Does not sleep.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            3 => State::Refused,
            2 => State::Up,
            1 => State::Waiting,
            _ => State::Down,
        }
    }

    fn with_own<R>(&self, use_it: impl FnOnce(&OwnBlock) -> R) -> Option<R> {
        self.own.lock().as_ref().map(use_it)
    }

    /// Logs what is wrong with the peer, unless that was too often of late: a hostile one must not flood the log. Does not
    /// sleep.
    pub fn complain(&self, log: impl FnOnce()) {
        if self.complaints.allows(&self.name) {
            log();
        }
    }

    /// Logs a transition that the peer can bring about as often as it likes, with a limit too. Does not sleep.
    pub fn report(&self, log: impl FnOnce()) {
        if self.transitions.allows(&self.name) {
            log();
        }
    }

    /// Whether user space may be told of one more event. Does not sleep.
    pub(crate) fn allows_uevent(&self) -> bool {
        self.uevents.allows(&self.name)
    }

    fn session_id(&self) -> u32 {
        self.session_id.load(Relaxed)
    }

    /// Whether requests may be sent. Does not sleep.
    pub fn is_up(&self) -> bool {
        self.state() == State::Up
    }

    /// What the peer told, while the session is up. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`.
    pub fn peer(&self) -> Result<Peer> {
        self.peer.lock().ok_or_else(enotconn)
    }

    /// The link's directory, to put files of a role into. May sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV`: the NTB device is gone.
    pub fn dir(&self) -> Result<Dir> {
        self.dir.lock().as_ref().map(Dir::share).ok_or(ENODEV)
    }

    /// Counters of the link.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Calls `use_it` with the NTB device, which stays bound during the call. May sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV`: the NTB device is gone.
    pub fn with_device<R>(&self, use_it: impl FnOnce(&Device) -> Result<R>) -> Result<R> {
        use_it(self.setup.lock().ntb.as_ref().ok_or(ENODEV)?)
    }

    /// Lets the peer see `size` bytes from bus address `base` through its MMIO window. May sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV`: the NTB device is gone; others from the hardware driver.
    pub fn open_mmio(&self, base: u64, size: u64) -> Result {
        let window = self.plan().ok_or(ENODEV)?.mmio_window;
        let mut setup = self.setup.lock();
        let ntb = setup.ntb.as_ref().ok_or(ENODEV)?;
        ntb.set_translation(window, base, size).inspect_err(|_| {
            // A part of it may have been done.
            let _ = ntb.clear_translation(window, base);
        })?;
        setup.shown = Some(base);
        Ok(())
    }

    /// Takes the MMIO window away from the peer. May sleep.
    pub fn close_mmio(&self) {
        let mut setup = self.setup.lock();
        let Setup { ntb, shown, .. } = &mut *setup;
        if let Some(ntb) = ntb {
            self.hide(ntb, shown);
        }
    }
}

/// A slot's worth of bytes.
type Slot = [u8; SLOT_SIZE];
