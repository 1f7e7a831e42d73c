// SPDX-License-Identifier: GPL-2.0

//! The bad peer: runs in one host in devlend's place, gets a session with an honest devlend in the other host, and then
//! does everything wrong.
//!
//! It needs the NTB's driver, the kernel's `ntb_tool`, and a megabyte of RAM that the kernel was told to leave alone
//! (`memmap=1M$0x10000000`): there is its control block. So the hosts' memory windows have to show RAM from address 0 on.
//!
//! A scenario of a bad borrower ends by itself, and fails if the host has not answered as it should. A bad lender serves
//! until it is killed. What it does at random it does by a seed.

#![forbid(unsafe_code)]

mod borrower;
mod lender;
mod memory;
mod ntb;
mod session;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use session::Dialect;

/// Misuses the devlend of the host at the other end of an NTB.
#[derive(Parser)]
struct Arguments {
    /// PCI address of the NTB.
    #[arg(long)]
    ntb: String,
    /// What is done at random is done by this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The lowest protocol version that it claims to speak.
    #[arg(long, default_value_t = 1)]
    min: u8,
    /// The highest.
    #[arg(long, default_value_t = 1)]
    max: u8,
    /// The features that it claims to have, by bits; those of today if nothing is said.
    #[arg(long)]
    features: Option<u32>,
    #[command(subcommand)]
    role: Role,
}

impl Arguments {
    fn dialect(&self) -> Dialect {
        let today = Dialect::today(false);
        Dialect {
            versions: (self.min, self.max),
            features: self.features.unwrap_or(today.features),
        }
    }
}

#[derive(Subcommand)]
enum Role {
    /// Misuses a lender.
    Borrower {
        /// The device that it lends, where one is needed.
        #[arg(long, default_value = "0000:00:03.0")]
        device: String,
        /// The epoch of another borrower's lease, for who wants that.
        #[arg(long, default_value_t = 1)]
        epoch: u32,
        scenario: borrower::Scenario,
    },
    /// Misuses a borrower, until it is killed.
    Lender { scenario: lender::Scenario },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let rng = fastrand::Rng::with_seed(arguments.seed);
    let ntb = ntb::Ntb::open(&arguments.ntb)?;
    let mut session = session::Session::new(ntb, arguments.dialect(), rng.clone())?;
    match arguments.role {
        Role::Borrower {
            device,
            epoch,
            scenario,
        } => {
            let device = devlend_protocol::parse_address(device.as_bytes())
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            borrower::run(scenario, &mut session, device, epoch, rng)
                .with_context(|| format!("{scenario:?}"))?;
            session.withdraw()
        }
        Role::Lender { scenario } => {
            lender::run(scenario, &mut session, rng).with_context(|| format!("{scenario:?}"))
        }
    }
}
