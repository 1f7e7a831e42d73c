// SPDX-License-Identifier: GPL-2.0

//! MSI-X vectors of one function: each is an event descriptor that its QEMU waits on.
//!
//! It is the peer's thread that signals them, and it must not be kept waiting. Only event descriptors are taken: what a
//! write to anything else does is for its owner to say. Even they make a writer wait when their counter is full, if their
//! owner, who shares the flags with us, sees to both. [`Interrupts::relieve`] is for that.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{fcntl_getfl, fcntl_setfl, OFlags};
use rustix::io::{preadv2, Errno, ReadWriteFlags};

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[derive(Debug)]
struct State {
    fds: Vec<Option<Arc<OwnedFd>>>,
    pending: u64,
}

/// The vectors of one function.
#[derive(Debug)]
pub struct Interrupts {
    state: Mutex<State>,
    /// Somebody signals, and has `state` locked.
    signalling: AtomicBool,
    /// What is attached, for who must not wait for `state`. Locked after it.
    attached: Mutex<Vec<Arc<OwnedFd>>>,
}

impl Interrupts {
    /// This many vectors, at most 64, without descriptors.
    pub fn new(vectors: usize) -> Self {
        let mut fds = Vec::new();
        fds.resize_with(vectors, || None);
        Self {
            state: Mutex::new(State { fds, pending: 0 }),
            signalling: AtomicBool::new(false),
            attached: Mutex::default(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().fds.len()
    }

    /// Attaches descriptors to the vectors from `first` on; what was pending there is signalled.
    ///
    /// # Errors
    ///
    /// There are not that many vectors, or a descriptor is no event descriptor.
    pub fn attach(&self, first: usize, fds: Vec<OwnedFd>) -> Result<(), Errno> {
        for fd in &fds {
            if !is_event(fd.as_fd()) {
                return Err(Errno::INVAL);
            }
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        let mut state = self.lock();
        let end = first.checked_add(fds.len()).ok_or(Errno::INVAL)?;
        let slots = state.fds.get_mut(first..end).ok_or(Errno::INVAL)?;
        for (slot, fd) in slots.iter_mut().zip(fds) {
            *slot = Some(Arc::new(fd));
        }
        let due = state.pending & mask(first, end);
        state.pending &= !due;
        self.note(&state);
        self.signal(&mut state, due);
        Ok(())
    }

    /// Detaches `count` vectors from `first` on.
    ///
    /// # Errors
    ///
    /// There are not that many vectors.
    pub fn detach(&self, first: usize, count: usize) -> Result<(), Errno> {
        let mut state = self.lock();
        let end = first.checked_add(count).ok_or(Errno::INVAL)?;
        state
            .fds
            .get_mut(first..end)
            .ok_or(Errno::INVAL)?
            .fill_with(|| None);
        if state.fds.iter().all(Option::is_none) {
            state.pending = 0;
        }
        self.note(&state);
        Ok(())
    }

    /// Detaches all.
    pub fn disable(&self) {
        let mut state = self.lock();
        state.fds.fill_with(|| None);
        state.pending = 0;
        self.note(&state);
    }

    /// Signals a set of vectors, one a bit; those without a descriptor become pending, unless none has one.
    /// Returns how many were signalled.
    pub fn fire(&self, vectors: u64) -> u64 {
        if vectors == 0 {
            return 0;
        }
        self.signal(&mut self.lock(), vectors)
    }

    /// Frees who is stuck in signalling, by taking away what the counter is full of; to be called often. Returns whether
    /// that was necessary: only the owner of the descriptor can have brought it about.
    pub fn relieve(&self) -> bool {
        if !self.signalling.load(Ordering::Acquire) {
            return false;
        }
        let attached = self.attached().clone();
        let mut found = false;
        for fd in &attached {
            let mut asked = [PollFd::new(fd, PollFlags::OUT)];
            if !matches!(poll(&mut asked, Some(&NOW)), Ok(0)) {
                continue;
            }
            found = true;
            let mut counter = [0; 8];
            let mut counter = [IoSliceMut::new(&mut counter)];
            // If it is empty by now, nobody is stuck any more.
            let _ = preadv2(fd, &mut counter, u64::MAX, ReadWriteFlags::NOWAIT);
        }
        found
    }

    /// The pending bits.
    pub fn pending(&self) -> u64 {
        self.lock().pending
    }

    fn signal(&self, state: &mut State, vectors: u64) -> u64 {
        self.signalling.store(true, Ordering::Release);
        let signalled = state.signal(vectors);
        self.signalling.store(false, Ordering::Release);
        signalled
    }

    /// Keeps `attached` up to date.
    fn note(&self, state: &State) {
        *self.attached() = state.fds.iter().flatten().cloned().collect();
    }

    fn attached(&self) -> MutexGuard<'_, Vec<Arc<OwnedFd>>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_event(fd: BorrowedFd<'_>) -> bool {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|name| name.as_os_str() == "anon_inode:[eventfd]")
}

impl State {
    fn signal(&mut self, vectors: u64) -> u64 {
        let enabled = self.fds.iter().any(Option::is_some);
        let mut signalled = 0;
        for (vector, fd) in (0..).zip(&self.fds) {
            if vectors & (1 << vector) == 0 {
                continue;
            }
            match fd {
                Some(fd) => {
                    // It fails if the counter is full, when there is an interrupt waiting already.
                    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
                    signalled += 1;
                }
                None if enabled => self.pending |= 1 << vector,
                None => {}
            }
        }
        signalled
    }
}

/// The bits from `first` up to `end`, both at most 64.
fn mask(first: usize, end: usize) -> u64 {
    (0..u64::BITS)
        .zip(0..)
        .filter(|(_, i)| (first..end).contains(i))
        .fold(0, |mask, (bit, _)| mask | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{eventfd, EventfdFlags};

    fn event() -> (OwnedFd, OwnedFd) {
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        (fd.try_clone().unwrap(), fd)
    }

    fn count(fd: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        match rustix::io::read(fd, &mut bytes) {
            Ok(8) => u64::from_ne_bytes(bytes),
            _ => 0,
        }
    }

    #[test]
    fn attached_vectors_are_signalled() {
        let interrupts = Interrupts::new(24);
        let (a, ours_a) = event();
        let (b, ours_b) = event();
        assert_eq!(interrupts.fire(0xff), 0, "nothing is enabled");
        assert_eq!(interrupts.pending(), 0);
        interrupts.attach(3, vec![a, b]).unwrap();
        assert_eq!(interrupts.fire(1 << 4), 1);
        assert_eq!((count(&ours_a), count(&ours_b)), (0, 1));
        assert_eq!(interrupts.fire(1 << 3 | 1 << 4), 2);
        assert_eq!((count(&ours_a), count(&ours_b)), (1, 1));
    }

    #[test]
    fn a_vector_without_descriptor_is_pending_until_it_gets_one() {
        let interrupts = Interrupts::new(24);
        let (a, _ours_a) = event();
        let (b, ours_b) = event();
        interrupts.attach(0, vec![a]).unwrap();
        assert_eq!(interrupts.fire(1 << 23), 0);
        assert_eq!(interrupts.pending(), 1 << 23);
        interrupts.attach(23, vec![b]).unwrap();
        assert_eq!((count(&ours_b), interrupts.pending()), (1, 0));
        interrupts.detach(0, 24).unwrap();
        assert_eq!(interrupts.fire(1), 0);
    }

    #[test]
    fn bounds() {
        let interrupts = Interrupts::new(24);
        assert_eq!(interrupts.attach(24, vec![event().0]), Err(Errno::INVAL));
        assert_eq!(
            interrupts.attach(usize::MAX, vec![event().0]),
            Err(Errno::INVAL)
        );
        assert_eq!(interrupts.detach(0, 25), Err(Errno::INVAL));
        assert_eq!(interrupts.detach(usize::MAX, 2), Err(Errno::INVAL));
        assert_eq!(interrupts.detach(24, 0), Ok(()));
    }

    #[test]
    fn only_event_descriptors_are_taken() {
        let interrupts = Interrupts::new(24);
        let (read_end, write_end) = rustix::pipe::pipe().unwrap();
        let file = tempfile::tempfile().unwrap().into();
        for fd in [read_end, write_end, file] {
            assert_eq!(interrupts.attach(0, vec![fd]), Err(Errno::INVAL));
        }
        assert_eq!(interrupts.fire(1), 0);
    }

    #[test]
    fn who_is_stuck_in_signalling_is_freed() {
        let interrupts = Interrupts::new(24);
        let (theirs, ours) = event();
        let (other, _ours_other) = event();
        interrupts.attach(0, vec![theirs, other]).unwrap();
        assert!(!interrupts.relieve());
        // What only a hostile owner does: the flags are those of our descriptor as well.
        rustix::io::write(&ours, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        fcntl_setfl(&ours, OFlags::empty()).unwrap();
        std::thread::scope(|scope| {
            let stuck = scope.spawn(|| interrupts.fire(1));
            while !interrupts.relieve() {
                std::thread::yield_now();
            }
            assert_eq!(stuck.join().unwrap(), 1);
        });
        assert_eq!(count(&ours), 1);
        interrupts.disable();
    }

    #[test]
    fn a_full_counter_does_not_hold_us_up() {
        let interrupts = Interrupts::new(24);
        let fd = eventfd(0, EventfdFlags::empty()).unwrap();
        rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        interrupts.attach(0, vec![fd]).unwrap();
        assert_eq!(interrupts.fire(1), 1);
    }
}
