// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

/// 2 GiB below 4 GiB and one above, 64 MiB of bounce buffers.
const BIG: DmaMemory = DmaMemory {
    ram_end: 5 * GIB,
    low_end: 2 * GIB,
    buffers: BounceBuffers::At(BUFFERS),
    always_bounces: false,
    translated: false,
};

const BUFFERS: Span = Span {
    base: 0x7000_0000,
    size: 64 << 20,
};

const NO_BUFFERS: DmaMemory = DmaMemory {
    buffers: BounceBuffers::None,
    ..BIG
};

const GROWING: DmaMemory = DmaMemory {
    buffers: BounceBuffers::Growing,
    ..BIG
};

const FORCED: DmaMemory = DmaMemory {
    always_bounces: true,
    ..BIG
};

const TRANSLATED: DmaMemory = DmaMemory {
    translated: true,
    ..BIG
};

/// Bounce buffers above what a window of 2 GiB shows, as those of a guest with encrypted memory may be.
const HIGH_BUFFERS: DmaMemory = DmaMemory {
    buffers: BounceBuffers::At(Span {
        base: 4 * GIB,
        ..BUFFERS
    }),
    ..BIG
};

fn mode(
    wanted: Option<DmaMode>,
    memory: &DmaMemory,
    shown: u64,
) -> Result<(DmaMode, u64, u64), DmaRefusal> {
    dma_plan(wanted, memory, shown).map(|plan| (plan.mode, plan.needed, plan.limit))
}

#[test]
fn the_best_mode_that_works() {
    let linear = Ok((DmaMode::Linear, 5 * GIB, u64::MAX));
    let bounce = Ok((DmaMode::Bounce, 2 * GIB, u64::MAX));
    for (memory, shown, expected) in [
        (BIG, 8 * GIB, linear),
        (BIG, 5 * GIB, linear),
        (BIG, 5 * GIB - 1, bounce),
        (BIG, 2 * GIB, bounce),
        (
            BIG,
            2 * GIB - 1,
            Err(DmaRefusal::Window {
                needed: 5 * GIB,
                bounced: Some(2 * GIB),
                shown: 2 * GIB - 1,
            }),
        ),
        (
            BIG,
            0,
            Err(DmaRefusal::Window {
                needed: 5 * GIB,
                bounced: Some(2 * GIB),
                shown: 0,
            }),
        ),
        (NO_BUFFERS, 5 * GIB, linear),
        (
            NO_BUFFERS,
            4 * GIB,
            Err(DmaRefusal::NoBuffers {
                needed: 5 * GIB,
                shown: 4 * GIB,
            }),
        ),
        (GROWING, 5 * GIB, linear),
        (
            GROWING,
            4 * GIB,
            Err(DmaRefusal::BuffersGrow {
                needed: 5 * GIB,
                shown: 4 * GIB,
            }),
        ),
        (
            HIGH_BUFFERS,
            2 * GIB,
            Err(DmaRefusal::BuffersOutside {
                buffers: Span {
                    base: 4 * GIB,
                    ..BUFFERS
                },
                shown: 2 * GIB,
            }),
        ),
        (
            HIGH_BUFFERS,
            4 * GIB + (64 << 20),
            Ok((DmaMode::Bounce, 4 * GIB + (64 << 20), u64::MAX)),
        ),
        (FORCED, 8 * GIB, bounce),
        (TRANSLATED, GIB, Ok((DmaMode::Iommu, GIB, GIB))),
        (TRANSLATED, 0, Err(DmaRefusal::TranslatedElsewhere)),
    ] {
        assert_eq!(mode(None, &memory, shown), expected, "{memory:?} {shown}");
    }
}

