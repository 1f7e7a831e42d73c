// SPDX-License-Identifier: GPL-2.0

//! Which fault comes when: all of it follows from a seed.

use std::fmt;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one with the device.
    Lender,
    /// The one that uses it.
    Borrower,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lender => "lender",
            Self::Borrower => "borrower",
        })
    }
}

/// Which modules are unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modules {
    /// `devlend_lender` or `devlend_borrower`.
    Role,
    /// That one, then `devlend_ntb`.
    Devlend,
    /// The driver of the NTB's hardware, below `devlend_ntb`.
    Hardware,
    /// All of them, from the top.
    All,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The host loses its power.
    Kill(Side),
    /// The host reboots by itself.
    Reboot(Side),
    /// The cable is pulled, and put in again.
    Cable,
    /// The same several times, quickly.
    Flap,
    /// Modules are unloaded, and loaded again.
    Unload(Side, Modules),
    /// The NTB's driver is unbound, and bound again.
    UnbindNtb(Side),
    /// The NTB is removed in sysfs, and found again.
    RemoveNtb(Side),
    /// The lender asks for its device, and lends it again.
    Reclaim,
    /// The lender takes its device, and lends it again.
    ReclaimByForce,
    /// The borrower resets the device.
    Reset,
    /// The borrower unbinds the device's driver, and binds it again.
    UnbindDriver,
    /// The host stands still for longer than its peer waits for a sign of life.
    Pause(Side),
}

impl Kind {
    /// All there are.
    pub const ALL: &'static [Self] = &[
        Self::Kill(Side::Lender),
        Self::Kill(Side::Borrower),
        Self::Reboot(Side::Lender),
        Self::Reboot(Side::Borrower),
        Self::Cable,
        Self::Flap,
        Self::Unload(Side::Lender, Modules::Role),
        Self::Unload(Side::Lender, Modules::Devlend),
        Self::Unload(Side::Lender, Modules::Hardware),
        Self::Unload(Side::Lender, Modules::All),
        Self::Unload(Side::Borrower, Modules::Role),
        Self::Unload(Side::Borrower, Modules::Devlend),
        Self::Unload(Side::Borrower, Modules::Hardware),
        Self::Unload(Side::Borrower, Modules::All),
        Self::UnbindNtb(Side::Lender),
        Self::UnbindNtb(Side::Borrower),
        Self::RemoveNtb(Side::Lender),
        Self::RemoveNtb(Side::Borrower),
        Self::Reclaim,
        Self::ReclaimByForce,
        Self::Reset,
        Self::UnbindDriver,
        Self::Pause(Side::Lender),
        Self::Pause(Side::Borrower),
    ];

    /// Those that take little time, one of each sort.
    pub const CHEAP: &'static [Self] = &[
        Self::Flap,
        Self::Unload(Side::Borrower, Modules::All),
        Self::UnbindNtb(Side::Lender),
        Self::ReclaimByForce,
        Self::Reset,
        Self::UnbindDriver,
    ];

    /// Whether the borrower keeps what it needs to borrow the device again by itself.
    pub fn spares_the_borrower(self) -> bool {
        !matches!(
            self,
            Self::Kill(Side::Borrower)
                | Self::Reboot(Side::Borrower)
                | Self::Unload(Side::Borrower, _)
                | Self::UnbindNtb(Side::Borrower)
                | Self::RemoveNtb(Side::Borrower)
        )
    }

    /// Whether the device is lent as before, so that I/O has to go on.
    pub fn spares_the_lease(self) -> bool {
        matches!(self, Self::Reset)
    }

    /// Whether it lasts until it is undone.
    pub fn lasts(self) -> bool {
        !matches!(
            self,
            Self::Reboot(_) | Self::Flap | Self::Reset | Self::UnbindDriver
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(side) => write!(f, "kill the {side}"),
            Self::Reboot(side) => write!(f, "reboot the {side}"),
            Self::Cable => f.write_str("pull the cable"),
            Self::Flap => f.write_str("flap the link"),
            Self::Unload(side, Modules::Role) => write!(f, "unload devlend_{side}"),
            Self::Unload(side, Modules::Devlend) => write!(f, "unload devlend on the {side}"),
            Self::Unload(side, Modules::Hardware) => {
                write!(f, "unload the NTB's driver on the {side}")
            }
            Self::Unload(side, Modules::All) => write!(f, "unload everything on the {side}"),
            Self::UnbindNtb(side) => write!(f, "unbind the {side}'s NTB"),
            Self::RemoveNtb(side) => write!(f, "remove the {side}'s NTB"),
            Self::Reclaim => f.write_str("reclaim"),
            Self::ReclaimByForce => f.write_str("reclaim by force"),
            Self::Reset => f.write_str("reset the device"),
            Self::UnbindDriver => f.write_str("unbind the device's driver"),
            Self::Pause(side) => write!(f, "pause the {side}"),
        }
    }
}

