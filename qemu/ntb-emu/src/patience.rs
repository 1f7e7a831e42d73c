// SPDX-License-Identifier: GPL-2.0

//! Reading from a socket with a time limit for all of it, which no slow sender stretches byte by byte.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Reads until a point in time.
#[derive(Debug)]
pub struct Patient<'a> {
    socket: &'a UnixStream,
    /// Reads fail from then on.
    pub deadline: Instant,
}

impl<'a> Patient<'a> {
    /// Reads from `socket` until `deadline`.
    pub fn new(socket: &'a UnixStream, deadline: Instant) -> Self {
        Self { socket, deadline }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        arm(self.socket, self.deadline)?;
        self.socket.read(data)
    }
}

/// Has the next read of `socket` fail with [`io::ErrorKind::WouldBlock`] if nothing has come by `deadline`.
///
/// # Errors
///
/// That is now ([`io::ErrorKind::TimedOut`]), or the system refuses.
pub fn arm(socket: &UnixStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(Some(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    #[test]
    fn a_trickle_does_not_stretch_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let sender = std::thread::spawn(move || while theirs.write_all(&[1]).is_ok() {});
        let mut reader = Patient::new(&ours, Instant::now() + Duration::from_millis(50));
        let error = loop {
            match reader.read(&mut [0]) {
                Ok(count) => assert_eq!(count, 1),
                Err(error) => break error,
            }
        };
        assert!(matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        ));
        drop(ours);
        sender.join().unwrap();
    }
}
