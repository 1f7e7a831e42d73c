// SPDX-License-Identifier: GPL-2.0

//! What a disk has acknowledged, and so has to hold.

use std::fmt;

use anyhow::{ensure, Context, Result};
use devlend_blocks::{Generation, SECTORS};

/// What is known of one block.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// What each sector held when it was last looked at; `None` if that was nobody's, so that it may be anything.
    seen: [Option<Generation>; SECTORS],
    /// The last write since then that was acknowledged.
    acknowledged: Option<Generation>,
}

/// A sector that does not hold what it has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    block: usize,
    sector: usize,
    expected: Option<Generation>,
    /// Whether the disk had acknowledged just that write, so that later ones would be right, too.
    or_later: bool,
    found: Option<Generation>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} sector {}: ", self.block, self.sector)?;
        match self.expected {
            Some(expected) if self.or_later => write!(f, "{expected} was acknowledged, ")?,
            Some(expected) => write!(f, "{expected} was there before, ")?,
            None => f.write_str("nothing was there before, ")?,
        }
        match self.found {
            Some(found) => write!(f, "{found} is there"),
            None => f.write_str("something else is there"),
        }
    }
}

/// What the blocks of a disk have to hold, over many runs of the writer.
pub struct Ledger(Vec<Entry>);

impl Ledger {
    /// Of `count` blocks of which nothing is known.
    pub fn new(count: u32) -> Self {
        Self(vec![Entry::default(); count as usize])
    }

    /// Takes down the acknowledgements of a run, as the writer prints them. A last line without an end, which a host that
    /// died leaves, does not count. Returns how many there were.
    ///
    /// # Errors
    ///
    /// They are not understood, or of another run.
    pub fn acknowledge(&mut self, run: u32, lines: &str) -> Result<u64> {
        let mut number = 0;
        for line in lines.split_inclusive('\n') {
            let Some(line) = line.strip_suffix('\n') else {
                break;
            };
            let words = line.split_once(' ');
            let words = words.with_context(|| format!("'{line}' is no acknowledgement"))?;
            let (block, generation): (usize, Generation) = (words.0.parse()?, words.1.parse()?);
            ensure!(generation.run == run, "'{line}' is not of run {run}");
            let entry = self.0.get_mut(block);
            let entry = entry.with_context(|| format!("'{line}': there is no such block"))?;
            entry.acknowledged = entry.acknowledged.max(Some(generation));
            number += 1;
        }
        Ok(number)
    }

    /// Compares what all blocks hold after a run, and takes it for known. What was not acknowledged may be there or not,
    /// sector by sector. Returns how many sectors had to hold something, and those that hold something else.
    ///
    /// # Errors
    ///
    /// It is another number of blocks.
    pub fn check(
        &mut self,
        run: u32,
        found: &[[Option<Generation>; SECTORS]],
    ) -> Result<(u64, Vec<Wrong>)> {
        ensure!(
            found.len() == self.0.len(),
            "{} blocks, not {}",
            found.len(),
            self.0.len()
        );
        let (mut checked, mut wrong) = (0, Vec::new());
        for (block, (entry, found)) in self.0.iter_mut().zip(found).enumerate() {
            let sectors = entry.seen.iter().zip(found).enumerate();
            for (sector, (&seen, &found)) in sectors {
                let is_of_run = found.is_some_and(|found| found.run == run);
                let (expected, or_later) = match entry.acknowledged {
                    Some(acknowledged) => (Some(acknowledged), true),
                    None => (seen, false),
                };
                let right = if or_later {
                    is_of_run && found >= expected
                } else {
                    is_of_run || expected.is_none() || found == expected
                };
                checked += u64::from(expected.is_some());
                if !right {
                    wrong.push(Wrong {
                        block,
                        sector,
                        expected,
                        or_later,
                        found,
                    });
                }
            }
            *entry = Entry {
                seen: *found,
                acknowledged: None,
            };
        }
        Ok((checked, wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(run: u32, count: u32) -> Option<Generation> {
        Some(Generation { run, count })
    }

    /// A ledger of two blocks; the first holds 1.4, the second is nobody's.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.acknowledge(1, "0 1.3\n0 1.4\n").unwrap(), 2);
        let found = [[generation(1, 4); SECTORS], [None; SECTORS]];
        assert_eq!(ledger.check(1, &found).unwrap(), (8, vec![]));
        ledger
    }

    fn wrong(ledger: &mut Ledger, run: u32, sector: Option<Generation>) -> usize {
        let mut first = [generation(1, 4); SECTORS];
        first[2] = sector;
        ledger
            .check(run, &[first, [None; SECTORS]])
            .unwrap()
            .1
            .len()
    }

    #[test]
    fn what_was_there_has_to_stay() {
        assert_eq!(wrong(&mut ledger(), 2, generation(1, 4)), 0);
        // An earlier write, a late one of an earlier run, nobody's.
        for other in [generation(1, 3), generation(1, 5), None] {
            assert_eq!(wrong(&mut ledger(), 2, other), 1, "{other:?}");
        }
    }

    #[test]
    fn what_was_not_acknowledged_may_be_there() {
        assert_eq!(wrong(&mut ledger(), 2, generation(2, 0)), 0);
        // Not in a later run, if it was not there at once.
        let mut ledger = ledger();
        assert_eq!(wrong(&mut ledger, 2, generation(1, 4)), 0);
        assert_eq!(wrong(&mut ledger, 3, generation(2, 0)), 1);
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let mut ledger = ledger();
        assert_eq!(ledger.acknowledge(2, "0 2.7\n").unwrap(), 1);
        let (checked, wrong) = ledger
            .check(2, &[[generation(1, 4); SECTORS], [None; SECTORS]])
            .unwrap();
        assert_eq!((checked, wrong.len()), (8, 8));
        assert_eq!(
            wrong[0].to_string(),
            "block 0 sector 0: 2.7 was acknowledged, 1.4 is there"
        );
        // The next one to the same block may have come through in part.
        ledger.acknowledge(3, "1 3.1\n").unwrap();
        let mut torn = [generation(3, 1); SECTORS];
        torn[0] = generation(3, 2);
        let held = [generation(1, 4); SECTORS];
        assert_eq!(ledger.check(3, &[held, torn]).unwrap().1, []);
    }

    #[test]
    fn acknowledgements_are_read_strictly() {
        for text in ["0\n", "2 1.0\n", "0 2.0\n", "x 1.0\n", "0 1.0 1\n", "\n"] {
            assert!(Ledger::new(2).acknowledge(1, text).is_err(), "{text:?}");
        }
        // The end of a host.
        assert_eq!(Ledger::new(2).acknowledge(1, "0 1.0\n1 1.").unwrap(), 1);
    }
}
