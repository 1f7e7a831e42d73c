// SPDX-License-Identifier: GPL-2.0

//! What a command in a host left behind.

use std::borrow::Cow;

/// The result of a command that ran to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 128 + N when signal N ended the command, as a shell would say.
    pub status: i32,
    /// Standard output, byte for byte (at most 16 MiB: what the guest agent keeps).
    pub stdout: Vec<u8>,
    /// Standard error, byte for byte (at most 16 MiB).
    pub stderr: Vec<u8>,
    /// Whether the guest agent cut either of the two.
    pub truncated: bool,
}

impl Output {
    /// Standard output as text, without the newlines at its end.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        trimmed(&self.stdout)
    }

    /// Standard error as text, without the newlines at its end.
    #[must_use]
    pub fn error_text(&self) -> Cow<'_, str> {
        trimmed(&self.stderr)
    }

    /// Whether the command ended with status 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status == 0
    }
}

/// Bytes as text, without the newlines at its end.
pub(crate) fn trimmed(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != b'\n')
        .map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_loses_only_the_last_newlines() {
        let output = Output {
            stdout: b"\n a\nb\n\n".to_vec(),
            ..Output::default()
        };
        assert_eq!(output.text(), "\n a\nb");
        assert_eq!(output.error_text(), "");
    }
}
