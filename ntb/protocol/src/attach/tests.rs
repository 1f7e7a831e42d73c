// SPDX-License-Identifier: GPL-2.0

use super::*;
use hmac::{
    Hmac,
    Mac, //
};
use proptest::prelude::*;
use sha2::Sha256;

const KEY: &[u8] = b"0123456789abcdef";
const OTHER: &[u8] = b"0123456789abcdeg";
const A: u32 = 0xaaaa;
const B: u32 = 0xbbbb;

fn terms() -> Terms {
    Terms {
        version: 1,
        features: Features::ours(true),
    }
}

fn with(key: &[u8]) -> impl Fn(&[u8]) -> Result<Proof, AttachRefusal> + '_ {
    move |message| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message);
        Ok(mac.finalize().into_bytes().into())
    }
}

/// What one host asks of another: all of an exchange that works.
fn ask(
    asker: &mut Attachment,
    answerer: &mut Attachment,
    keys: (&[u8], &[u8]),
    nonces: (Nonce, Nonce),
) -> Result<(), AttachRefusal> {
    answerer.agree(terms(), Features::ours(asker.keyed()))?;
    let theirs = Features::ours(asker.keyed()).intersection(Features::ours(answerer.keyed()));
    if !asker.answered(theirs)? {
        return Ok(());
    }
    let attach = Attach { nonce: nonces.0 };
    let answer = answerer.challenge(&attach, nonces.1, with(keys.1))?;
    let proof = asker.prove(terms(), nonces.0, &answer, with(keys.0))?;
    answerer.check(&proof, with(keys.1))
}

fn pair() -> (Attachment, Attachment) {
    (Attachment::new(A, B, true), Attachment::new(B, A, true))
}

#[test]
fn the_transcript_is_pinned() {
    let transcript = Transcript {
        domain: DOMAIN,
        prover: Prover::Answerer as u8,
        version: 0x0102.into(),
        features: 0x0304_0506.into(),
        asker: 0x0708_090a.into(),
        answerer: 0x0b0c_0d0e.into(),
        asker_nonce: [0x55; 32],
        answerer_nonce: [0x66; 32],
    };
    let mut expected = b"devlend attach 1\x02".to_vec();
    expected.extend([2, 1, 6, 5, 4, 3, 10, 9, 8, 7, 14, 13, 12, 11]);
    expected.extend([0x55; 32]);
    expected.extend([0x66; 32]);
    assert_eq!(transcript.as_bytes(), expected);
    assert_eq!((Prover::Asker as u8, Prover::Answerer as u8), (1, 2));
}

