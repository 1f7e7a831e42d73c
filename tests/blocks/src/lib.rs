// SPDX-License-Identifier: GPL-2.0

//! Blocks of a disk that say which write they are of.
//!
//! A device may tear a write that was under way when it stopped, at the borders of its sectors. So each [sector](SECTOR)
//! has a header of its own: the seed of the whole test, where the sector belongs, and the [`Generation`] that wrote it.
//! The rest is a key stream with that header as its key: no byte of a sector can be anything but what its header says.

#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bytes of a block: what is written at once.
pub const BLOCK: usize = 4096;
/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR: usize = 512;
/// Sectors of a block.
pub const SECTORS: usize = BLOCK / SECTOR;

/// In front of every sector.
const MAGIC: &[u8; 8] = b"devlend\n";
/// Bytes of a sector's header, which is a key of the cipher as it stands.
const HEADER: usize = 32;

/// Which write it was: the how-manieth of which run of the writer. Later writes to a block are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    /// The run.
    pub run: u32,
    /// The write in it.
    pub count: u32,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.count)
    }
}

/// Text that is no generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoGeneration;

impl fmt::Display for NoGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a generation is RUN.COUNT")
    }
}

impl std::error::Error for NoGeneration {}

impl FromStr for Generation {
    type Err = NoGeneration;

    fn from_str(text: &str) -> Result<Self, NoGeneration> {
        let (run, count) = text.split_once('.').ok_or(NoGeneration)?;
        Ok(Self {
            run: run.parse().map_err(|_| NoGeneration)?,
            count: count.parse().map_err(|_| NoGeneration)?,
        })
    }
}

/// Memory for blocks, aligned as a disk without a cache in between wants it.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct Blocks<const N: usize>(pub [[u8; BLOCK]; N]);

impl<const N: usize> fmt::Debug for Blocks<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} blocks")
    }
}

fn write_sector(bytes: &mut [u8], seed: u64, block: u32, sector: u32, generation: Generation) {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&seed.to_le_bytes());
    for (place, number) in
        header[16..]
            .chunks_exact_mut(4)
            .zip([block, sector, generation.run, generation.count])
    {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes[..HEADER].copy_from_slice(&header);
    ChaCha8Rng::from_seed(header).fill_bytes(&mut bytes[HEADER..]);
}

/// Fills a block.
pub fn fill(bytes: &mut [u8; BLOCK], seed: u64, block: u32, generation: Generation) {
    for (sector, bytes) in (0..).zip(bytes.chunks_exact_mut(SECTOR)) {
        write_sector(bytes, seed, block, sector, generation);
    }
}

/// The generation of each sector of a block; `None` for one that is not, byte for byte, what [`fill`] writes there.
#[must_use]
pub fn generations(bytes: &[u8; BLOCK], seed: u64, block: u32) -> [Option<Generation>; SECTORS] {
    let mut found = [None; SECTORS];
    for ((sector, bytes), found) in (0..).zip(bytes.chunks_exact(SECTOR)).zip(&mut found) {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let generation = Generation {
            run: number(24),
            count: number(28),
        };
        let mut expected = [0; SECTOR];
        write_sector(&mut expected, seed, block, sector, generation);
        *found = (bytes == expected).then_some(generation);
    }
    found
}

/// A block's generations in words: one if all are the same, `-` for none.
#[must_use]
pub fn to_words(generations: &[Option<Generation>; SECTORS]) -> String {
    let word = |one: &Option<Generation>| one.map_or_else(|| "-".into(), |one| one.to_string());
    match generations {
        [first, rest @ ..] if rest.iter().all(|other| other == first) => word(first),
        all => all.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

/// Reads what [`to_words`] has written.
///
/// # Errors
///
/// It is something else.
pub fn from_words(text: &str) -> Result<[Option<Generation>; SECTORS], NoGeneration> {
    let words = text.split(' ').map(|word| match word {
        "-" => Ok(None),
        word => word.parse().map(Some),
    });
    let words = words.collect::<Result<Vec<Option<Generation>>, _>>()?;
    match words.as_slice() {
        [one] => Ok([*one; SECTORS]),
        all => all.try_into().map_err(|_| NoGeneration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x1234_5678_9abc_def0;
    const GENERATION: Generation = Generation { run: 7, count: 9 };

    fn block() -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        fill(&mut bytes, SEED, 5, GENERATION);
        bytes
    }

    #[test]
    fn a_block_says_what_it_is() {
        assert_eq!(generations(&block(), SEED, 5), [Some(GENERATION); SECTORS]);
    }

    #[test]
    fn it_belongs_to_its_place_and_seed() {
        assert_eq!(generations(&block(), SEED, 6), [None; SECTORS]);
        assert_eq!(generations(&block(), SEED + 1, 5), [None; SECTORS]);
        let mut swapped = block();
        swapped[..2 * SECTOR].rotate_left(SECTOR);
        let found = generations(&swapped, SEED, 5);
        assert_eq!(found[..3], [None, None, Some(GENERATION)]);
    }

    #[test]
    fn no_byte_of_a_sector_can_change() {
        let good = block();
        for at in 0..BLOCK {
            let mut bad = good;
            bad[at] ^= 1;
            let found = generations(&bad, SEED, 5);
            for (sector, found) in found.iter().enumerate() {
                // A header that names another write belongs to other contents.
                assert_eq!(found.is_none(), sector == at / SECTOR, "byte {at}");
            }
        }
    }

    #[test]
    fn an_empty_block_is_nobodys() {
        assert_eq!(generations(&[0; BLOCK], SEED, 0), [None; SECTORS]);
        assert_eq!(generations(&[0xff; BLOCK], SEED, 0), [None; SECTORS]);
    }

    #[test]
    fn words_can_be_read_back() {
        let mut torn = [Some(GENERATION); SECTORS];
        torn[3] = None;
        torn[4] = Some(Generation { run: 7, count: 8 });
        for all in [torn, [None; SECTORS], [Some(GENERATION); SECTORS]] {
            assert_eq!(from_words(&to_words(&all)), Ok(all));
        }
        assert_eq!(to_words(&[None; SECTORS]), "-");
        for wrong in ["", "7", "7.", "7.9 7.9", "7.9.1", "-7.9", "x.y"] {
            assert_eq!(from_words(wrong), Err(NoGeneration), "{wrong:?}");
        }
    }

    #[test]
    fn later_is_greater() {
        let later = Generation { run: 8, count: 0 };
        assert!(GENERATION < later);
        assert!(
            GENERATION
                < Generation {
                    count: 10,
                    ..GENERATION
                }
        );
    }
}
