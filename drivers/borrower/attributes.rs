// SPDX-License-Identifier: GPL-2.0

//! The borrower's files in a link's directory; described in `docs/ABI/sysfs-kernel-devlend`.

use crate::{
    command,
    offer::Offer,
    remote::Remote, //
};
use devlend_config::Interrupts;
use devlend_protocol::Isolation;
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc, //
};
use ntb::{
    shown::Shown,
    sysfs::{
        Dir,
        Page, //
    },
    sysfs_read,
    sysfs_write, //
};

/// Files of one link.
pub(crate) struct Files {
    commands: Dir,
    offers: Dir,
}

impl Files {
    /// Adds the files. May sleep.
    pub(crate) fn new(remote: &Arc<Remote>) -> Result<Self> {
        let mut commands = remote.link.dir()?;
        let offers = commands.dir(c"offers")?;
        commands.add(
            remote,
            [
                sysfs_write!(c"borrow", command::borrow),
                sysfs_write!(c"return", command::give_back),
                sysfs_read!(c"leases_begun", |remote, page| {
                    writeln!(page, "{}", remote.counters.begun.get())
                }),
                sysfs_read!(c"leases_ended", |remote, page| {
                    writeln!(page, "{}", remote.counters.ended.get())
                }),
                sysfs_read!(c"leases_lost", |remote, page| {
                    writeln!(page, "{}", remote.counters.lost.get())
                }),
                sysfs_read!(c"removal_longest_ms", |remote, page| {
                    writeln!(page, "{}", remote.counters.longest_removal.get())
                }),
                sysfs_read!(c"device_errors", |remote, page| {
                    writeln!(page, "{}", remote.counters.errors.get())
                }),
                sysfs_read!(c"take_backs_asked", |remote, page| {
                    writeln!(page, "{}", remote.counters.asked.get())
                }),
            ],
        )?;
        Ok(Self { commands, offers })
    }

    /// The directory of offers.
    pub(crate) fn offers(&self) -> &Dir {
        &self.offers
    }

    /// Takes the commands away, and waits for one that runs; the directory of offers is left.
    pub(crate) fn without_commands(self) -> Dir {
        let Self { commands, offers } = self;
        drop(commands);
        offers
    }
}

/// Makes the directory of an offer. May sleep.
pub(crate) fn add_offer(offers: &Dir, offer: &Arc<Offer>) -> Result<Dir> {
    let name = CString::try_from_fmt(fmt!("{}", Shown(offer.address)))?;
    let mut dir = offers.dir(&name)?;
    dir.add(
        offer,
        [
            sysfs_read!(c"vendor", |offer, page| writeln!(
                page,
                "{:#06x}",
                offer.ids.vendor
            )),
            sysfs_read!(c"device", |offer, page| writeln!(
                page,
                "{:#06x}",
                offer.ids.device
            )),
            sysfs_read!(c"class", |offer, page| writeln!(
                page,
                "{:#08x}",
                offer.ids.class
            )),
            sysfs_read!(c"isolation", |offer, page| writeln!(
                page,
                "{}",
                offer.isolation().map_or("unknown", Isolation::as_str)
            )),
            sysfs_read!(c"state", |offer, page| writeln!(
                page,
                "{}",
                offer.state().as_str()
            )),
            sysfs_read!(c"local_address", |offer, page| match offer.borrowed() {
                Some(borrowed) => {
                    let at = borrowed.bus.address();
                    writeln!(
                        page,
                        "{:04x}:{:02x}:{:02x}.{:x}",
                        at.domain, at.bus, at.device, at.function
                    )
                }
                None => writeln!(page),
            }),
            sysfs_read!(c"auto", |offer, page| {
                writeln!(page, "{}", u8::from(offer.is_auto()))
            }),
            sysfs_read!(c"dma_mode", |offer, page| match offer.borrowed() {
                Some(borrowed) => writeln!(page, "{}", borrowed.dma_mode.as_str()),
                None => writeln!(page),
            }),
            sysfs_read!(c"dma_size", |offer, page| match offer.borrowed() {
                Some(borrowed) => writeln!(page, "{}", borrowed.dma_size),
                None => writeln!(page),
            }),
            sysfs_read!(c"interrupts", |offer, page| {
                let uses = offer.borrowed().map(|it| it.shadow.interrupts());
                writeln!(page, "{}", uses.map_or("", Interrupts::as_str))
            }),
            sysfs_read!(c"interrupts_relayed", |offer, page| {
                count(offer, page, |counters| counters.interrupts.get())
            }),
            sysfs_read!(c"config_reads_shadow", |offer, page| {
                count(offer, page, |counters| counters.reads_shadow.get())
            }),
            sysfs_read!(c"config_reads_peer", |offer, page| {
                count(offer, page, |counters| counters.reads_peer.get())
            }),
            sysfs_read!(c"config_writes_peer", |offer, page| {
                count(offer, page, |counters| counters.writes_peer.get())
            }),
        ],
    )?;
    Ok(dir)
}

fn count(
    offer: &Offer,
    page: &mut Page<'_>,
    counter: impl FnOnce(&crate::shadow::Counters) -> u64,
) -> core::fmt::Result {
    let value = offer
        .borrowed()
        .map_or(0, |borrowed| counter(&borrowed.shadow.counters));
    writeln!(page, "{value}")
}
