// SPDX-License-Identifier: GPL-2.0

//! Attaching with a key: each host proves to the other that it has the key, without showing it.
//!
//! After the versions are agreed, each host *asks* the other, so that there are two exchanges of two requests:
//!
//! ```text
//! asker                                    answerer
//! Attach { nonce }              ------>
//!                               <------    AttachReply { nonce, proof }
//! Prove { proof }               ------>
//!                               <------    Ok
//! ```
//!
//! A proof is the HMAC-SHA256, under the key, of a [`Transcript`]. That names who proves, the generations of both hosts
//! (so it is worth nothing in another session, and nothing when sent back: the two differ, and so who asks is told from
//! who answers), what was agreed, and a fresh nonce of each. There is one try in a session, and what goes wrong ends it:
//! there is no way to go on without.
//!
//! The MAC itself is the caller's: the kernel has it in its own library.

use core::{
    fmt,
    hint::black_box, //
};
use zerocopy::{
    byteorder::little_endian::{
        U16,
        U32, //
    },
    IntoBytes, //
};
use zerocopy_derive::{
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use crate::{
    message::{
        Attach,
        AttachReply,
        Prove, //
    },
    version::Features, //
};

/// Random bytes, used once.
pub type Nonce = [u8; 32];

/// An HMAC-SHA256.
pub type Proof = [u8; 32];

/// What proofs of this kind begin with, so that one of another protocol with the same key is none.
const DOMAIN: [u8; 16] = *b"devlend attach 1";

/// Who proves with a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Prover {
    Asker = 1,
    Answerer = 2,
}

/// What was agreed on before the attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The protocol version.
    pub version: u16,
    /// What both hosts have.
    pub features: Features,
}

/// What a proof is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Transcript {
    domain: [u8; 16],
    prover: u8,
    version: U16,
    features: U32,
    asker: U32,
    answerer: U32,
    asker_nonce: Nonce,
    answerer_nonce: Nonce,
}

impl Transcript {
    /// Of an exchange between two hosts, by their generations and nonces.
    fn new(
        terms: Terms,
        (asker, asker_nonce): (u32, Nonce),
        (answerer, answerer_nonce): (u32, Nonce),
    ) -> Result<Self, AttachRefusal> {
        if asker == answerer || asker_nonce == answerer_nonce {
            return Err(AttachRefusal::Reflected);
        }
        Ok(Self {
            domain: DOMAIN,
            prover: 0,
            version: terms.version.into(),
            features: terms.features.bits().into(),
            asker: asker.into(),
            answerer: answerer.into(),
            asker_nonce,
            answerer_nonce,
        })
    }

    fn by(self, prover: Prover) -> Self {
        Self {
            // CAST: the enum is `repr(u8)`.
            prover: prover as u8,
            ..self
        }
    }
}

/// Whether two proofs are the same. The time it takes tells nothing about them.
pub fn equal(one: &Proof, other: &Proof) -> bool {
    let different = one.iter().zip(other).fold(0, |different, (one, other)| {
        black_box(different | (one ^ other))
    });
    black_box(different) == 0
}

/// Why there is no session although the hosts understand each other. [`AttachRefusal::as_str`] is what people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachRefusal {
    /// The peer has a key, this host has none.
    NoneHere,
    /// This host has a key, the peer none, or none it may use.
    NoneThere,
    /// This host has a key, the peer does not know what that is.
    TooOld,
    /// The peer's proof is none: it has another key.
    Differs,
    /// The peer has this host's own generation or nonce: it sends back what it was sent.
    Reflected,
    /// The peer does not keep to the order of the requests.
    Order,
    /// This host's key was revoked, or taken out of all keyrings by force.
    Revoked,
    /// This host's key has expired.
    Expired,
    /// This host's key cannot be used for another reason.
    Unusable,
}

