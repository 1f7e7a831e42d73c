// SPDX-License-Identifier: GPL-2.0

//! Nothing wrong, but for what its features leave out: what it is told anyway, it prints.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use devlend_protocol::{Address, Open};

use super::{LONGEST, STOP};
use crate::session::{refuse, Session};

pub fn run(session: &mut Session, device: Address) -> Result<()> {
    session.connect()?;
    let open = Open {
        address: u32::from(device).into(),
    };
    let lease = session.ask(0, &open)?;
    lease.map_err(|failure| anyhow::anyhow!("the open: {failure}"))?;
    let start = Instant::now();
    while start.elapsed() < LONGEST && !Path::new(STOP).exists() {
        session.pump(&mut refuse)?;
    }
    println!("heard {:?}", session.heard);
    Ok(())
}
