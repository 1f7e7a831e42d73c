// SPDX-License-Identifier: GPL-2.0

//! The lines people write into sysfs files: `lend`, `reclaim`, `borrow`, `return`, `key`, and numbers.

use bitflags::bitflags;
use core::fmt;

use crate::{
    address::{
        Address,
        AddressError, //
    },
    audience::{
        Audience,
        AudienceError,
        LINKS, //
    },
    dma::DmaMode,
};

bitflags! {
    /// The words that may stand behind the address.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LendWords: u32 {
        /// `unsafe`: lend although no IOMMU holds the device back.
        const UNSAFE = 1 << 0;
        /// `force`: take the device although it is in use.
        const FORCE = 1 << 1;
    }
}

/// Longest time a borrower may be given to return a device, seconds.
pub const DEADLINE_MAX: u16 = 300;

/// The time it has if nobody says otherwise, seconds.
pub const DEADLINE: u16 = 10;

/// Longest description of a key, bytes; the kernel's.
pub const DESCRIPTION_MAX: usize = 255;

/// `<address> [unsafe] [force] [for=<link>[,<link>...]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LendCommand {
    /// The device.
    pub address: Address,
    /// The words behind it.
    pub words: LendWords,
    /// Which links it is for.
    pub audience: Audience,
}

/// `<address> [force] [deadline=<seconds>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReclaimCommand {
    /// The device.
    pub address: Address,
    /// `None`: by force, at once. Else the borrower has so many seconds to give it back, at most [`DEADLINE_MAX`].
    pub deadline: Option<u16>,
}

/// Why a line was not understood. Its `Display` names the offending word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError<'a> {
    /// There is no address.
    Empty,
    /// The first word is no address.
    Address(&'a [u8], AddressError),
    /// The word means nothing here.
    Unknown(&'a [u8]),
    /// The word is there twice.
    Repeated(&'a [u8]),
    /// The word is no decimal number.
    Number(&'a [u8]),
    /// The deadline is none, or longer than [`DEADLINE_MAX`].
    Deadline(&'a [u8]),
    /// There is both a deadline and `force`.
    ForceAtDeadline,
    /// The part of `for=` is no address.
    Link(&'a [u8], AddressError),
    /// `for=` names this link twice.
    LinkTwice(&'a [u8]),
    /// `for=` names more than [`LINKS`] links.
    Links,
    /// `dma=` names no mode.
    DmaMode(&'a [u8]),
    /// It is longer than [`DESCRIPTION_MAX`], or has other characters than visible ones of ASCII.
    Description(&'a [u8]),
}

/// Longest part of a word that is shown in a message.
const SHOWN: usize = 32;

/// A word for a log: escaped, so that it cannot forge log lines, and cut.
struct Word<'a>(&'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN) {
            Some(start) if self.0.len() > SHOWN => write!(f, "\"{}...\"", start.escape_ascii()),
            _ => write!(f, "\"{}\"", self.0.escape_ascii()),
        }
    }
}

impl fmt::Display for CommandError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("no PCI address given"),
            Self::Address(word, error) => write!(f, "{} is no PCI address: {error}", Word(word)),
            Self::Unknown(word) => write!(f, "unknown word {}", Word(word)),
            Self::Repeated(word) => write!(f, "word {} given twice", Word(word)),
            Self::Number(word) => write!(f, "{} is no decimal number", Word(word)),
            Self::Deadline(word) => write!(
                f,
                "{}: a deadline is 0 to {DEADLINE_MAX} seconds",
                Word(word)
            ),
            Self::ForceAtDeadline => f.write_str("\"force\" is at once and has no deadline"),
            Self::Link(word, error) => {
                write!(f, "{} is no PCI address of an NTB: {error}", Word(word))
            }
            Self::LinkTwice(word) => write!(f, "link {} named twice", Word(word)),
            Self::Links => write!(f, "\"for=\" names more than {LINKS} links"),
            Self::DmaMode(word) => {
                write!(f, "{} is no DMA mode: linear, bounce or iommu", Word(word))
            }
            Self::Description(word) => write!(
                f,
                "{} is no key's description: at most {DESCRIPTION_MAX} visible ASCII characters",
                Word(word)
            ),
        }
    }
}

/// The words of a line; spaces, tabs and line ends separate.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

fn address<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<Address, CommandError<'a>> {
    let word = words.next().ok_or(CommandError::Empty)?;
    Address::parse(word).map_err(|error| CommandError::Address(word, error))
}

/// Links with commas between them, at least one.
fn audience(list: &[u8]) -> Result<Audience, CommandError<'_>> {
    let mut audience = Audience::ALL;
    for word in list.split(|&byte| byte == b',') {
        let link = Address::parse(word).map_err(|error| CommandError::Link(word, error))?;
        audience.add(link).map_err(|error| match error {
            AudienceError::Twice => CommandError::LinkTwice(word),
            AudienceError::Full => CommandError::Links,
        })?;
    }
    Ok(audience)
}

