// SPDX-License-Identifier: GPL-2.0

//! Turns a processor that counts its instructions into a measure of what a command costs: `spin COMMAND...`, to be run in a guest
//! with the policy `SCHED_IDLE`.
//!
//! It spins whenever nothing else wants the processor, so that the processor never idles, and all its time is either this program's
//! turns or somebody's work. With a clock that counts instructions (QEMU's `-icount shift=0`), the work is what is left of the time
//! when the turns are taken off; what a turn takes shows a command that does nothing, such as `sleep`.
//!
//! Prints `NANOSECONDS TURNS`.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{ensure, Context, Result};

/// Steps of a turn: many, since a look at the command costs as much as some hundred of them.
const STEPS: u32 = 20_000;

fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let program = words.next().context("usage: spin COMMAND...")?;
    let start = Instant::now();
    let mut child = Command::new(&program)
        .args(words)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let mut turns = 0u64;
    let status = loop {
        for step in 0..STEPS {
            black_box(step);
        }
        turns += 1;
        if let Some(status) = child.try_wait()? {
            break status;
        }
    };
    let nanoseconds = start.elapsed().as_nanos();
    ensure!(status.success(), "{} ended with {status}", program);
    println!("{nanoseconds} {turns}");
    Ok(ExitCode::SUCCESS)
}
