// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::ring::CONTROL_SIZE;
use proptest::prelude::*;

const GOOD: Announcement = Announcement {
    version_min: 1,
    version_max: 3,
    memory_window: 2,
    control: 0x1_2345_6000,
    generation: 0xdead_beef,
    seen: 0xcafe,
    ready: true,
    memory_base: 0x1_0000_0000,
};

#[test]
fn the_words_are_pinned() {
    let words = GOOD.to_words();
    assert_eq!(
        words,
        [
            0x444e_4c44,
            0x0102_0301,
            0xdead_beef,
            0x2345_6000,
            1,
            0,
            1,
            0xcafe
        ]
    );
    assert_eq!(MAGIC.to_le_bytes(), *b"DLND");
    assert_eq!(Announcement::from_words(&words), Ok(Some(GOOD)));
}

#[test]
fn without_magic_there_is_nobody() {
    for magic in [0, 1, MAGIC + 1, MAGIC.swap_bytes(), u32::MAX] {
        // Not even looked at: a cleared or dead NTB reads like that.
        let mut words = [u32::MAX; SCRATCHPADS];
        words[0] = magic;
        assert_eq!(Announcement::from_words(&words), Ok(None));
    }
}

#[test]
fn each_field_is_checked() {
    use AnnouncementError as Error;
    type Change = fn(&mut Announcement);
    let table: [(Change, Error); 8] = [
        (|a| a.version_min = 0, Error::Versions { min: 0, max: 3 }),
        (|a| a.version_min = 4, Error::Versions { min: 4, max: 3 }),
        (|a| a.generation = 0, Error::Generation),
        (|a| a.control = 0, Error::Control(0)),
        (|a| a.control += 1, Error::Control(GOOD.control + 1)),
        (|a| a.control += 2048, Error::Control(GOOD.control + 2048)),
        (
            |a| a.memory_base += 8,
            Error::MemoryBase(GOOD.memory_base + 8),
        ),
        (
            |a| a.memory_base = a.control + 4096,
            Error::Outside {
                control: GOOD.control,
                memory_base: GOOD.control + 4096,
            },
        ),
    ];
    for (change, error) in table {
        let mut announcement = GOOD;
        change(&mut announcement);
        assert_eq!(
            Announcement::from_words(&announcement.to_words()),
            Err(error)
        );
        assert!(!error.to_string().is_empty());
    }

    for flag in 1..8 {
        let mut words = GOOD.to_words();
        words[1] |= 0x0100_0000 << flag;
        assert_eq!(
            Announcement::from_words(&words),
            Err(Error::Reserved(1 | 1 << flag))
        );
    }
}

#[test]
fn the_control_block_has_to_be_in_the_window() {
    let offset = 0x2345_6000;
    let size = offset + CONTROL_SIZE as u64;
    assert_eq!(GOOD.control_offset(size), Some(offset));
    assert_eq!(GOOD.control_offset(u64::MAX), Some(offset));
    assert_eq!(GOOD.control_offset(size - 1), None);
    assert_eq!(GOOD.control_offset(0), None);

    let last = Announcement {
        control: u64::MAX - 4095,
        memory_base: 0,
        ..GOOD
    };
    assert_eq!(last.control_offset(u64::MAX), None, "it ends beyond 2^64");
}

proptest! {
    #[test]
    fn round_trip(
        version_min in 1u8..,
        more: u8,
        memory_window: u8,
        control in 1u64..1 << 52,
        below: u64,
        generation in 1u32..,
        seen: u32,
        ready: bool,
    ) {
        let announcement = Announcement {
            version_min,
            version_max: version_min.saturating_add(more),
            memory_window,
            control: control * ALIGN,
            generation,
            seen,
            ready,
            memory_base: below % (control + 1) * ALIGN,
        };
        prop_assert_eq!(Announcement::from_words(&announcement.to_words()), Ok(Some(announcement)));
    }

    #[test]
    fn what_is_believed_says_the_same_again(mut words: [u32; SCRATCHPADS], magic: bool) {
        if magic {
            words[0] = MAGIC;
        }
        if let Ok(Some(announcement)) = Announcement::from_words(&words) {
            prop_assert_eq!(announcement.to_words(), words);
            prop_assert!(announcement.control >= announcement.memory_base);
            announcement.control_offset(u64::MAX);
        }
    }
}