impl AttachRefusal {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::NoneHere,
        Self::NoneThere,
        Self::TooOld,
        Self::Differs,
        Self::Reflected,
        Self::Order,
        Self::Revoked,
        Self::Expired,
        Self::Unusable,
    ];

    /// A line for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoneHere => "the peer has a key, this host has none",
            Self::NoneThere => "this host has a key, the peer has none that it may use",
            Self::TooOld => "this host has a key, the peer's devlend is too old to know keys",
            Self::Differs => "the peer has another key",
            Self::Reflected => "the peer sends back what it was sent",
            Self::Order => "the peer's requests are out of order",
            Self::Revoked => "this host's key was revoked",
            Self::Expired => "this host's key has expired",
            Self::Unusable => "this host's key cannot be used",
        }
    }

    /// A number below 9 that no other has.
    pub const fn index(self) -> u32 {
        // CAST: a handful of variants.
        self as u32
    }
}

impl fmt::Display for AttachRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which request the peer has answered with [`Status::Denied`](crate::Status::Denied).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`Version`](crate::Version).
    Version,
    /// [`Attach`].
    Attach,
    /// [`Prove`].
    Prove,
}

/// How far the peer has come as the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// It has said nothing.
    New,
    /// It has told its version.
    Agreed(Terms),
    /// It was given a nonce, and now has to prove this.
    Challenged(Transcript),
    /// It is to be served.
    Welcome,
    /// It has had its try.
    Refused(AttachRefusal),
}

/// The attach of one session, as one host sees it: what the peer has proven, and what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    ours: u32,
    theirs: u32,
    keyed: bool,
    asker: Asker,
    /// The peer has proven itself, as the asker or the answerer.
    proven: bool,
    refusal: Option<AttachRefusal>,
}

impl Attachment {
    /// At the beginning of a session between these generations; `keyed`: this host has a key for the link.
    pub const fn new(ours: u32, theirs: u32, keyed: bool) -> Self {
        Self {
            ours,
            theirs,
            keyed,
            asker: Asker::New,
            proven: false,
            refusal: None,
        }
    }

    /// Whether this host has a key.
    pub const fn keyed(&self) -> bool {
        self.keyed
    }

    /// Why there is no session; the first reason there was.
    pub const fn refusal(&self) -> Option<AttachRefusal> {
        self.refusal
    }

    /// Whether the peer's requests other than those of the attach are answered.
    pub fn is_welcome(&self) -> bool {
        self.refusal.is_none() && self.asker == Asker::Welcome
    }

    /// Whether the peer is who it has to be: whether its events are believed, and whether it is told anything.
    pub const fn is_proven(&self) -> bool {
        self.refusal.is_none() && self.proven
    }

    /// There is no session with the peer; returns the first reason there was.
    pub fn refuse(&mut self, refusal: AttachRefusal) -> AttachRefusal {
        *self.refusal.get_or_insert(refusal)
    }

    fn unless_refused(&self) -> Result<(), AttachRefusal> {
        self.refusal.map_or(Ok(()), Err)
    }

    /// The peer has denied a request of ours.
    pub fn denied(&mut self, step: Step) -> AttachRefusal {
        self.refuse(match step {
            _ if !self.keyed => AttachRefusal::NoneHere,
            Step::Version | Step::Attach => AttachRefusal::NoneThere,
            Step::Prove => AttachRefusal::Differs,
        })
    }

    /// Whether there can be a session with a peer of these features, whatever version it was agreed on.
    fn suits(&self, theirs: Features) -> Result<(), AttachRefusal> {
        match (self.keyed, theirs.contains(Features::KEYED)) {
            (true, true) | (false, false) => Ok(()),
            (false, true) => Err(AttachRefusal::NoneHere),
            (true, false) if theirs.contains(Features::KEYS) => Err(AttachRefusal::NoneThere),
            (true, false) => Err(AttachRefusal::TooOld),
        }
    }

    /// What the peer has come to as the asker; a refusal is the last it comes to.
    ///
    /// That our own question was refused is another matter: the peer is to find out by itself why.
    fn come_to<R>(
        &mut self,
        step: impl FnOnce(&mut Self, Asker) -> Result<(Asker, R), AttachRefusal>,
    ) -> Result<R, AttachRefusal> {
        if let Asker::Refused(refusal) = self.asker {
            return Err(refusal);
        }
        let (asker, result) = match step(self, self.asker) {
            Ok((asker, result)) => (asker, Ok(result)),
            Err(refusal) => (Asker::Refused(refusal), Err(self.refuse(refusal))),
        };
        self.asker = asker;
        result
    }