#[test]
fn the_mode_that_is_wanted() {
    for (wanted, memory, shown, expected) in [
        (
            DmaMode::Linear,
            BIG,
            5 * GIB,
            Ok((DmaMode::Linear, 5 * GIB, u64::MAX)),
        ),
        (
            DmaMode::Linear,
            BIG,
            4 * GIB,
            Err(DmaRefusal::Window {
                needed: 5 * GIB,
                bounced: None,
                shown: 4 * GIB,
            }),
        ),
        (
            DmaMode::Linear,
            FORCED,
            8 * GIB,
            Err(DmaRefusal::AlwaysBounces),
        ),
        (
            DmaMode::Bounce,
            BIG,
            8 * GIB,
            Ok((DmaMode::Bounce, 2 * GIB, 2 * GIB)),
        ),
        (
            DmaMode::Bounce,
            NO_BUFFERS,
            8 * GIB,
            Err(DmaRefusal::NoBuffers {
                needed: 5 * GIB,
                shown: 8 * GIB,
            }),
        ),
        (DmaMode::Iommu, BIG, 8 * GIB, Err(DmaRefusal::NotTranslated)),
        (
            DmaMode::Iommu,
            TRANSLATED,
            GIB,
            Ok((DmaMode::Iommu, GIB, GIB)),
        ),
        (
            DmaMode::Linear,
            TRANSLATED,
            8 * GIB,
            Err(DmaRefusal::Translated),
        ),
        (
            DmaMode::Bounce,
            TRANSLATED,
            8 * GIB,
            Err(DmaRefusal::Translated),
        ),
    ] {
        assert_eq!(
            mode(Some(wanted), &memory, shown),
            expected,
            "{wanted:?} {memory:?} {shown}"
        );
    }
}

#[test]
fn names() {
    for mode in [DmaMode::Linear, DmaMode::Bounce, DmaMode::Iommu] {
        assert_eq!(DmaMode::parse(mode.as_str().as_bytes()), Some(mode));
    }
    for name in ["", "Linear", "linear ", "swiotlb"] {
        assert_eq!(DmaMode::parse(name.as_bytes()), None, "{name:?}");
    }
}

#[test]
fn a_refusal_says_the_numbers() {
    for (memory, shown, numbers) in [
        (BIG, 100, vec!["5368709120", "2147483648", "100"]),
        (NO_BUFFERS, 4 * GIB, vec!["5368709120", "4294967296"]),
        (HIGH_BUFFERS, 2 * GIB, vec!["2147483648", "67108864"]),
    ] {
        let refusal = dma_plan(None, &memory, shown).unwrap_err().to_string();
        for number in numbers {
            assert!(refusal.contains(number), "{number} in {refusal}");
        }
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..8 * GIB,
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..4096_u64).prop_map(|less| u64::MAX - less),
    ]
}

fn buffers() -> impl Strategy<Value = BounceBuffers> {
    prop_oneof![
        Just(BounceBuffers::None),
        Just(BounceBuffers::Growing),
        (number(), number()).prop_map(|(base, size)| BounceBuffers::At(Span { base, size })),
    ]
}

fn wanted() -> impl Strategy<Value = Option<DmaMode>> {
    prop::option::of(prop_oneof![
        Just(DmaMode::Linear),
        Just(DmaMode::Bounce),
        Just(DmaMode::Iommu),
    ])
}

proptest! {
    /// Whatever the memory is like: what a driver may map, or what is copied through in its place, is in the window.
    #[test]
    fn nothing_is_out_of_reach(
        ram_end in number(), low in number(), buffers in buffers(), always_bounces: bool, translated: bool,
        wanted in wanted(), shown in number(),
    ) {
        let memory = DmaMemory {
            ram_end,
            low_end: low.min(ram_end).min(LOW_END),
            buffers,
            always_bounces,
            translated,
        };
        let Ok(plan) = dma_plan(wanted, &memory, shown) else {
            return Ok(());
        };
        prop_assert_eq!(translated, plan.mode == DmaMode::Iommu);
        prop_assert!(wanted.is_none_or(|wanted| wanted == plan.mode));
        prop_assert!(plan.needed <= shown && plan.needed <= plan.limit);
        match plan.mode {
            DmaMode::Linear => prop_assert!(ram_end <= shown && ram_end <= plan.limit && !always_bounces),
            DmaMode::Bounce => {
                let BounceBuffers::At(buffers) = buffers else {
                    return Err(TestCaseError::fail("copied through nothing"));
                };
                prop_assert!(buffers.size > 0 && buffers.base.checked_add(buffers.size).unwrap() <= plan.needed);
                prop_assert!(memory.low_end <= plan.needed);
            }
            DmaMode::Iommu => prop_assert!(plan.limit <= shown && shown > 0),
        }
    }

    /// A larger window never makes things worse.
    #[test]
    fn more_window_is_no_worse(ram_end in number(), low in number(), buffers in buffers(), shown in number(), more in number()) {
        let memory = DmaMemory {
            ram_end,
            low_end: low.min(ram_end).min(LOW_END),
            buffers,
            always_bounces: false,
            translated: false,
        };
        if let Ok(plan) = dma_plan(None, &memory, shown) {
            let larger = dma_plan(None, &memory, shown.saturating_add(more)).unwrap();
            prop_assert!(larger.mode == plan.mode || larger.mode == DmaMode::Linear);
        }
    }
}
