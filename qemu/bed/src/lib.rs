// SPDX-License-Identifier: GPL-2.0

//! The test bed: virtual machines joined by an emulated NTB, driven from a program or from the `bed` command.
//!
//! A [`Bed`] is one `ntb-emu` process and one QEMU a host, all recorded in a run directory, so that a later
//! process can [attach](Bed::attach) to it. Commands run in a host through QEMU's guest agent: no network, no
//! console to share. Every wait is bounded and says what it waited for.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let bed = devlend_bed::Bed::start(devlend_bed::Options::default())?;
//! let lender = bed.host("lender")?;
//! assert_eq!(lender.sh("exit 3")?.status, 3);
//! println!("{}", lender.sh_ok("lspci -k")?);
//! # Ok(())
//! # }
//! ```

mod agent;
mod bed;
pub mod devlend;
mod emulator;
mod ending;
mod environment;
pub mod fio;
mod host;
pub mod kernel_log;
mod mmio;
mod monitor;
mod network;
mod options;
mod output;
mod page;
pub mod pci;
mod placement;
mod process;
mod qemu;
pub mod times;
mod traffic;
mod turn;
mod wait;

pub use bed::Bed;
pub use emulator::{Counters, Emulator};
pub use ending::{end_on_signals, is_ending};
pub use environment::Environment;
pub use host::{Host, DEFAULT_LIMIT};
pub use mmio::{Access, AccessKind, Timed};
pub use nix::errno::Errno;
pub use ntb_emu::fault::{Fault, Request as FaultRequest};
pub use ntb_emu::model::Family;
pub use ntb_emu::trace;
pub use options::{
    default_windows, driver_modules, driver_parameters, parse_size, HostOptions, LinkOptions,
    Options, Slot, Window,
};
pub use output::Output;
pub use page::page;
pub use placement::{processors, Placement};
pub use traffic::{Snapshot, Traffic};
pub use wait::{patient, until, Seen};
