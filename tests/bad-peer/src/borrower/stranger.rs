// SPDX-License-Identifier: GPL-2.0

//! A borrower without the key that the lender wants.

use anyhow::{Context, Result};
use devlend_protocol::{Address, Attach, AttachReply, Failure, Prove, Status};

use super::early;
use crate::session::Session;

/// Tries to be served without the key; the lender has one. Each try is a session of its own: there is one in each.
pub fn run(session: &mut Session, device: Address, mut rng: fastrand::Rng) -> Result<()> {
    let mut nonce = || {
        let mut nonce = [0; 32];
        rng.fill(&mut nonce);
        nonce
    };

    session.open()?;
    denied(session, &session.version(), "a version without a key")?;
    locked_out(session, device)?;

    session.keyed = true;
    let ask = Attach { nonce: nonce() };
    again(session)?;
    denied(session, &ask, "a proof asked for before a version")?;
    locked_out(session, device)?;

    again(session)?;
    session.agree()?;
    early::all(session, device).context("with no proof")?;
    denied(session, &Prove { proof: nonce() }, "a proof of nothing")?;
    locked_out(session, device)?;

    again(session)?;
    session.agree()?;
    session
        .agree()
        .err()
        .context("a second version is agreed")?;
    locked_out(session, device)?;

    // Given the lender's own proof, and one that is random.
    for own in [true, false] {
        again(session)?;
        let told = challenge(session, &ask)?;
        early::all(session, device).context("challenged")?;
        let proof = if own { told.proof } else { nonce() };
        denied(session, &Prove { proof }, "a proof that is none")?;
        locked_out(session, device)?;
    }

    // An answer is worth nothing in the session after.
    again(session)?;
    let before = challenge(session, &ask)?;
    again(session)?;
    let now = challenge(session, &ask)?;
    anyhow::ensure!(
        before.nonce != now.nonce && before.proof != now.proof,
        "the same challenge twice"
    );
    denied(
        session,
        &Prove {
            proof: before.proof,
        },
        "an old proof",
    )?;
    locked_out(session, device)
}

/// A session anew.
fn again(session: &mut Session) -> Result<()> {
    session.restart()?;
    session.open()
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