/// The same as the kernel's: RFC 4231, test case 2.
#[test]
fn the_mac_of_these_tests_is_the_right_one() {
    let proof = with(b"Jefe")(b"what do ya want for nothing?").unwrap();
    assert_eq!(proof[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    assert_eq!(proof[28..], [0x64, 0xec, 0x38, 0x43]);
}

#[test]
fn proofs_are_equal_if_every_bit_is() {
    let proof = [0x5a; 32];
    assert!(equal(&proof, &proof));
    for bit in 0..256 {
        let mut other = proof;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!equal(&proof, &other), "bit {bit}");
    }
}

#[test]
fn the_same_key_on_both_sides_attaches_both_ways() {
    let (mut a, mut b) = pair();
    for host in [&a, &b] {
        assert!(!host.is_welcome() && !host.is_proven());
    }
    ask(&mut a, &mut b, (KEY, KEY), ([1; 32], [2; 32])).unwrap();
    assert!(a.is_proven() && !a.is_welcome());
    assert!(b.is_proven() && b.is_welcome());
    ask(&mut b, &mut a, (KEY, KEY), ([3; 32], [4; 32])).unwrap();
    assert!(a.is_proven() && a.is_welcome());
    assert_eq!((a.refusal(), b.refusal()), (None, None));
}

#[test]
fn without_keys_the_version_is_enough() {
    let (mut a, mut b) = (Attachment::new(A, B, false), Attachment::new(B, A, false));
    ask(&mut a, &mut b, (&[], &[]), ([0; 32], [0; 32])).unwrap();
    assert!(a.is_proven() && !a.is_welcome());
    assert!(b.is_proven() && b.is_welcome());
    // A peer that has not seen the session end may ask again.
    b.agree(terms(), Features::ours(false)).unwrap();
}

#[test]
fn another_key_is_refused_by_both() {
    let (mut a, mut b) = pair();
    let asked = ask(&mut a, &mut b, (KEY, OTHER), ([1; 32], [2; 32]));
    assert_eq!(
        (asked, a.refusal()),
        (Err(AttachRefusal::Differs), Some(AttachRefusal::Differs))
    );
    assert!(!a.is_proven() && !b.is_welcome() && !b.is_proven());
    // One that does not care what it is answered.
    let proof = Prove { proof: [0; 32] };
    assert_eq!(b.check(&proof, with(OTHER)), Err(AttachRefusal::Differs));
    assert!(!b.is_welcome());
    // There is no second try, even with the right one.
    let attach = Attach { nonce: [5; 32] };
    assert_eq!(
        b.challenge(&attach, [6; 32], with(KEY)),
        Err(AttachRefusal::Differs)
    );
    assert_eq!(b.check(&proof, with(KEY)), Err(AttachRefusal::Differs));
    assert_eq!(
        b.agree(terms(), Features::ours(true)),
        Err(AttachRefusal::Differs)
    );
}

#[test]
fn a_key_on_one_side_only_is_refused_and_named() {
    let old = Features::KEEPALIVE | Features::TAKE_BACK;
    for (keyed, theirs, expected) in [
        (true, Features::ours(false), Err(AttachRefusal::NoneThere)),
        (true, old, Err(AttachRefusal::TooOld)),
        (true, Features::empty(), Err(AttachRefusal::TooOld)),
        (true, Features::ours(true), Ok(true)),
        (false, Features::ours(true), Err(AttachRefusal::NoneHere)),
        (false, Features::ours(false), Ok(false)),
        (false, old, Ok(false)),
    ] {
        let mut host = Attachment::new(A, B, keyed);
        assert_eq!(host.answered(theirs), expected, "{keyed} {theirs:?}");
        let mut host = Attachment::new(A, B, keyed);
        let agreed = host.agree(terms(), theirs);
        assert_eq!(agreed, expected.map(drop), "{keyed} {theirs:?}");
        assert_eq!(host.is_welcome(), expected == Ok(false));
    }
}

#[test]
fn a_denial_is_named_by_what_it_answers() {
    for (keyed, step, expected) in [
        (false, Step::Version, AttachRefusal::NoneHere),
        (false, Step::Prove, AttachRefusal::NoneHere),
        (true, Step::Version, AttachRefusal::NoneThere),
        (true, Step::Attach, AttachRefusal::NoneThere),
        (true, Step::Prove, AttachRefusal::Differs),
    ] {
        let mut host = Attachment::new(A, B, keyed);
        assert_eq!(host.denied(step), expected);
        // The first reason stays.
        assert_eq!(host.refuse(AttachRefusal::Order), expected);
        assert!(!host.is_proven());
    }
}

#[test]
fn a_host_without_a_key_answers_no_challenge() {
    let mut host = Attachment::new(A, B, false);
    host.agree(terms(), Features::ours(false)).unwrap();
    let attach = Attach { nonce: [1; 32] };
    let answer = host.challenge(&attach, [2; 32], |_| unreachable!());
    assert_eq!(answer, Err(AttachRefusal::NoneHere));
    assert!(!host.is_welcome());
}

/// A host that was quicker to find out must not make the other one believe that it has no key.
#[test]
fn both_find_out_that_the_keys_differ() {
    let (mut a, mut b) = pair();
    assert_eq!(
        ask(&mut a, &mut b, (KEY, OTHER), ([1; 32], [2; 32])),
        Err(AttachRefusal::Differs)
    );
    assert_eq!(
        ask(&mut b, &mut a, (OTHER, KEY), ([3; 32], [4; 32])),
        Err(AttachRefusal::Differs)
    );
    for host in [a, b] {
        assert_eq!(host.refusal(), Some(AttachRefusal::Differs));
        assert!(!host.is_proven() && !host.is_welcome());
    }
}

/// Whatever the peer can prove.
#[test]
fn who_was_refused_as_the_answerer_is_not_welcome_as_the_asker() {
    let (mut a, mut b) = pair();
    a.refuse(AttachRefusal::Differs);
    let asked = ask(&mut b, &mut a, (KEY, KEY), ([3; 32], [4; 32]));
    assert_eq!(asked, Err(AttachRefusal::Differs));
    assert!(!a.is_proven() && !a.is_welcome());
}

#[test]
fn requests_out_of_order_end_the_attach() {
    let attach = Attach { nonce: [1; 32] };
    let prove = Prove { proof: [0; 32] };
    let fresh = Attachment::new(A, B, true);

    let mut host = fresh;
    assert_eq!(
        host.challenge(&attach, [2; 32], with(KEY)),
        Err(AttachRefusal::Order)
    );
    let mut host = fresh;
    assert_eq!(host.check(&prove, with(KEY)), Err(AttachRefusal::Order));
    let mut host = fresh;
    host.agree(terms(), Features::ours(true)).unwrap();
    assert_eq!(host.check(&prove, with(KEY)), Err(AttachRefusal::Order));
    let mut host = fresh;
    host.agree(terms(), Features::ours(true)).unwrap();
    assert_eq!(
        host.agree(terms(), Features::ours(true)),
        Err(AttachRefusal::Order)
    );
    let mut host = fresh;
    host.agree(terms(), Features::ours(true)).unwrap();
    host.challenge(&attach, [2; 32], with(KEY)).unwrap();
    assert_eq!(
        host.challenge(&attach, [3; 32], with(KEY)),
        Err(AttachRefusal::Order)
    );
}

#[test]
fn what_becomes_of_our_own_key_is_named() {
    for refusal in [
        AttachRefusal::Revoked,
        AttachRefusal::Expired,
        AttachRefusal::Unusable,
    ] {
        let mut host = Attachment::new(A, B, true);
        host.agree(terms(), Features::ours(true)).unwrap();
        let attach = Attach { nonce: [1; 32] };
        let answer = host.challenge(&attach, [2; 32], |_| Err(refusal));
        assert_eq!((answer, host.refusal()), (Err(refusal), Some(refusal)));
    }
}

/// A peer without the key that asks the host it is asked by, in the same session, and sends back what it gets.
#[test]
fn nothing_that_is_sent_back_is_a_proof() {
    // With the generation it was given, too.
    for theirs in [A, B] {
        let mut host = Attachment::new(A, theirs, true);
        host.agree(terms(), Features::ours(true)).unwrap();
        let nonce = [1; 32];
        let expected = if theirs == A {
            AttachRefusal::Reflected
        } else {
            AttachRefusal::Differs
        };
        // The host has asked with a nonce; it is asked with the same.
        let answer = match host.challenge(&Attach { nonce }, [2; 32], with(KEY)) {
            Ok(answer) => answer,
            Err(refusal) => {
                assert_eq!(refusal, AttachRefusal::Reflected);
                continue;
            }
        };
        let proven = host.prove(terms(), nonce, &answer, with(KEY));
        assert_eq!(proven, Err(expected));
        assert!(!host.is_proven() && !host.is_welcome());

        // Its answer as the asker's proof.
        let mut host = Attachment::new(A, theirs, true);
        host.agree(terms(), Features::ours(true)).unwrap();
        let answer = host
            .challenge(&Attach { nonce }, [2; 32], with(KEY))
            .unwrap();
        let proof = Prove {
            proof: answer.proof,
        };
        assert_eq!(host.check(&proof, with(KEY)), Err(AttachRefusal::Differs));
    }
    // Its own nonce.
    let (mut a, mut b) = pair();
    let asked = ask(&mut a, &mut b, (KEY, KEY), ([1; 32], [1; 32]));
    assert_eq!(asked, Err(AttachRefusal::Reflected));
}

#[test]
fn texts_are_lines_and_indices_are_places() {
    for (index, refusal) in (0..).zip(AttachRefusal::ALL) {
        assert_eq!(refusal.index(), index);
        assert!(refusal
            .to_string()
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte)));
    }
}

