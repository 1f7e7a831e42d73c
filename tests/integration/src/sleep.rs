// SPDX-License-Identifier: GPL-2.0

//! A host that is to sleep with devices lent or borrowed.

use anyhow::Result;
use devlend_bed::{Errno, Host};

use crate::pair::{logged, refused, Pair};
use crate::runner::{Body, Case};

pub const CASES: &[Case] = &[Case {
    name: "sleep::is_refused_while_a_device_is_borrowed",
    body: Body::Pair(is_refused_while_a_device_is_borrowed),
}];

fn is_refused(host: &Host, complaint: &str) -> Result<()> {
    // With nothing to wake it: if it slept, the test would end there.
    logged(
        host,
        || {
            let answer = host.try_write("/sys/power/state", "freeze")?;
            refused(answer, &[Errno::EBUSY], "to sleep")
        },
        |line| line.contains(complaint),
        complaint,
    )
}

fn is_refused_while_a_device_is_borrowed(pair: &Pair<'_>) -> Result<()> {
    let borrowed = pair.borrow()?;
    is_refused(
        pair.borrower,
        "devices are borrowed: the system must not sleep; return them first",
    )?;
    is_refused(
        pair.lender,
        "devices are lent: the system must not sleep; reclaim them first",
    )?;
    borrowed.check_disk()?;
    borrowed.end()?;
    // A refusal does not stay.
    let borrowed = pair.borrow()?;
    borrowed.check_disk()?;
    borrowed.end()
}
