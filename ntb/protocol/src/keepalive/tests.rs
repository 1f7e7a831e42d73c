// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

fn settings(interval: u64, timeout: u64) -> Settings {
    Settings::new(interval, timeout).unwrap()
}

#[test]
fn ranges() {
    for (interval, timeout, good) in [
        (0, 500, true),
        (1, 10_000, false),
        (9, 10_000, false),
        (10, 10_000, true),
        (60_000, 600_000, true),
        (60_001, 10_000, false),
        (1000, 499, false),
        (1000, 600_001, false),
        (1 << 32, 10_000, false),
        (1000, 1 << 40, false),
        (u64::MAX, u64::MAX, false),
    ] {
        assert_eq!(
            Settings::new(interval, timeout).is_some(),
            good,
            "{interval} {timeout}"
        );
    }
    assert_eq!(Settings::default(), settings(1000, 10_000));
}

#[test]
fn the_word_is_pinned() {
    let beat = Beat {
        count: 0x0102,
        interval: 0x0304,
    };
    assert_eq!(u32::from(beat), 0x0304_0102);
    assert_eq!(Beat::from(0x0304_0102), beat);
    assert_eq!(KEEPALIVE, 128);
}

#[test]
fn the_first_beat_goes_at_once_and_a_change_is_told() {
    let mut side = Keepalive::new();
    let send = |side: &mut Keepalive, interval| {
        let round = side.look(settings(interval, 10_000), 10, 0);
        round.send.map(|beat| (beat.count, beat.interval))
    };
    assert_eq!(send(&mut side, 1000), Some((1, 1000)));
    assert_eq!(send(&mut side, 1000), None);
    assert_eq!(send(&mut side, 0), Some((2, 0)));
    assert_eq!(send(&mut side, 0), None);
    assert_eq!(send(&mut side, 60_000), Some((3, 60_000)));
}

/// Whenever it is turned off: 0 is what the peer finds when nothing was said yet.
#[test]
fn that_it_is_off_is_never_said_with_the_word_0() {
    for beats in 0..=u32::from(u16::MAX) + 1 {
        let sent = Beat {
            count: beats as u16,
            interval: 10,
        };
        let mut side = Keepalive {
            sent: Some(sent),
            ..Keepalive::new()
        };
        let round = side.look(settings(0, 10_000), 10, 0);
        assert_ne!(round.send.map(u32::from), Some(0), "after {beats} beats");
    }
}

#[test]
fn a_peer_that_never_beats_is_over_after_the_timeout() {
    let mut side = Keepalive::new();
    for _ in 0..9 {
        assert!(!side.look(Settings::default(), 1000, 0).over);
    }
    assert!(side.look(Settings::default(), 1000, 0).over);
    assert_eq!(side.silence(), 10_000);
}

#[test]
fn a_peer_that_is_off_is_never_over() {
    let mut side = Keepalive::new();
    let off = u32::from(Beat {
        count: 1,
        interval: 0,
    });
    for _ in 0..1000 {
        assert_eq!(side.look(Settings::default(), 1000, off).missed, 0);
        assert!(!side.look(Settings::default(), 1000, off).over);
    }
}

#[test]
fn time_in_which_this_host_slept_does_not_count() {
    let mut side = Keepalive::new();
    let word = 1000 << 16 | 1;
    side.look(Settings::default(), 0, word);
    assert!(!side.look(Settings::default(), 3_600_000, word).over);
    assert_eq!(side.silence(), 2000);
}

#[test]
fn counts_wrap() {
    let mut side = Keepalive {
        sent: Some(Beat {
            count: u16::MAX,
            interval: 1000,
        }),
        ..Keepalive::new()
    };
    let round = side.look(Settings::default(), 1000, 0);
    assert_eq!(round.send.map(|beat| beat.count), Some(1));
}

/// A host in a simulation: when it looks next, and what its peer wrote.
struct Host {
    settings: Settings,
    side: Keepalive,
    looked: u32,
    next: u32,
    word: u32,
}

impl Host {
    fn new(settings: Settings, start: u32) -> Self {
        Self {
            settings,
            side: Keepalive::new(),
            looked: start,
            next: start,
            word: 0,
        }
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (
        prop_oneof![Just(0u64), 10u64..=3000],
        prop_oneof![500u64..=3000, 500u64..=20_000],
    )
        .prop_map(|(interval, timeout)| settings(interval, timeout))
}

proptest! {
    /// However the two are set, and though each look is up to a quarter late: as long as both look, none is given up.
    #[test]
    fn the_living_are_not_given_up(
        ours in any_settings(), theirs in any_settings(),
        lags in prop::collection::vec(0u32..=25, 1..40),
    ) {
        let mut hosts = [Host::new(ours, 0), Host::new(theirs, 7)];
        let mut lags = lags.iter().cycle();
        for now in 0..60_000 {
            for index in 0..2 {
                let host = &mut hosts[index];
                if now < host.next {
                    continue;
                }
                let round = host.side.look(host.settings, now - host.looked, host.word);
                host.looked = now;
                let every = host.settings.look_every();
                host.next = now + every + every * lags.next().unwrap() / 100;
                prop_assert!(!round.over, "host {index} at {now}");
                if let Some(beat) = round.send {
                    hosts[1 - index].word = beat.into();
                }
            }
        }
    }

    /// A peer that stops is given up: not before the time-out, and not much later than it or three of its beats.
    #[test]
    fn the_dead_are_given_up_in_time(ours in any_settings(), interval in 10u16..=5000, count: u16) {
        let mut side = Keepalive::new();
        let word = Beat { count, interval }.into();
        side.look(ours, 0, word);
        let every = ours.look_every();
        let limit = ours.timeout().max(3 * u32::from(interval));
        let (mut at, mut missed) = (0, 0);
        loop {
            at += every;
            let round = side.look(ours, every, word);
            missed += round.missed;
            if round.over {
                break;
            }
            prop_assert!(at < limit);
        }
        prop_assert!(at >= limit && at < limit + every);
        prop_assert!(missed >= 2);
        // The next beat makes up for everything.
        let round = side.look(ours, every, word.wrapping_add(1));
        prop_assert!(!round.over && round.missed == 0 && side.silence() == 0);
    }

    #[test]
    fn any_word_at_any_time_is_no_trouble(
        ours in any_settings(), looks in prop::collection::vec((any::<u32>(), any::<u32>()), 0..50),
    ) {
        let mut side = Keepalive::new();
        for (elapsed, word) in looks {
            side.look(ours, elapsed, word);
        }
    }
}