/// What a hostile peer can send, in any order; nonces and generations are its to choose, the key it has not.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Version {
        keyed: bool,
    },
    Attach {
        nonce: u8,
    },
    /// One of the proofs it has seen, or rubbish.
    Prove {
        seen: usize,
    },
    /// What it answers the host's question with.
    Answer {
        nonce: u8,
        seen: usize,
    },
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        any::<bool>().prop_map(|keyed| Sent::Version { keyed }),
        (0..4u8).prop_map(|nonce| Sent::Attach { nonce }),
        (0..6usize).prop_map(|seen| Sent::Prove { seen }),
        (0..4u8, 0..6usize).prop_map(|(nonce, seen)| Sent::Answer { nonce, seen }),
    ]
}

proptest! {
    /// Whatever a peer without the key sends over several sessions, with all it has ever been sent, it is not let in.
    #[test]
    fn a_peer_without_the_key_is_never_let_in(
        sessions in prop::collection::vec((0..3u32, prop::collection::vec(sent(), 0..8)), 1..6),
    ) {
        let mut seen: Vec<Proof> = vec![[0; 32]];
        // The host's own nonces never come twice; the peer's may.
        let mut fresh = 0x1000_u32;
        let mut nonce = || {
            fresh += 1;
            let mut nonce = [0xee; 32];
            nonce[..4].copy_from_slice(&fresh.to_le_bytes());
            nonce
        };
        for (ours, (theirs, script)) in (1..).zip(sessions) {
            let mut host = Attachment::new(ours, theirs, true);
            let mut asked = nonce();
            for sent in script {
                let proof = |index: usize| seen.get(index % seen.len()).copied().unwrap();
                match sent {
                    Sent::Version { keyed } => drop(host.agree(terms(), Features::ours(keyed))),
                    Sent::Attach { nonce: theirs } => {
                        // 3: the one the host has just asked with.
                        let theirs = if theirs == 3 { asked } else { [theirs; 32] };
                        if let Ok(answer) = host.challenge(&Attach { nonce: theirs }, nonce(), with(KEY)) {
                            seen.push(answer.proof);
                        }
                    }
                    Sent::Prove { seen } => {
                        let _ = host.check(&Prove { proof: proof(seen) }, with(KEY));
                    }
                    Sent::Answer { nonce: theirs, seen: index } => {
                        let theirs = if theirs == 3 { asked } else { [theirs; 32] };
                        let answer = AttachReply { nonce: theirs, proof: proof(index) };
                        if let Ok(proof) = host.prove(terms(), asked, &answer, with(KEY)) {
                            seen.push(proof.proof);
                        }
                        asked = nonce();
                    }
                }
                prop_assert!(!host.is_welcome() && !host.is_proven());
            }
        }
    }

    /// The peer has the key, but what it was told is not what the host was told, or came to another one: it is refused.
    #[test]
    fn what_differs_is_refused(
        version in 1..3u16,
        features in prop_oneof![Just(Features::ours(true)), (0..32u32).prop_map(Features::from_bits_truncate)],
        generations in prop_oneof![3 => Just((A, B)), 1 => Just((B, A)), 1 => Just((A, 7)), 1 => Just((7, B))],
        asked in prop_oneof![Just([1; 32]), Just([9; 32])],
        answered in prop_oneof![Just([2; 32]), Just([8; 32])],
        flipped in prop_oneof![Just(None), (0..256usize).prop_map(Some)],
    ) {
        let flip = |mut proof: Proof| {
            if let Some(bit) = flipped {
                proof[bit / 8] ^= 1 << (bit % 8);
            }
            proof
        };
        let believed = Terms { version, features };
        let same = believed == terms() && generations == (A, B) && asked == [1; 32] && answered == [2; 32];
        let expected = same && flipped.is_none();

        // The answerer's proof, seen by such an asker.
        let (a, mut b) = pair();
        b.agree(terms(), Features::ours(true)).unwrap();
        let answer = b.challenge(&Attach { nonce: [1; 32] }, [2; 32], with(KEY)).unwrap();
        let changed = AttachReply { nonce: answered, proof: flip(answer.proof) };
        let mut asker = Attachment { ours: generations.0, theirs: generations.1, ..a };
        let proven = asker.prove(believed, asked, &changed, with(KEY));
        prop_assert_eq!((proven.is_ok(), asker.is_proven()), (expected, expected));

        // Such an asker's proof, seen by the answerer: it takes whatever it is answered for good.
        let transcript = Transcript::new(believed, (generations.0, asked), (generations.1, answered))
            .unwrap()
            .by(Prover::Asker);
        let proof = Prove { proof: flip(with(KEY)(transcript.as_bytes()).unwrap()) };
        prop_assert_eq!((b.check(&proof, with(KEY)).is_ok(), b.is_welcome()), (expected, expected));
    }
}
