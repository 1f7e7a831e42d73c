// SPDX-License-Identifier: GPL-2.0

//! The emulated NTB under the kernel's own drivers, before devlend comes into it.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Bed, Seen};

use crate::pair::NTB;
use crate::runner::{Body, Case};

pub const CASES: &[Case] = &[
    Case {
        name: "bare_ntb::the_kernels_driver_binds",
        body: Body::Bed(the_kernels_driver_binds),
    },
    Case {
        name: "bare_ntb::pingpong",
        body: Body::Bed(pingpong),
    },
];

fn the_kernels_driver_binds(bed: &Bed) -> Result<()> {
    for host in bed.hosts() {
        host.load_ntb_drivers()?;
        host.wait_bound(NTB, Duration::from_secs(10))?;
        let driver = host.driver(NTB)?;
        ensure!(driver.as_deref() == Some("ntb_hw_amd"), "{driver:?}");
    }
    Ok(())
}

/// Scratchpads, doorbells and their interrupts, through the kernel's own test client.
fn pingpong(bed: &Bed) -> Result<()> {
    for host in bed.hosts() {
        host.load_ntb_drivers()?;
        host.sh_ok("modprobe ntb_pingpong delay_ms=20")?;
    }
    for host in bed.hosts() {
        let what = format!("ten balls on the {}", host.name());
        until(&what, Duration::from_secs(30), || {
            let count = host.sh_ok("cat /sys/kernel/debug/ntb_pingpong/*/count")?;
            Ok(match count.parse::<u64>() {
                Ok(balls) if balls >= 10 => Seen::Yes(()),
                _ => Seen::NotYet(count),
            })
        })?;
    }
    for host in bed.hosts() {
        host.sh_ok("rmmod ntb_pingpong")?;
    }
    Ok(())
}
