// SPDX-License-Identifier: GPL-2.0

//! What sysfs shows of a link; described in `docs/ABI/sysfs-kernel-devlend`.

use super::{
    attach,
    Link,
    State, //
};
use crate::{
    shown::Shown,
    sysfs::{
        Dir,
        Page, //
    },
    sysfs_read,
    sysfs_read_write, //
};
use devlend_protocol::{
    parse_number,
    Plan, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Fills the link's directory.
pub(super) fn add(dir: &mut Dir, link: &Arc<Link>) -> Result {
    dir.add(
        link,
        [
            sysfs_read!(c"state", |link, page| {
                let state = match link.state() {
                    State::Down => "down",
                    State::Waiting => "waiting",
                    State::Up => "up",
                    State::Refused => "refused",
                };
                writeln!(page, "{state}")
            }),
            sysfs_read!(c"refusal", |link, page| {
                let refusal = link.refusal().filter(|_| link.state() == State::Refused);
                writeln!(page, "{}", refusal.map_or("", |refusal| refusal.as_str()))
            }),
            sysfs_read_write!(
                c"key",
                |link, page| {
                    let key = link.key.lock();
                    let description = key.as_ref().and_then(|key| key.description().to_str().ok());
                    writeln!(page, "{}", description.unwrap_or(""))
                },
                attach::set_key
            ),
            sysfs_read!(c"version", |link, page| match link.peer() {
                Ok(peer) => writeln!(page, "{}", peer.version),
                Err(_) => writeln!(page),
            }),
            sysfs_read!(c"generation", |link, page| {
                writeln!(page, "{:#010x}", link.setup.lock().handshake.generation())
            }),
            sysfs_read!(c"peer_generation", |link, page| {
                writeln!(page, "{:#010x}", link.setup.lock().handshake.seen())
            }),
            sysfs_read!(c"memory_window", |link, page| planned(link, page, |plan| {
                plan.memory_window.into()
            })),
            sysfs_read!(c"memory_window_size", |link, page| planned(
                link,
                page,
                |plan| plan.memory_size
            )),
            sysfs_read!(c"mmio_window", |link, page| planned(link, page, |plan| {
                plan.mmio_window.into()
            })),
            sysfs_read!(c"mmio_window_size", |link, page| planned(
                link,
                page,
                |plan| plan.mmio_size
            )),
            sysfs_read!(c"msi_window", |link, page| planned(link, page, |plan| plan
                .msi_window
                .into())),
            sysfs_read!(c"dma_needed", |link, page| planned(link, page, |plan| plan
                .dma_needed)),
            sysfs_read!(c"dma_available", |link, page| planned(link, page, |plan| {
                plan.dma_available
            })),
            sysfs_read!(c"requests_sent", |link, page| writeln!(
                page,
                "{}",
                link.counters.sent.get()
            )),
            sysfs_read!(c"requests_received", |link, page| {
                writeln!(page, "{}", link.counters.received.get())
            }),
            sysfs_read!(c"timeouts", |link, page| writeln!(
                page,
                "{}",
                link.counters.timeouts.get()
            )),
            sysfs_read!(c"refused", |link, page| writeln!(
                page,
                "{}",
                link.counters.refused.get()
            )),
            sysfs_read!(c"attaches_refused", |link, page| {
                writeln!(page, "{}", link.counters.attaches_refused.get())
            }),
            sysfs_read!(c"config_access_longest_us", |link, page| {
                writeln!(page, "{}", link.counters.longest_atomic.get())
            }),
            sysfs_read!(c"keepalives_sent", |link, page| {
                writeln!(page, "{}", link.counters.keepalives_sent.get())
            }),
            sysfs_read!(c"keepalives_missed", |link, page| {
                writeln!(page, "{}", link.counters.keepalives_missed.get())
            }),
            sysfs_read_write!(
                c"keepalive_interval",
                |link, page| writeln!(page, "{}", link.knobs.get().interval()),
                |link, line| set(link, line, |number| link.knobs.set(Some(number), None))
            ),
            sysfs_read_write!(
                c"keepalive_timeout",
                |link, page| writeln!(page, "{}", link.knobs.get().timeout()),
                |link, line| set(link, line, |number| link.knobs.set(None, Some(number)))
            ),
        ],
    )
}

/// Sets a number of the keep-alive's.
fn set(link: &Link, line: &[u8], set: impl FnOnce(u64) -> Option<()>) -> Result {
    let number = parse_number(line).map_err(|error| {
        dev_err!(link.dev(), "{}; expected milliseconds\n", Shown(error));
        EINVAL
    })?;
    set(number).ok_or_else(|| {
        dev_err!(
            link.dev(),
            "{number} ms is out of range: keepalive_interval is 0 (off) or 10 to 60000, keepalive_timeout 500 to 600000\n"
        );
        ERANGE
    })
}

/// Prints a number of the plan; an empty line while there is none.
fn planned(
    link: &Link,
    page: &mut Page<'_>,
    number: impl FnOnce(&Plan) -> u64,
) -> core::fmt::Result {
    match link.plan() {
        Some(plan) => writeln!(page, "{}", number(plan)),
        None => writeln!(page),
    }
}