    /// The peer asks for a version: it has `theirs`, and this is what was agreed. A peer without a key, that needs none, is
    /// then welcome.
    ///
    /// # Errors
    ///
    /// [`AttachRefusal`]: to be denied.
    pub fn agree(&mut self, terms: Terms, theirs: Features) -> Result<(), AttachRefusal> {
        self.come_to(|this, asker| {
            this.suits(theirs)?;
            let asker = match (this.keyed, asker) {
                (false, _) => {
                    this.unless_refused()?;
                    this.proven = true;
                    Asker::Welcome
                }
                (true, Asker::New) => Asker::Agreed(terms),
                (true, _) => return Err(AttachRefusal::Order),
            };
            Ok((asker, ()))
        })
    }

    /// The peer asks for a proof: gives it, with our `nonce`, which is fresh.
    ///
    /// # Errors
    ///
    /// [`AttachRefusal`]: to be denied. Those of `mac` are about our own key.
    pub fn challenge(
        &mut self,
        asked: &Attach,
        nonce: Nonce,
        mac: impl Fn(&[u8]) -> Result<Proof, AttachRefusal>,
    ) -> Result<AttachReply, AttachRefusal> {
        self.come_to(|this, asker| {
            if !this.keyed {
                return Err(AttachRefusal::NoneHere);
            }
            let Asker::Agreed(terms) = asker else {
                return Err(AttachRefusal::Order);
            };
            let (asker, answerer) = ((this.theirs, asked.nonce), (this.ours, nonce));
            let transcript = Transcript::new(terms, asker, answerer)?;
            let proof = mac(transcript.by(Prover::Answerer).as_bytes())?;
            let asker = Asker::Challenged(transcript.by(Prover::Asker));
            Ok((asker, AttachReply { nonce, proof }))
        })
    }

    /// The peer proves itself; it is welcome afterwards.
    ///
    /// # Errors
    ///
    /// [`AttachRefusal`]: to be denied.
    pub fn check(
        &mut self,
        proven: &Prove,
        mac: impl Fn(&[u8]) -> Result<Proof, AttachRefusal>,
    ) -> Result<(), AttachRefusal> {
        self.come_to(|this, asker| {
            let Asker::Challenged(transcript) = asker else {
                return Err(AttachRefusal::Order);
            };
            if !equal(&proven.proof, &mac(transcript.as_bytes())?) {
                return Err(AttachRefusal::Differs);
            }
            this.unless_refused()?;
            this.proven = true;
            Ok((Asker::Welcome, ()))
        })
    }

    /// The peer has answered our request for a version: it has `theirs` in common with us. True: it is to be asked for a
    /// proof.
    ///
    /// # Errors
    ///
    /// [`AttachRefusal`].
    pub fn answered(&mut self, theirs: Features) -> Result<bool, AttachRefusal> {
        self.unless_refused()?;
        self.suits(theirs).map_err(|refusal| self.refuse(refusal))?;
        self.proven |= !self.keyed;
        Ok(self.keyed)
    }

    /// The peer has answered our request for a proof, which had `nonce`: checks it, and returns ours.
    ///
    /// # Errors
    ///
    /// [`AttachRefusal`]. Those of `mac` are about our own key.
    pub fn prove(
        &mut self,
        terms: Terms,
        nonce: Nonce,
        answer: &AttachReply,
        mac: impl Fn(&[u8]) -> Result<Proof, AttachRefusal>,
    ) -> Result<Prove, AttachRefusal> {
        self.unless_refused()?;
        let (asker, answerer) = ((self.ours, nonce), (self.theirs, answer.nonce));
        let proof = Transcript::new(terms, asker, answerer).and_then(|transcript| {
            let expected = mac(transcript.by(Prover::Answerer).as_bytes())?;
            if !equal(&answer.proof, &expected) {
                return Err(AttachRefusal::Differs);
            }
            mac(transcript.by(Prover::Asker).as_bytes())
        });
        let proof = proof.map_err(|refusal| self.refuse(refusal))?;
        self.proven = true;
        Ok(Prove { proof })
    }
}

#[cfg(test)]
mod tests;
