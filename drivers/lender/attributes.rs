// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/devlend/lender`; described in `docs/ABI/sysfs-kernel-devlend`.

use crate::{
    command::{
        self,
        Commands, //
    },
    config,
    events::COUNTERS,
    intx::Relay,
    offer::Offer,
    registry, //
};
use devlend_protocol::Address;
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        global_lock,
        Arc, //
    },
};
use ntb::{
    root,
    shown::Shown,
    sysfs::{
        Dir,
        Page, //
    },
    sysfs_binary,
    sysfs_read,
    sysfs_write, //
};

global_lock! {
    // SAFETY: Initialised in `init`, before the first use.
    unsafe(uninit) static OFFERS: Mutex<Option<Dir>> = None;
}

/// Prepares the directories.
///
/// # Safety
///
/// Called once, when the module is loaded.
#[expect(unsafe_code)]
pub(crate) unsafe fn init() {
    // SAFETY: The caller promises that this is the one call, and the first use.
    unsafe { OFFERS.init() };
}

/// The role's directory: commands and offers.
pub(crate) struct Tree {
    _commands: Dir,
}

impl Tree {
    /// Makes the directory. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let mut dir = root::role(c"lender")?;
        *OFFERS.lock() = Some(dir.dir(c"offers")?);

        let commands: Arc<Commands> =
            Arc::pin_init(new_mutex!((), "devlend_commands"), GFP_KERNEL)?;
        dir.add(
            &commands,
            [
                sysfs_write!(c"lend", |commands, line| command::lend(commands, line)),
                sysfs_read!(c"leases_begun", |_, page| {
                    writeln!(page, "{}", COUNTERS.begun.get())
                }),
                sysfs_read!(c"leases_ended", |_, page| {
                    writeln!(page, "{}", COUNTERS.ended.get())
                }),
                sysfs_read!(c"leases_lost", |_, page| {
                    writeln!(page, "{}", COUNTERS.lost.get())
                }),
                sysfs_read!(c"take_backs_asked", |_, page| {
                    writeln!(page, "{}", COUNTERS.asked.get())
                }),
                sysfs_read!(c"device_errors", |_, page| {
                    writeln!(page, "{}", COUNTERS.errors.get())
                }),
                sysfs_read!(c"device_resets", |_, page| {
                    writeln!(page, "{}", COUNTERS.resets.get())
                }),
                sysfs_read!(c"take_backs_forced", |_, page| {
                    writeln!(page, "{}", COUNTERS.forced.get())
                }),
                sysfs_write!(c"reclaim", |commands, line| command::reclaim(
                    commands, line
                )),
            ],
        )?;
        Ok(Self { _commands: dir })
    }
}

/// Takes the directory of offers away, which is empty by then.
pub(crate) struct OffersDir;

impl Drop for OffersDir {
    fn drop(&mut self) {
        let dir = OFFERS.lock().take();
        drop(dir);
    }
}

/// Makes the directory of an offer, whose configuration space has `config_size` bytes. May sleep.
pub(crate) fn add_offer(address: Address, config_size: usize) -> Result<Dir> {
    let name = CString::try_from_fmt(fmt!("{}", Shown(address)))?;
    let mut dir = OFFERS.lock().as_ref().ok_or(ENODEV)?.dir(&name)?;

    let address = Arc::new(address, GFP_KERNEL)?;
    dir.add(
        &address,
        [
            sysfs_read!(c"state", |address, page| {
                show(*address, page, |offer, page| {
                    let lease = &offer.lease;
                    let state = match lease.holder() {
                        _ if lease.is_wanted() => "wanted",
                        Some(_) => "lent",
                        None if lease.is_free() => "offered",
                        None => "unclean",
                    };
                    writeln!(page, "{state}")
                })
            }),
            sysfs_read!(c"epoch", |address, page| {
                show(*address, page, |offer, page| {
                    writeln!(page, "{}", offer.epoch())
                })
            }),
            sysfs_read!(c"interrupts_relayed", |address, page| {
                show(*address, page, |offer, page| {
                    let active = offer.active.as_ref();
                    let intx = active.and_then(|active| active.intx.as_ref());
                    writeln!(page, "{}", intx.map_or(0, Relay::relayed))
                })
            }),
            sysfs_read!(c"isolation", |address, page| {
                show(*address, page, |offer, page| {
                    writeln!(page, "{}", offer.isolation.as_str())
                })
            }),
            sysfs_read!(c"for", |address, page| {
                show(*address, page, |offer, page| {
                    writeln!(page, "{}", offer.audience)
                })
            }),
            sysfs_read!(c"previous_driver", |address, page| {
                show(*address, page, |offer, page| match &offer.previous.driver {
                    Some(name) => writeln!(page, "{}", name.to_str().unwrap_or("")),
                    None => writeln!(page),
                })
            }),
        ],
    )?;
    dir.add_binary(
        &address,
        [
            sysfs_binary!(c"config_raw", config_size, |address, offset, bytes| {
                config::raw(*address, offset, bytes)
            }),
            sysfs_binary!(c"config_emulated", config_size, |address, offset, bytes| {
                config::emulated(*address, offset, bytes)
            }),
        ],
    )?;
    Ok(dir)
}

/// Prints something of an offer; nothing if it has just gone.
fn show(
    address: Address,
    page: &mut Page<'_>,
    print: impl FnOnce(&Offer, &mut Page<'_>) -> core::fmt::Result,
) -> core::fmt::Result {
    match registry::lock().find(address) {
        Some(offer) => print(offer, page),
        None => writeln!(page),
    }
}
