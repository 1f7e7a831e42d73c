// SPDX-License-Identifier: GPL-2.0

//! A borrower without the key that the lender wants.

use anyhow::{ensure, Context, Result};
use devlend_protocol::{Address, Attach, AttachReply, Failure, Prove, Status};

use super::early;
use crate::session::{Dialect, Session};

const ATTEMPTS: u32 = 5;

/// Tries to be served without the key; the lender has one. Each try is a session of its own: there is one in each.
pub fn run(session: &mut Session, device: Address, mut rng: fastrand::Rng) -> Result<()> {
    let mut nonce = [0; 32];
    rng.fill(&mut nonce);
    let ask = Attach { nonce };
    let random = Prove { proof: nonce };

    attempt(session, |session| {
        denied(session, &session.version(), "a version without a key")?;
        locked_out(session, device)
    })?;
    session.dialect = Dialect::today(true);
    attempt(session, |session| {
        denied(session, &ask, "a proof asked for before a version")?;
        locked_out(session, device)
    })?;
    attempt(session, |session| {
        session.agree()?;
        early::all(session, device).context("with no proof")?;
        denied(session, &random, "a proof of nothing")?;
        locked_out(session, device)
    })?;
    attempt(session, |session| {
        session.agree()?;
        denied(session, &session.version(), "a second version")?;
        locked_out(session, device)
    })?;
    attempt(session, |session| {
        challenge(session, &ask)?;
        early::all(session, device).context("challenged")?;
        denied(session, &random, "a proof that is none")?;
        locked_out(session, device)
    })?;
    let mut before = None;
    for _ in 0..2 {
        let told = attempt(session, |session| {
            let told = challenge(session, &ask)?;
            let proof = told.proof;
            denied(session, &Prove { proof }, "the lender's own proof")?;
            locked_out(session, device)?;
            Ok(told)
        })?;
        let told = (told.nonce, told.proof);
        ensure!(before != Some(told), "the same challenge twice");
        before = Some(told);
    }
    Ok(())
}

/// Does something in a session of its own; again if that was too short: the lender, which waits for our proof, ends it after five
/// seconds.
fn attempt<T>(session: &mut Session, mut act: impl FnMut(&mut Session) -> Result<T>) -> Result<T> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        session.restart()?;
        session.open()?;
        match act(session) {
            Err(_) if left > 0 && session.their_words()?.is_some() && !session.is_alive()? => {}
            result => return result,
        }
    }
}

/// Agrees on the version, and has the lender prove itself.
fn challenge(session: &mut Session, ask: &Attach) -> Result<AttachReply> {
    session.agree()?;
    session
        .ask(0, ask)?
        .map_err(|failure: Failure| anyhow::anyhow!("no challenge: {failure}"))
}

fn denied<R: devlend_protocol::Request>(
    session: &mut Session,
    request: &R,
    what: &str,
) -> Result<()> {
    session.refused(0, request, Status::Denied, what)
}

/// After one thing wrong everything is.
fn locked_out(session: &mut Session, device: Address) -> Result<()> {
    early::all(session, device).context("locked out")?;
    denied(session, &session.version(), "another version")?;
    denied(session, &Attach::default(), "another challenge")?;
    denied(session, &Prove::default(), "another proof")
}
