// SPDX-License-Identifier: GPL-2.0

//! A memory window as text: `SIZE[,direct]`.

use crate::model::Window;

/// Why a text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWindow {
    /// Something else than `direct` after the comma.
    #[error("window '{0}': the only option there is is 'direct', as in '512M,direct'")]
    Option(String),
    /// No number with a unit.
    #[error("window '{0}': a size is a number with K, M or G, as in '64M'")]
    Size(String),
    /// Not a size that a BAR can have.
    #[error("window '{0}': the size must be a power of two from 4K to 1024G")]
    Range(String),
}

/// Understands `SIZE[,direct]`, the size in bytes or with K, M or G for binary multiples.
///
/// # Errors
///
/// It is no window.
pub fn parse_window(text: &str) -> Result<Window, BadWindow> {
    let (size, direct) = match text.split_once(',') {
        None => (text, false),
        Some((size, "direct")) => (size, true),
        Some(_) => return Err(BadWindow::Option(text.to_owned())),
    };
    let size = parse_size(size).ok_or_else(|| BadWindow::Size(text.to_owned()))?;
    if !size.is_power_of_two() || !(4096..=1 << 40).contains(&size) {
        return Err(BadWindow::Range(text.to_owned()));
    }
    Ok(Window { size, direct })
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'K' => (text.strip_suffix('K')?, 1 << 10),
        b'M' => (text.strip_suffix('M')?, 1 << 20),
        b'G' => (text.strip_suffix('G')?, 1 << 30),
        _ => (text, 1),
    };
    // Saturating: what is too large is out of range in any case.
    number
        .parse::<u64>()
        .ok()
        .map(|number| number.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let plain = |size| {
            Ok(Window {
                size,
                direct: false,
            })
        };
        assert_eq!(parse_window("4096"), plain(4096));
        assert_eq!(parse_window("64K"), plain(64 << 10));
        assert_eq!(parse_window("1M"), plain(1 << 20));
        assert_eq!(
            parse_window("2G,direct"),
            Ok(Window {
                size: 2 << 30,
                direct: true
            })
        );
    }

    #[test]
    fn what_is_no_window() {
        for (text, expected) in [
            ("", BadWindow::Size(String::new())),
            ("M", BadWindow::Size("M".into())),
            ("1MM", BadWindow::Size("1MM".into())),
            ("-1", BadWindow::Size("-1".into())),
            ("3M", BadWindow::Range("3M".into())),
            ("2K", BadWindow::Range("2K".into())),
            ("2048G", BadWindow::Range("2048G".into())),
            (
                "99999999999999999G",
                BadWindow::Range("99999999999999999G".into()),
            ),
            ("1M,fast", BadWindow::Option("1M,fast".into())),
        ] {
            assert_eq!(parse_window(text), Err(expected));
        }
    }
}
