// SPDX-License-Identifier: GPL-2.0

//! The borrowed disk against a local one in each DMA mode. Each mode wants hosts of its own.

use anyhow::{ensure, Context, Result};
use devlend_bed::{Bed, Family, Options};

use crate::case::{Case, Measure, Part};
use crate::fio::Job;
use crate::hosts::{self, Hosts};
use crate::speed::{Comparison, JOBS, LOCAL};

/// A mode, as sysfs says it, and the hosts in which it is chosen.
#[derive(Clone, Copy)]
pub struct Mode {
    /// Its name.
    pub name: &'static str,
    options: fn(Family) -> Result<Options>,
}

/// All modes.
pub const MODES: [Mode; 3] = [
    mode("linear", hosts::plain),
    mode("iommu", hosts::translating),
    mode("bounce", hosts::bouncing),
];

const fn mode(name: &'static str, options: fn(Family) -> Result<Options>) -> Mode {
    Mode { name, options }
}

const COPIED: Measure = Measure::less("copied on the way, most at a time", "bytes");

/// Most rounds of a mode: in `iommu` each takes minutes.
const ROUNDS: u32 = 3;

/// Measures one mode.
pub fn measure(mode: Mode, family: Family, rounds: u32) -> Result<Vec<Case>> {
    let Mode { name, options } = mode;
    let bed = Bed::start(options(family)?)?;
    let hosts = Hosts::of(&bed)?;
    let borrowed = hosts.borrow()?;
    let values = hosts.offer().values()?;
    let chosen = values.get("dma_mode").context("no DMA mode")?;
    ensure!(chosen == name, "the DMA mode is {chosen}, not {name}");
    let jobs: Vec<Job> = JOBS.into_iter().filter(|job| job.depth != 1).collect();
    let local = vec![(LOCAL.to_string(), hosts.local.clone())];
    let mut comparison = Comparison::new(&jobs, local, 1);
    hosts.borrower().reset_bounced()?;
    for _ in 0..rounds.min(ROUNDS) {
        comparison.round(&hosts, &borrowed)?;
    }
    let mut cases = comparison.cases(Part::Modes, &format!("{name}: "));
    if let Some((_, most)) = hosts.borrower().bounced()? {
        let most = [most as f64];
        let case = Case::new(Part::Modes, format!("{name}: all of these"), COPIED, &most);
        cases.push(match name {
            "bounce" => case,
            _ => case.must_be(0.0, &most),
        });
    }
    hosts.end()?;
    Ok(cases)
}
