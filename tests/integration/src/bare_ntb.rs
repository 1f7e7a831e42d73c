// SPDX-License-Identifier: GPL-2.0

//! The emulated NTB under the kernel's own drivers, before devlend comes into it.

mod perf;
mod tool;
mod transport;

use std::thread::sleep;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::trace::{self, Kind, Line};
use devlend_bed::{until, Bed, Fault, Host, Seen};

use crate::cases;
use crate::pair::{finally, logged, NTB};
use crate::runner::Case;

pub const CASES: &[Case] = cases![
    Bed(the_kernels_driver_binds),
    Bed(pingpong),
    Amd(pingpong_in_the_trace),
    Bed(pingpong_without_doorbells),
    Amd(tool::scratchpads),
    Amd(tool::doorbells),
    Amd(tool::doorbell_masks),
    Amd(tool::windows),
    Amd(perf::copies),
    Amd(transport::network),
    Amd(the_msi_test_wants_a_scratchpad_more),
];

/// Unloads a client from all hosts that have it. It must not be in use.
fn unload(bed: &Bed, module: &str) -> Result<()> {
    for host in bed.hosts() {
        host.sh_ok(&format!("[ ! -d /sys/module/{module} ] || rmmod {module}"))?;
    }
    Ok(())
}

/// `ntb_msi_test` cannot work on AMD: it says so, and nothing is left of it.
fn the_msi_test_wants_a_scratchpad_more(bed: &Bed) -> Result<()> {
    for host in bed.hosts() {
        host.load_ntb_drivers()?;
        let load = || host.sh_ok("modprobe ntb_msi_test && rmmod ntb_msi_test");
        let refusal = |line: &str| line.contains("requires at least 9 spads for 4 irqs");
        logged(host, load, refusal, "that scratchpads are missing")?;
    }
    Ok(())
}

fn the_kernels_driver_binds(bed: &Bed) -> Result<()> {
    for host in bed.hosts() {
        host.load_ntb_drivers()?;
        host.wait_bound(NTB, Duration::from_secs(10))?;
        let (driver, known) = (host.driver(NTB)?, host.ntb_drivers());
        ensure!(
            driver.as_deref().is_some_and(|name| known.contains(&name)),
            "{driver:?} is none of {known:?}"
        );
    }
    Ok(())
}

/// Scratchpads, doorbells and their interrupts, through the kernel's own test client.
fn pingpong(bed: &Bed) -> Result<()> {
    load_pingpong(bed)?;
    for host in bed.hosts() {
        wait_for_balls(host, 10)?;
    }
    unload_pingpong(bed)
}

/// A ball is a count in a scratchpad, a doorbell, and an interrupt in the other host.
fn pingpong_in_the_trace(bed: &Bed) -> Result<()> {
    load_pingpong(bed)?;
    let body = (|| {
        for host in bed.hosts() {
            wait_for_balls(host, 1)?;
        }
        let request = trace::Request {
            link: Some("ntb0".into()),
            count: Some(500),
        };
        let lines: Vec<Line> = bed.emulator().trace(request)?.collect::<Result<_>>()?;
        let shown = || {
            lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        for (from, to) in [("lender", "borrower"), ("borrower", "lender")] {
            let mut rest = lines.iter();
            let mut next = |kind, host: &str, register: Option<&str>| {
                rest.any(|line| {
                    line.kind == kind
                        && line.host.as_deref() == Some(host)
                        && register.is_none_or(|name| {
                            line.register
                                .as_deref()
                                .is_some_and(|has| has.contains(name))
                        })
                })
            };
            ensure!(
                next(Kind::RegisterWrite, from, Some("SPAD"))
                    && next(Kind::Doorbell, from, Some("DBREQ"))
                    && next(Kind::Msix, to, None),
                "no ball from the {from} to the {to} in\n{}",
                shown()
            );
        }
        Ok(())
    })();
    finally(body, || unload_pingpong(bed))
}

/// Without doorbells the game stops; a link that goes and comes starts it again.
fn pingpong_without_doorbells(bed: &Bed) -> Result<()> {
    let emulator = bed.emulator();
    load_pingpong(bed)?;
    for host in bed.hosts() {
        wait_for_balls(host, 1)?;
    }
    let body = (|| {
        emulator.inject(Fault::DropDoorbells {
            host: None,
            next: None,
            probability: Some(1.0),
            seed: 0,
        })?;
        let lost = || {
            let [a, b] = ["lender", "borrower"]
                .map(|host| emulator.counter(&format!("ntb0.{host}.doorbells_dropped")));
            anyhow::Ok(a? + b?)
        };
        until("a ball to get lost", Duration::from_secs(30), || {
            Ok(match lost()? {
                0 => Seen::NotYet("none is lost".into()),
                _ => Seen::Yes(()),
            })
        })?;
        // Each ball is lost once, since nobody plays one that has not come.
        let all = || {
            let balls = bed.hosts().iter().map(balls).collect::<Result<Vec<_>>>()?;
            anyhow::Ok((balls, lost()?))
        };
        sleep(Duration::from_secs(1));
        let before = all()?;
        sleep(Duration::from_secs(1));
        let after = all()?;
        ensure!(
            before == after,
            "the game goes on: balls and lost ones {before:?}, then {after:?}"
        );
        emulator.inject(Fault::Clear)?;
        emulator.inject(Fault::Flap {
            times: 1,
            period: Duration::from_secs(1),
        })?;
        for (host, before) in bed.hosts().iter().zip(after.0) {
            wait_for_balls(host, before + 10)?;
        }
        Ok(())
    })();
    finally(body, || emulator.inject(Fault::Clear).map(drop))?;
    unload_pingpong(bed)
}

fn load_pingpong(bed: &Bed) -> Result<()> {
    for host in bed.hosts() {
        host.load_ntb_drivers()?;
        host.sh_ok("modprobe ntb_pingpong delay_ms=20")?;
    }
    Ok(())
}

fn unload_pingpong(bed: &Bed) -> Result<()> {
    unload(bed, "ntb_pingpong")
}

fn balls(host: &Host) -> Result<u64> {
    let count = host.sh_ok("cat /sys/kernel/debug/ntb_pingpong/*/count")?;
    count
        .parse()
        .with_context(|| format!("'{count}' is no number of balls"))
}

fn wait_for_balls(host: &Host, enough: u64) -> Result<()> {
    let what = format!("{enough} balls on the {}", host.name());
    until(&what, Duration::from_secs(30), || {
        let count = balls(host)?;
        Ok(if count >= enough {
            Seen::Yes(())
        } else {
            Seen::NotYet(count.to_string())
        })
    })
}
