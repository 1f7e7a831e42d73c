// SPDX-License-Identifier: GPL-2.0

//! Which host waits for which, to tell a deadlock before it happens.
//!
//! While a host's processor waits for a read, its QEMU answers nothing else. So a read that would close a circle of
//! waiting hosts can never be answered and must be failed at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of outstanding reads from each host (row) to each host (column).
#[derive(Debug)]
struct Matrix {
    hosts: usize,
    outstanding: Vec<u32>,
}

impl Matrix {
    fn index(&self, from: usize, to: usize) -> Option<usize> {
        (from < self.hosts && to < self.hosts).then_some(from * self.hosts + to)
    }

    /// Whether `from` waits for `to`, directly or by way of others.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.hosts];
        let mut next = vec![from];
        while let Some(host) = next.pop() {
            if host == to {
                return true;
            }
            match seen.get_mut(host) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            next.extend((0..self.hosts).filter(|other| {
                self.index(host, *other)
                    .and_then(|index| self.outstanding.get(index))
                    .is_some_and(|count| *count > 0)
            }));
        }
        false
    }

    fn change(&mut self, from: usize, to: usize, change: impl Fn(u32) -> u32) {
        if let Some(count) = self
            .index(from, to)
            .and_then(|index| self.outstanding.get_mut(index))
        {
            *count = change(*count);
        }
    }
}

/// Who waits for whom.
#[derive(Clone, Debug)]
pub struct Waits(Arc<Mutex<Matrix>>);

impl Waits {
    /// Among this many hosts.
    pub fn new(hosts: usize) -> Self {
        Self(Arc::new(Mutex::new(Matrix {
            hosts,
            outstanding: vec![0; hosts * hosts],
        })))
    }

    /// Host `from` is about to wait for host `to`; `None` if `to` waits for `from` already.
    pub fn begin(&self, from: usize, to: usize) -> Option<Wait> {
        let mut matrix = self.lock();
        if matrix.reaches(to, from) {
            return None;
        }
        matrix.change(from, to, |count| count.saturating_add(1));
        Some(Wait {
            waits: self.clone(),
            from,
            to,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Matrix> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host waits for another until this is dropped.
#[derive(Debug)]
pub struct Wait {
    waits: Waits,
    from: usize,
    to: usize,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waits
            .lock()
            .change(self.from, self.to, |count| count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts() {
        let waits = Waits::new(2);
        let first = waits.begin(0, 1).unwrap();
        let second = waits.begin(0, 1).unwrap();
        assert!(waits.begin(1, 0).is_none());
        drop(first);
        assert!(waits.begin(1, 0).is_none());
        drop(second);
        let back = waits.begin(1, 0).unwrap();
        assert!(waits.begin(0, 1).is_none());
        drop(back);
        assert!(waits.begin(0, 1).is_some());
    }

    #[test]
    fn a_host_cannot_wait_for_itself() {
        assert!(Waits::new(2).begin(1, 1).is_none());
    }

    #[test]
    fn a_circle_of_four() {
        let waits = Waits::new(4);
        let held: Vec<_> = [(0, 1), (1, 2), (2, 3)]
            .map(|(a, b)| waits.begin(a, b).unwrap())
            .into();
        assert!(waits.begin(3, 0).is_none());
        assert!(waits.begin(3, 1).is_none());
        assert!(waits.begin(0, 3).is_some());
        drop(held);
        assert!(waits.begin(3, 0).is_some());
    }
}