impl LendCommand {
    /// Reads a line written to `lend`. The words may come in any order, each at most once.
    ///
    /// # Errors
    ///
    /// [`CommandError`].
    pub fn parse(line: &[u8]) -> Result<Self, CommandError<'_>> {
        let mut rest = words(line);
        let address = address(&mut rest)?;
        let (mut words, mut audience) = (LendWords::empty(), None);
        for word in rest {
            if let Some(links) = word.strip_prefix(b"for=") {
                if audience.replace(self::audience(links)?).is_some() {
                    return Err(CommandError::Repeated(word));
                }
                continue;
            }
            let flag = match word {
                b"unsafe" => LendWords::UNSAFE,
                b"force" => LendWords::FORCE,
                _ => return Err(CommandError::Unknown(word)),
            };
            if words.contains(flag) {
                return Err(CommandError::Repeated(word));
            }
            words |= flag;
        }
        Ok(Self {
            address,
            words,
            audience: audience.unwrap_or_default(),
        })
    }
}

impl ReclaimCommand {
    /// Reads a line written to `reclaim`. The words may come in any order, each at most once.
    ///
    /// # Errors
    ///
    /// [`CommandError`].
    pub fn parse(line: &[u8]) -> Result<Self, CommandError<'_>> {
        let mut rest = words(line);
        let address = address(&mut rest)?;
        let (mut force, mut deadline) = (false, None);
        for word in rest {
            if word == b"force" {
                if core::mem::replace(&mut force, true) {
                    return Err(CommandError::Repeated(word));
                }
            } else if let Some(digits) = word.strip_prefix(b"deadline=") {
                let seconds = number(digits)
                    .ok()
                    .and_then(|seconds| u16::try_from(seconds).ok())
                    .filter(|&seconds| seconds <= DEADLINE_MAX)
                    .ok_or(CommandError::Deadline(word))?;
                if deadline.replace(seconds).is_some() {
                    return Err(CommandError::Repeated(word));
                }
            } else {
                return Err(CommandError::Unknown(word));
            }
        }
        let deadline = match (force, deadline) {
            (true, Some(_)) => return Err(CommandError::ForceAtDeadline),
            (true, None) => None,
            (false, deadline) => Some(deadline.unwrap_or(DEADLINE)),
        };
        Ok(Self { address, deadline })
    }
}

/// `<address> [auto] [dma=<mode>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BorrowCommand {
    /// The device, in the lender.
    pub address: Address,
    /// Borrow it again whenever it was lost.
    pub auto: bool,
    /// Borrow it in this mode or not at all; `None`: in the best that works.
    pub dma: Option<DmaMode>,
}

impl BorrowCommand {
    /// Reads a line written to `borrow`. The words may come in any order, each at most once.
    ///
    /// # Errors
    ///
    /// [`CommandError`].
    pub fn parse(line: &[u8]) -> Result<Self, CommandError<'_>> {
        let mut rest = words(line);
        let address = address(&mut rest)?;
        let (mut auto, mut dma) = (false, None);
        for word in rest {
            let is_repeated = if word == b"auto" {
                core::mem::replace(&mut auto, true)
            } else if let Some(name) = word.strip_prefix(b"dma=") {
                let mode = DmaMode::parse(name).ok_or(CommandError::DmaMode(name))?;
                dma.replace(mode).is_some()
            } else {
                return Err(CommandError::Unknown(word));
            };
            if is_repeated {
                return Err(CommandError::Repeated(word));
            }
        }
        Ok(Self { address, auto, dma })
    }
}

/// Reads a line written to `return`: an address and nothing else.
///
/// # Errors
///
/// [`CommandError`].
pub fn parse_address(line: &[u8]) -> Result<Address, CommandError<'_>> {
    let mut rest = words(line);
    let address = address(&mut rest)?;
    match rest.next() {
        None => Ok(address),
        Some(word) => Err(CommandError::Unknown(word)),
    }
}

/// Reads a line written to `key`: the description of a key; `None` for an empty line.
///
/// # Errors
///
/// [`CommandError`].
pub fn parse_description(line: &[u8]) -> Result<Option<&[u8]>, CommandError<'_>> {
    let mut rest = words(line);
    let Some(word) = rest.next() else {
        return Ok(None);
    };
    if word.len() > DESCRIPTION_MAX || !word.iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::Description(word));
    }
    match rest.next() {
        None => Ok(Some(word)),
        Some(word) => Err(CommandError::Unknown(word)),
    }
}

/// Reads a line with one decimal number and nothing else.
///
/// # Errors
///
/// [`CommandError`].
pub fn parse_number(line: &[u8]) -> Result<u64, CommandError<'_>> {
    let mut rest = words(line);
    let number = number(rest.next().unwrap_or(b""))?;
    match rest.next() {
        None => Ok(number),
        Some(word) => Err(CommandError::Unknown(word)),
    }
}

fn number(word: &[u8]) -> Result<u64, CommandError<'_>> {
    // `parse` would take a sign, too.
    core::str::from_utf8(word)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(CommandError::Number(word))
}

#[cfg(test)]
mod tests;
