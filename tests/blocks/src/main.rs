// SPDX-License-Identifier: GPL-2.0

//! Writes blocks that say which write they are of, and says which writes the disk has acknowledged; to be run in a guest.
//!
//! `blocks write DISK ACKS SEED RUN FIRST COUNT [WRITES]`: writes to the COUNT blocks of DISK from number FIRST on, in an
//! order that is the seed's and the run's, [`DEPTH`] at a time, past the cache. For each one that the disk has
//! acknowledged a line `BLOCK GENERATION` goes to ACKS, which leads out of the guest. Ends when there were WRITES, at the
//! first error, or never. No block is written by two at once.
//!
//! `blocks read DISK SEED FIRST COUNT`: prints a line `BLOCK GENERATION...` for each block, as it is on the disk.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{stdout, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;

use anyhow::{anyhow, bail, Context, Result};
use devlend_blocks::{fill, generations, to_words, Blocks, Generation, BLOCK};
use nix::fcntl::OFlag;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Writes under way at once.
const DEPTH: u32 = 4;
/// Blocks read at once.
const CHUNK: usize = 32;

/// Where acknowledgements go.
struct Acks {
    out: Mutex<File>,
    /// A lane has met an error: there will be no more.
    ended: AtomicBool,
}

/// Where on which disk the blocks are.
struct Place {
    disk: File,
    seed: u64,
    first: u32,
    count: u32,
}

impl Place {
    fn open(path: &str, options: &mut OpenOptions, numbers: [u64; 3]) -> Result<Self> {
        let [seed, first, count] = numbers;
        let disk = options.custom_flags(OFlag::O_DIRECT.bits()).open(path);
        Ok(Self {
            disk: disk.with_context(|| format!("opening {path}"))?,
            seed,
            first: u32::try_from(first)?,
            count: u32::try_from(count)?,
        })
    }

    fn offset(&self, block: u32) -> u64 {
        u64::from(self.first + block) * BLOCK as u64
    }

    /// Writes to every [`DEPTH`]th block from `lane` on.
    fn write(&self, lane: u32, run: u32, writes: Option<u32>, acks: &Acks) -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ (u64::from(run) << 32));
        random.set_stream(lane.into());
        let mut buffer = Blocks([[0; BLOCK]]);
        for count in 0..writes.map_or(u32::MAX, |writes| writes.div_ceil(DEPTH)) {
            if acks.ended.load(Ordering::Relaxed) {
                break;
            }
            let block = random.random_range(0..self.count / DEPTH) * DEPTH + lane;
            let generation = Generation { run, count };
            fill(&mut buffer.0[0], self.seed, block, generation);
            self.disk
                .write_all_at(&buffer.0[0], self.offset(block))
                .with_context(|| format!("writing block {block}"))?;
            // In one piece: the lanes' lines must not mix.
            let line = format!("{block} {generation}\n");
            let out = acks.out.lock();
            let mut out = out.map_err(|_| anyhow!("another lane has died"))?;
            out.write_all(line.as_bytes()).context("acknowledging")?;
        }
        Ok(())
    }

    fn read(&self, out: &mut impl Write) -> Result<()> {
        let mut buffer = Blocks([[0; BLOCK]; CHUNK]);
        let mut block = 0;
        while block < self.count {
            let number = (self.count - block).min(CHUNK as u32);
            let bytes = &mut buffer.0.as_flattened_mut()[..number as usize * BLOCK];
            self.disk
                .read_exact_at(bytes, self.offset(block))
                .with_context(|| format!("reading block {block}"))?;
            for (block, bytes) in (block..block + number).zip(&buffer.0) {
                writeln!(
                    out,
                    "{block} {}",
                    to_words(&generations(bytes, self.seed, block))
                )?;
            }
            block += number;
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| -> Result<u64> {
        word.parse()
            .with_context(|| format!("'{word}' is no number"))
    };
    match words.as_slice() {
        ["write", disk, acks, seed, run, first, count, rest @ ..] if rest.len() < 2 => {
            let numbers = [number(seed)?, number(first)?, number(count)?];
            let place = Place::open(disk, OpenOptions::new().write(true), numbers)?;
            let run = u32::try_from(number(run)?)?;
            let writes = rest.first().map(|word| word.parse()).transpose()?;
            let acks = OpenOptions::new().append(true).open(acks);
            let acks = Acks {
                out: Mutex::new(acks.context("opening ACKS")?),
                ended: AtomicBool::new(false),
            };
            thread::scope(|scope| {
                let (place, acks) = (&place, &acks);
                let write = move |lane| {
                    let written = place.write(lane, run, writes, acks);
                    acks.ended.fetch_or(written.is_err(), Ordering::Relaxed);
                    written
                };
                let lanes: Vec<_> = (0..DEPTH)
                    .map(|lane| scope.spawn(move || write(lane)))
                    .collect();
                lanes.into_iter().try_for_each(|lane| {
                    lane.join().map_err(|_| anyhow!("a lane has died"))?
                })
            })
        }
        ["read", disk, seed, first, count] => {
            let numbers = [number(seed)?, number(first)?, number(count)?];
            let place = Place::open(disk, OpenOptions::new().read(true), numbers)?;
            let mut out = BufWriter::new(stdout().lock());
            place.read(&mut out)?;
            Ok(out.flush()?)
        }
        _ => bail!(
            "usage: blocks write DISK ACKS SEED RUN FIRST COUNT [WRITES] | blocks read DISK SEED FIRST COUNT"
        ),
    }
}
