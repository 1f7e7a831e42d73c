// SPDX-License-Identifier: GPL-2.0

//! The campaign of faults in short, and whether it notices what it is to notice.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_blocks::{generations, BLOCK, SECTOR};

use crate::campaign::data::{offset, Disk, COUNT};
use crate::campaign::plan::Kind;
use crate::campaign::report::Outcome;
use crate::campaign::{self, Campaign};
use crate::pair::Pair;
use crate::runner::{Body, Case};

pub const CASES: &[Case] = &[
    Case {
        name: "breaking::one_of_each_cheap_kind",
        body: Body::Alone(one_of_each_cheap_kind),
    },
    Case {
        name: "breaking::wrong_data_is_noticed",
        body: Body::Own(campaign::options, wrong_data_is_noticed),
    },
];

fn one_of_each_cheap_kind() -> Result<()> {
    let report = Campaign {
        seed: 1,
        faults: u32::try_from(Kind::CHEAP.len())?,
        from: 1,
        kinds: Kind::CHEAP,
    }
    .run();
    let failed = report.count(Outcome::Failed);
    ensure!(failed == 0, "{failed} failed:\n{report}");
    for outcome in [
        Outcome::WentOn,
        Outcome::Ended,
        Outcome::BorrowedAgain,
        Outcome::CameBack,
    ] {
        ensure!(report.count(outcome) > 0, "none was '{outcome}':\n{report}");
    }
    ensure!(
        report.data.acknowledged > 500 && report.data.compared > 500,
        "little was written or compared:\n{report}"
    );
    Ok(())
}

/// Fails unless a check fails, and says this.
fn fails(checked: Result<()>, words: &str) -> Result<()> {
    let error = checked.err().context("wrong data was not noticed")?;
    let text = format!("{error:#}");
    ensure!(text.contains(words), "expected '{words}': {text}");
    Ok(())
}

/// What is wrong on the disk is reported, seen from either host, and nothing else.
fn wrong_data_is_noticed(pair: &Pair<'_>) -> Result<()> {
    const SEED: u64 = 1;
    let borrowed = pair.borrow()?;
    let mut disk = Disk::new(pair.bed, SEED);
    let image = disk.image()?;
    let all = || {
        let mut bytes = vec![0; COUNT as usize * BLOCK];
        image.read_exact_at(&mut bytes, offset(0))?;
        anyhow::Ok(bytes)
    };
    let generation = |all: &[u8], block: u32| {
        let bytes = all.chunks_exact(BLOCK).nth(block as usize);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.and_then(|bytes| generations(bytes, SEED, block)[0])
    };
    disk.use_and_check(pair.borrower, &borrowed.disk, 1000)?;
    let old = all()?;
    disk.use_and_check(pair.borrower, &borrowed.disk, 1000)?;
    let new = all()?;
    disk.check_image()?;
    let twice = |block: &u32| {
        let both = (generation(&old, *block), generation(&new, *block));
        matches!(both, (Some(old), Some(new)) if old < new)
    };
    let block = (0..COUNT)
        .find(twice)
        .context("no block was written twice")?;

    // A byte of a sector.
    let at = BLOCK * block as usize + 3 * SECTOR + 100;
    image.write_all_at(&[!new[at]], offset(0) + at as u64)?;
    fails(disk.check_image(), &format!("block {block} sector 3: "))?;
    image.write_all_at(&new[at..=at], offset(0) + at as u64)?;
    disk.check_image()?;

    // A block as it was earlier, seen by the borrower.
    let range = BLOCK * block as usize..BLOCK * (block as usize + 1);
    image.write_all_at(&old[range], offset(block))?;
    let words = format!(
        "block {block} sector 0: {} was there before, {} is there",
        generation(&new, block).context("no generation")?,
        generation(&old, block).context("no generation")?,
    );
    let checked = disk.use_and_check(pair.borrower, &borrowed.disk, 0);
    fails(checked, &words)?;

    // Writes that were acknowledged, and are lost.
    let writer = disk.start(pair.borrower, &borrowed.disk)?;
    pair.borrower.sh_ok("pkill blocks")?;
    writer.end(Duration::from_secs(60))?;
    image.write_all_at(&new, offset(0))?;
    fails(disk.check_image(), " was acknowledged, ")?;
    disk.check_image()?;
    borrowed.end()
}
