// SPDX-License-Identifier: GPL-2.0

//! Times single accesses to PCI BARs, to be run in a guest: `mmio-time ROUNDS NAME=FILE:OFFSET:KIND...`.
//!
//! FILE is a `resourceN` of a device in sysfs, OFFSET hexadecimal, KIND `r4` or `w4=VALUE` or `w8=VALUE` with a
//! hexadecimal value. The accesses take turns: in each round, [`BATCH`] of the first are timed, then [`BATCH`] of the
//! second, and so on, so that what disturbs one disturbs all. With one round, each access is made once: a way to write a
//! register.
//!
//! Prints JSON: by name, `ns`: nanoseconds an access, sorted, one for each round; `ones`: how many reads gave all-ones; `last`:
//! what the last read gave, 0 if there was none.

#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use serde_json::json;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// Accesses timed together: the clock itself costs as much as a fast one.
const BATCH: u32 = 16;
/// `PROT_READ | PROT_WRITE` and `MAP_SHARED` on every Linux.
const PROTECTION: i32 = 3;
const SHARED: i32 = 1;

enum Kind {
    Read4,
    Write4(u32),
    Write8(u64),
}

struct Target {
    name: String,
    region: MmapRegion,
    offset: usize,
    kind: Kind,
}

impl Target {
    fn parse(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').context("NAME= is missing")?;
        let mut parts = rest.rsplitn(3, ':');
        let (Some(kind), Some(offset), Some(file)) = (parts.next(), parts.next(), parts.next())
        else {
            bail!("'{rest}' is not FILE:OFFSET:KIND");
        };
        let offset = usize::from_str_radix(offset, 16).context("OFFSET is hexadecimal")?;
        let kind = match kind.split_once('=') {
            None if kind == "r4" => Kind::Read4,
            Some(("w4", value)) => Kind::Write4(u32::from_str_radix(value, 16)?),
            Some(("w8", value)) => Kind::Write8(u64::from_str_radix(value, 16)?),
            _ => bail!("'{kind}' is none of r4, w4=VALUE, w8=VALUE"),
        };
        let opened = OpenOptions::new().read(true).write(true).open(file);
        let opened = opened.with_context(|| format!("opening {file}"))?;
        let size = usize::try_from(opened.metadata()?.len())?;
        let region = MmapRegion::build(Some(FileOffset::new(opened, 0)), size, PROTECTION, SHARED)
            .with_context(|| format!("mapping {file}"))?;
        Ok(Self {
            name: name.to_owned(),
            region,
            offset,
            kind,
        })
    }

    /// Makes the access; returns what a read gave.
    fn access(&self) -> Result<Option<u32>> {
        let slice = self.region.as_volatile_slice();
        match self.kind {
            Kind::Read4 => return Ok(Some(slice.load(self.offset, Ordering::Relaxed)?)),
            Kind::Write4(value) => slice.store(value, self.offset, Ordering::Relaxed)?,
            Kind::Write8(value) => slice.store(value, self.offset, Ordering::Relaxed)?,
        }
        Ok(None)
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u32 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .context("usage: mmio-time ROUNDS NAME=FILE:OFFSET:KIND...")?;
    let targets = arguments
        .map(|text| Target::parse(&text).with_context(|| format!("'{text}'")))
        .collect::<Result<Vec<_>>>()?;
    let batch = if rounds == 1 { 1 } else { BATCH };
    let mut seen = vec![(Vec::new(), 0u64, 0u32); targets.len()];
    for _ in 0..rounds {
        for (target, (times, ones, last)) in targets.iter().zip(&mut seen) {
            let start = Instant::now();
            for _ in 0..batch {
                if let Some(value) = target.access()? {
                    *ones += u64::from(value == u32::MAX);
                    *last = value;
                }
            }
            times.push(start.elapsed().as_nanos() as u64 / u64::from(batch));
        }
    }
    let mut report = serde_json::Map::new();
    for (target, (mut times, ones, last)) in targets.into_iter().zip(seen) {
        times.sort_unstable();
        report.insert(
            target.name,
            json!({ "ns": times, "ones": ones, "last": last }),
        );
    }
    println!("{}", serde_json::Value::Object(report));
    Ok(())
}
