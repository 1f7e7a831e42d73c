// SPDX-License-Identifier: GPL-2.0

//! MSI-X vectors of one function: each is an event descriptor that its QEMU waits on.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{fcntl_getfl, fcntl_setfl, OFlags};
use rustix::io::Errno;

#[derive(Debug)]
struct State {
    fds: Vec<Option<OwnedFd>>,
    pending: u64,
}

/// The vectors of one function.
#[derive(Debug)]
pub struct Interrupts(Mutex<State>);

impl Interrupts {
    /// This many vectors, at most 64, without descriptors.
    pub fn new(vectors: usize) -> Self {
        let mut fds = Vec::new();
        fds.resize_with(vectors, || None);
        Self(Mutex::new(State { fds, pending: 0 }))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().fds.len()
    }

    /// Attaches descriptors to the vectors from `first` on; what was pending there is signalled.
    ///
    /// # Errors
    ///
    /// There are not that many vectors, or a descriptor is no good.
    pub fn attach(&self, first: usize, fds: Vec<OwnedFd>) -> Result<(), Errno> {
        for fd in &fds {
            // Whatever it is, signalling it must not wait.
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        let mut state = self.lock();
        let end = first.checked_add(fds.len()).ok_or(Errno::INVAL)?;
        let slots = state.fds.get_mut(first..end).ok_or(Errno::INVAL)?;
        for (slot, fd) in slots.iter_mut().zip(fds) {
            *slot = Some(fd);
        }
        let due = state.pending & mask(first, end);
        state.pending &= !due;
        state.signal(due);
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
        Ok(())
    }

    /// Detaches all.
    pub fn disable(&self) {
        let mut state = self.lock();
        state.fds.fill_with(|| None);
        state.pending = 0;
    }

    /// Signals a set of vectors, one a bit; those without a descriptor become pending, unless none has one.
    /// Returns how many were signalled.
    pub fn fire(&self, vectors: u64) -> u64 {
        if vectors == 0 {
            return 0;
        }
        self.lock().signal(vectors)
    }

    /// The pending bits.
    pub fn pending(&self) -> u64 {
        self.lock().pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
                    // It fails if the counter is full, when there is an interrupt waiting already, or if the client
                    // gave us something that is no event descriptor, which is its own loss.
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
    fn a_full_counter_does_not_hold_us_up() {
        let interrupts = Interrupts::new(24);
        let fd = eventfd(0, EventfdFlags::empty()).unwrap();
        rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        interrupts.attach(0, vec![fd]).unwrap();
        assert_eq!(interrupts.fire(1), 1);
    }
}
