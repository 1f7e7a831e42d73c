// SPDX-License-Identifier: GPL-2.0

//! `bed latency`: what single accesses through the emulated bridge cost, beside a register of a device in the same QEMU.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use clap::Args;
use devlend_bed::{
    end_on_signals, Access, AccessKind, Bed, Environment, Family, Host, Options, Placement, Window,
};
use serde::Serialize;

/// How to measure.
#[derive(Args)]
pub struct Latency {
    /// Rounds for each setting; in a round every access is made 16 times.
    #[arg(long, default_value_t = 200, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(3..=10_000))]
    rounds: u32,
}

/// The host that measures, and its peer.
const READER: &str = "lender";
const PEER: &str = "borrower";
const NTB: &str = "0000:00:1b.0";
const EDU: &str = "0000:00:05.0";
/// Memory of the peer's that its kernel leaves alone.
const SPARE: u64 = 0x1000_0000;
/// Rounds are cut into so many pieces, and the settings take turns piece by piece.
const PIECES: u32 = 10;

/// What is compared.
const SETTINGS: [(&str, Placement); 3] = [
    ("left alone", Placement::Free),
    ("a processor each", Placement::Apart),
    ("one processor", Placement::Together),
];

const LOCAL: &str = "local device register, read";
/// What is timed: name, device, BAR, offset, kind. The last one only waits until the writes before it are done.
const ACCESSES: [(&str, &str, u32, u64, AccessKind); 7] = [
    (LOCAL, EDU, 0, 0, AccessKind::Read4),
    ("NTB register, read", NTB, 0, 0x210, AccessKind::Read4),
    ("window to RAM, read", NTB, 2, 0, AccessKind::Read4),
    ("window to a device, read", NTB, 1, 0, AccessKind::Read4),
    ("window to RAM, write", NTB, 2, 0x100, AccessKind::Write4(1)),
    (
        "window to a device, write",
        NTB,
        1,
        4,
        AccessKind::Write4(1),
    ),
    ("(drain)", NTB, 0, 0x210, AccessKind::Read4),
];

/// Nanoseconds of one access.
#[derive(Debug, Serialize)]
struct Figure {
    median: u64,
    lower_quartile: u64,
    upper_quartile: u64,
    n: usize,
    /// Median over the median of the local register in the same setting.
    ratio: f64,
}

impl Latency {
    /// Measures, prints a table and writes `target/latency.json`.
    pub fn run(self, run_dir: Option<PathBuf>) -> Result<()> {
        end_on_signals()?;
        let environment = Environment::find()?;
        let mut own = environment.run_dir.clone().into_os_string();
        own.push("-latency");
        let bed = Bed::start(options(run_dir.unwrap_or_else(|| own.into())))?;
        prepare(&bed)?;

        let mut times: BTreeMap<&str, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
        for piece in 0..PIECES {
            eprintln!("bed: piece {} of {PIECES}", piece + 1);
            for (setting, placement) in SETTINGS {
                bed.place(placement)?;
                let seen = measure(bed.host(READER)?, (self.rounds / PIECES).max(2))?;
                let times = times.entry(setting).or_default();
                for (name, mut values) in seen {
                    times.entry(name).or_default().append(&mut values);
                }
            }
        }
        let figures: BTreeMap<&str, BTreeMap<String, Figure>> = times
            .into_iter()
            .map(|(setting, times)| (setting, figures(times)))
            .collect();
        let path = environment.top.join("target/latency.json");
        fs::write(&path, serde_json::to_vec_pretty(&figures)?)
            .with_context(|| format!("writing {}", path.display()))?;
        print!("{}", table(&figures)?);
        Ok(())
    }
}

/// Two hosts with a device to read in each; no window is mapped, for that would turn QEMU's posted writes off.
fn options(run_dir: PathBuf) -> Options {
    let mut options = Options {
        run_dir: Some(run_dir),
        ..Options::pair(Family::Amd)
    };
    for link in &mut options.links {
        link.windows = vec![
            Window {
                size: 1 << 20,
                direct: false
            };
            3
        ];
    }
    for host in &mut options.hosts {
        host.args = ["-device", "edu,addr=0x5"].map(String::from).to_vec();
        host.append = format!("memmap=1M${SPARE:#x}");
    }
    options
}

/// Opens the reader's windows on a device and on RAM of the peer's. No driver is loaded.
fn prepare(bed: &Bed) -> Result<()> {
    let (reader, peer) = (bed.host(READER)?, bed.host(PEER)?);
    for host in [reader, peer] {
        host.enable(NTB)?;
        host.enable(EDU)?;
    }
    peer.show_by_amd(NTB, 0, peer.first_bar(EDU)?, 1 << 20)?;
    peer.show_by_amd(NTB, 1, SPARE, 1 << 20)
}

fn measure(reader: &Host, rounds: u32) -> Result<BTreeMap<String, Vec<u64>>> {
    let accesses = ACCESSES.map(|(name, device, bar, offset, kind)| Access {
        name: name.into(),
        device: device.into(),
        bar,
        offset,
        kind,
    });
    let seen = reader.mmio(rounds, &accesses)?;
    let times = seen.into_iter().map(|(name, timed)| {
        // A read that went nowhere is no measurement.
        ensure!(
            timed.ones == 0,
            "{name}: {} reads gave all-ones",
            timed.ones
        );
        Ok((name, timed.ns))
    });
    times.collect()
}

fn figures(mut times: BTreeMap<String, Vec<u64>>) -> BTreeMap<String, Figure> {
    for values in times.values_mut() {
        values.sort_unstable();
    }
    let quantile = |values: &[u64], of: usize| values[(values.len() - 1) * of / 4];
    let local = times
        .get(LOCAL)
        .map_or(1, |values| quantile(values, 2))
        .max(1);
    times
        .iter()
        .filter(|(name, _)| !name.starts_with('('))
        .map(|(name, values)| {
            let median = quantile(values, 2);
            let figure = Figure {
                median,
                lower_quartile: quantile(values, 1),
                upper_quartile: quantile(values, 3),
                n: values.len(),
                ratio: median as f64 / local as f64,
            };
            (name.clone(), figure)
        })
        .collect()
}

fn table(figures: &BTreeMap<&str, BTreeMap<String, Figure>>) -> Result<String> {
    let mut text = String::from("microseconds, median (quartiles); x: over the local register\n");
    write!(text, "{:<28}", "")?;
    for (setting, ..) in SETTINGS {
        write!(text, "{setting:>27}")?;
    }
    text.push('\n');
    for (name, ..) in ACCESSES.iter().filter(|(name, ..)| !name.starts_with('(')) {
        write!(text, "{name:<28}")?;
        for (setting, ..) in SETTINGS {
            let figure = figures.get(setting).and_then(|all| all.get(*name));
            let figure = figure.context("an access was not measured")?;
            let us = |ns: u64| ns as f64 / 1000.0;
            let cell = format!(
                "{:.1} ({:.1}-{:.1}) x{:.0}",
                us(figure.median),
                us(figure.lower_quartile),
                us(figure.upper_quartile),
                figure.ratio
            );
            write!(text, "{cell:>27}")?;
        }
        text.push('\n');
    }
    Ok(text)
}
