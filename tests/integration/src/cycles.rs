// SPDX-License-Identifier: GPL-2.0

//! Lending, borrowing and returning again and again: what each leaves behind adds up. Needs a kernel that counts its slab
//! objects, so it is left out unless `DEVLEND_CYCLES` says how often (`make test-sanitize` does).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::Host;

use crate::pair::{Pair, NVME};
use crate::runner::{Body, Case};

/// The test, if it is asked for.
pub const CASES: &[Case] = &[Case {
    name: "cycles::leave_nothing_behind",
    body: Body::Pair(leave_nothing_behind),
}];

/// How often.
pub fn wanted() -> Option<u32> {
    std::env::var("DEVLEND_CYCLES").ok()?.parse().ok()
}

/// Caches, pools and lists that are made with the first device are there before it is counted.
const WARM_UP: u32 = 20;

fn leave_nothing_behind(pair: &Pair<'_>) -> Result<()> {
    let cycles = wanted().context("DEVLEND_CYCLES is no number")?;
    ensure!(
        cycles >= 100,
        "growth is not to be told from chance in {cycles} cycles: 100 at least"
    );
    for _ in 0..WARM_UP {
        cycle(pair)?;
    }
    let hosts = [pair.lender, pair.borrower];
    let before = hosts.map(objects);
    for done in 1..=cycles {
        cycle(pair)?;
        if done % 50 == 0 {
            eprintln!("    {done} of {cycles} cycles");
        }
    }
    for (host, before) in hosts.into_iter().zip(before) {
        let (before, after) = (before?, objects(host)?);
        let grown = grown(&before, &after, cycles);
        ensure!(
            grown.is_empty(),
            "the {} has more than before {cycles} cycles: {}",
            host.name(),
            grown.join(", ")
        );
        eprintln!("    the {}: {}", host.name(), summary(&before, &after));
    }
    Ok(())
}

fn cycle(pair: &Pair<'_>) -> Result<()> {
    pair.lend()?;
    let offer = pair.at_borrower.offer(NVME);
    let address = offer.borrow()?;
    pair.borrower
        .wait_bound(&address, Duration::from_secs(60))?;
    offer.give_back()?;
    pair.lending().reclaim(NVME)
}

/// How many objects each slab cache has in use, and how many areas `vmalloc` has.
fn objects(host: &Host) -> Result<BTreeMap<String, u64>> {
    // What is freed but held back (KASAN's quarantine, caches of each CPU) counts as in use until a cache is shrunk.
    let text = host.sh_ok(
        "sleep 10; for shrink in /sys/kernel/slab/*/shrink; do echo 1 >$shrink; done; \
         tail -n +3 /proc/slabinfo | awk '{ print $1, $2 }'; echo vmalloc areas=$(wc -l </proc/vmallocinfo) | tr ' =' '_ '",
    )?;
    let line = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_string(), count.parse().ok()?))
    };
    text.lines()
        .map(|text| line(text).with_context(|| format!("not a cache and a number: {text}")))
        .collect()
}

/// What has grown by an object in two cycles, or faster: a leak, even if not each cycle takes the path with it.
fn grown(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    cycles: u32,
) -> Vec<String> {
    after
        .iter()
        .filter_map(|(name, now)| {
            let then = before.get(name).copied().unwrap_or(0);
            (now.saturating_sub(then) >= u64::from(cycles / 2))
                .then(|| format!("{name} {then} -> {now}"))
        })
        .collect()
}

fn summary(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let sum = |objects: &BTreeMap<String, u64>| objects.values().sum::<u64>();
    let most = after
        .iter()
        .map(|(name, now)| {
            (
                now.saturating_sub(before.get(name).copied().unwrap_or(0)),
                name,
            )
        })
        .max();
    let most = most.map_or(String::new(), |(by, name)| {
        format!("; most has {name} grown, by {by}")
    });
    format!(
        "{} slab objects before, {} after{most}",
        sum(before),
        sum(after)
    )
}
