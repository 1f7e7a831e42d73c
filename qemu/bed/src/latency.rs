// SPDX-License-Identifier: GPL-2.0

//! `bed latency`: what single accesses through the emulated bridge cost, beside a register of a device in the same QEMU.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use devlend_bed::{end_on_signals, Bed, Environment, Family, Host, Options, Placement, Window};
use serde::Serialize;

/// How to measure.
#[derive(Args)]
pub struct Latency {
    /// Rounds for each placement; in a round every access is made 16 times.
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
/// Rounds are cut into so many pieces, and the placements take turns piece by piece.
const PIECES: u32 = 10;

const LOCAL: &str = "local device register, read";
/// What is timed: name, file of the reader's, offset, kind. The last one only waits until the writes before it are done.
const ACCESSES: [(&str, &str, &str); 7] = [
    (LOCAL, EDU, "resource0:0:r4"),
    ("NTB register, read", NTB, "resource0:210:r4"),
    ("window to RAM, read", NTB, "resource2:0:r4"),
    ("window to a device register, read", NTB, "resource1:0:r4"),
    ("window to RAM, write", NTB, "resource2:100:w4=1"),
    (
        "window to a device register, write",
        NTB,
        "resource1:4:w4=1",
    ),
    ("(drain)", NTB, "resource0:210:r4"),
];

/// Nanoseconds of one access.
#[derive(Debug, Serialize)]
struct Figure {
    median: u64,
    lower_quartile: u64,
    upper_quartile: u64,
    n: usize,
    /// Median over the median of the local register under the same placement.
    ratio: f64,
}

impl Latency {
    /// Measures, prints a table and writes `target/latency.json`.
    pub fn run(self, run_dir: Option<PathBuf>) -> Result<()> {
        end_on_signals()?;
        let environment = Environment::find()?;
        let mut own = environment.run_dir.into_os_string();
        own.push("-latency");
        let bed = Bed::start(options(run_dir.unwrap_or_else(|| own.into())))?;
        let (reader, peer) = (bed.host(READER)?, bed.host(PEER)?);
        let program = std::env::current_exe()?.with_file_name("mmio-time");
        let program = fs::read(&program)
            .with_context(|| format!("no {}: 'make tools' builds it", program.display()))?;
        for host in [reader, peer] {
            host.sh_with(
                "cat >/tmp/mmio-time && chmod +x /tmp/mmio-time",
                Some(program.clone()),
                devlend_bed::DEFAULT_LIMIT,
                None,
            )?;
            host.sh_ok(&format!(
                "setpci -s {NTB} COMMAND=6 && setpci -s {EDU} COMMAND=6"
            ))?;
        }
        show(peer)?;

        let mut times: BTreeMap<&str, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
        for piece in 0..PIECES {
            eprintln!("bed: piece {} of {PIECES}", piece + 1);
            for placement in Placement::ALL {
                bed.place(placement)?;
                let seen = measure(reader, (self.rounds / PIECES).max(2))?;
                let times = times.entry(placement.name()).or_default();
                for (name, mut values) in seen {
                    times.entry(name).or_default().append(&mut values);
                }
            }
        }
        let figures: BTreeMap<&str, BTreeMap<String, Figure>> = times
            .into_iter()
            .map(|(placement, times)| (placement, figures(times)))
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

/// Opens the reader's windows 0 and 1 on a device and on RAM of the peer's: translation and limit in the peer's BAR 0.
fn show(peer: &Host) -> Result<()> {
    let line = peer.sh_ok(&format!("head -n1 /sys/bus/pci/devices/{EDU}/resource"))?;
    let address = line
        .split(' ')
        .next()
        .and_then(|text| text.strip_prefix("0x"));
    let device = address.context("the peer's device has no BAR")?;
    let file = format!("/sys/bus/pci/devices/{NTB}/resource0");
    let registers = [
        ("830", device.to_owned()),
        ("814", "100000".into()),
        ("838", format!("{SPARE:x}")),
        ("818", "100000".into()),
    ];
    let words: Vec<String> = registers
        .iter()
        .map(|(offset, value)| {
            // The limit of window 0 has 32 bits.
            let kind = if *offset == "814" { "w4" } else { "w8" };
            format!("x{offset}={file}:{offset}:{kind}={value}")
        })
        .collect();
    peer.sh_ok(&format!("/tmp/mmio-time 1 {}", words.join(" ")))
        .map(drop)
}

fn measure(reader: &Host, rounds: u32) -> Result<BTreeMap<String, Vec<u64>>> {
    let words: Vec<String> = ACCESSES
        .iter()
        .map(|(name, device, access)| {
            let (file, rest) = access.split_once(':').unwrap_or((access, ""));
            format!("'{name}=/sys/bus/pci/devices/{device}/{file}:{rest}'")
        })
        .collect();
    let text = reader.sh_ok(&format!("/tmp/mmio-time {rounds} {}", words.join(" ")))?;
    serde_json::from_str(&text).with_context(|| format!("mmio-time printed {text}"))
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
    write!(text, "{:<36}", "")?;
    for placement in Placement::ALL {
        write!(text, "{:>30}", placement.name())?;
    }
    text.push('\n');
    for (name, ..) in ACCESSES.iter().filter(|(name, ..)| !name.starts_with('(')) {
        write!(text, "{name:<36}")?;
        for placement in Placement::ALL {
            let figure = figures.get(placement.name()).and_then(|all| all.get(*name));
            let figure = figure.context("an access was not measured")?;
            let us = |ns: u64| ns as f64 / 1000.0;
            let cell = format!(
                "{:.1} ({:.1}-{:.1}) x{:.1}",
                us(figure.median),
                us(figure.lower_quartile),
                us(figure.upper_quartile),
                figure.ratio
            );
            write!(text, "{cell:>30}")?;
        }
        text.push('\n');
    }
    Ok(text)
}
