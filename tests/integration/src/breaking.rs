// SPDX-License-Identifier: GPL-2.0

//! The campaign of faults in short, and whether it notices what it is to notice.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_blocks::{generations, BLOCK, SECTOR};

use crate::campaign::data::{offset, Disk, COUNT};
use crate::campaign::plan::{Kind, Modules, Side};
use crate::campaign::report::Outcome;
use crate::campaign::{self, Campaign, Known};
use crate::cases;
use crate::pair::Pair;
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Own(campaign::options, everything_unloaded_on_the_borrower),
    Own(campaign::options, the_link_flaps),
    Own(campaign::options, the_lenders_ntb_unbound),
    Own(campaign::options, the_driver_unbound),
    Own(campaign::options, the_device_reset),
    Own(campaign::options, reclaimed_by_force),
    Own(campaign::options, wrong_data_is_noticed),
];

/// The campaign of which the tests are: one fault of each kind that takes little time, whose outcomes are all that there are.
const CAMPAIGN: Campaign = Campaign {
    seed: 1,
    faults: Kind::CHEAP.len() as u32,
    from: 1,
    kinds: Kind::CHEAP,
};

/// Where the seeds of the data begin.
const DATA: u64 = 100;

fn everything_unloaded_on_the_borrower(pair: &Pair<'_>) -> Result<()> {
    suffer(
        pair,
        Kind::Unload(Side::Borrower, Modules::All),
        Outcome::BorrowedAgain,
    )
}

fn the_link_flaps(pair: &Pair<'_>) -> Result<()> {
    suffer(pair, Kind::Flap, Outcome::BorrowedAgain)
}

fn the_lenders_ntb_unbound(pair: &Pair<'_>) -> Result<()> {
    suffer(pair, Kind::UnbindNtb(Side::Lender), Outcome::BorrowedAgain)
}

fn the_driver_unbound(pair: &Pair<'_>) -> Result<()> {
    suffer(pair, Kind::UnbindDriver, Outcome::Ended)
}

fn the_device_reset(pair: &Pair<'_>) -> Result<()> {
    suffer(pair, Kind::Reset, Outcome::WentOn)
}

fn reclaimed_by_force(pair: &Pair<'_>) -> Result<()> {
    suffer(pair, Kind::ReclaimByForce, Outcome::CameBack)
}

/// The fault of that kind of the campaign, with the outcome that it has to have. The pair is left as it was.
fn suffer(pair: &Pair<'_>, kind: Kind, expected: Outcome) -> Result<()> {
    let fault = CAMPAIGN.plan().find(|fault| fault.kind == kind);
    let fault = fault.context("there is no such fault")?;
    // Nothing that another test has written to the same disk is taken for this one's.
    let mut known = Known::of(pair.bed, DATA + u64::from(fault.number));
    let outcome = known.suffer(pair.bed, &fault, false)?;
    ensure!(
        outcome == expected,
        "{fault}: '{outcome}', not '{expected}'"
    );
    let data = known.data();
    ensure!(
        data.acknowledged > 100 && data.compared > 100,
        "little was written or compared: {data:?}"
    );
    known.end(pair.bed)?;
    Pair::of(pair.bed).map(drop)
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
    image.write_all_at(&old[range.clone()], offset(block))?;
    let words = format!(
        "block {block} sector 0: {} was there before, {} is there",
        generation(&new, block).context("no generation")?,
        generation(&old, block).context("no generation")?,
    );
    let checked = disk.use_and_check(pair.borrower, &borrowed.disk, 0);
    fails(checked, &words)?;

    // Writes that were acknowledged, and are lost. That block holds by now what it held then.
    let mut lost = new;
    lost[range.clone()].copy_from_slice(&old[range]);
    let writer = disk.start(pair.borrower, &borrowed.disk)?;
    pair.borrower.sh_ok("pkill blocks")?;
    writer.end(Duration::from_secs(60))?;
    image.write_all_at(&lost, offset(0))?;
    fails(disk.check_image(), " was acknowledged, ")?;
    disk.check_image()?;
    borrowed.end()
}