/// When a fault that lasts is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When the borrower's programs have met the end of their I/O.
    IoHasEnded,
    /// After some time, whatever has been noticed by then.
    After(Duration),
}

/// One fault of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its place in the campaign, from 1.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// Time since the load has begun.
    pub delay: Duration,
    /// When it is undone, if it lasts.
    pub until: Until,
    /// How often the link flaps, and from one pull of the cable to the next.
    pub flaps: (u32, Duration),
    /// Whether the device was borrowed to be had again.
    pub auto: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} ms", self.kind, self.delay.as_millis())?;
        if self.kind == Kind::Flap {
            write!(
                f,
                ", {} times {} ms",
                self.flaps.0,
                self.flaps.1.as_millis()
            )?;
        }
        if self.kind.lasts() && !matches!(self.kind, Kind::Pause(_)) {
            match self.until {
                Until::IoHasEnded => f.write_str(", until noticed")?,
                Until::After(time) => write!(f, ", for {} ms", time.as_millis())?,
            }
        }
        f.write_str(if self.auto { ", auto)" } else { ")" })
    }
}

/// The faults of a campaign, without end: all `kinds` in some order, again and again.
pub fn faults(seed: u64, kinds: &'static [Kind]) -> impl Iterator<Item = Fault> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut deck: Vec<Kind> = Vec::new();
    (1..).map(move |number| {
        if deck.is_empty() {
            deck = kinds.to_vec();
            deck.shuffle(&mut random);
        }
        let kind = deck.pop().unwrap_or(Kind::Cable);
        let mut ms = |range| Duration::from_millis(random.random_range(range));
        // Each is drawn whether it is needed or not: what one fault is does not shift the next one's numbers.
        let (delay, time, period) = (ms(0..1500), ms(0..3000), ms(10..700));
        Fault {
            number,
            kind,
            delay,
            until: if random.random_bool(0.5) {
                Until::IoHasEnded
            } else {
                Until::After(time)
            },
            flaps: (random.random_range(1..=6), period),
            auto: random.random_bool(0.4),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_campaign() {
        let of = |seed| faults(seed, Kind::ALL).take(100).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn every_kind_comes_in_turn() {
        let all: Vec<Kind> = faults(3, Kind::ALL)
            .take(3 * Kind::ALL.len())
            .map(|fault| fault.kind)
            .collect();
        for turn in all.chunks(Kind::ALL.len()) {
            for kind in Kind::ALL {
                assert!(turn.contains(kind), "{kind} is missing");
            }
        }
        assert_ne!(
            all[..Kind::ALL.len()],
            all[Kind::ALL.len()..][..Kind::ALL.len()]
        );
    }

    #[test]
    fn the_cheap_ones_are_some_of_all() {
        assert!(Kind::CHEAP.iter().all(|kind| Kind::ALL.contains(kind)));
    }
}
