// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const M: u64 = 1 << 20;
const G: u64 = 1 << 30;
/// A control block in low RAM.
const LOW: (u64, u64) = (16 * M, 28672);

fn windows(sizes: &[u64]) -> Vec<Window> {
    sizes
        .iter()
        .enumerate()
        .map(|(index, &size)| Window {
            index: index as u8,
            size,
            align: PAGE,
            natural: false,
        })
        .collect()
}

fn natural_windows(sizes: &[u64]) -> Vec<Window> {
    let mut windows = windows(sizes);
    for window in &mut windows {
        window.natural = true;
    }
    windows
}

#[test]
fn three_windows_as_in_the_test_bed() {
    let plan = plan(&windows(&[M, 64 * M, 512 * M]), 512 * M, LOW).unwrap();
    assert_eq!(
        plan,
        Plan {
            memory_window: 2,
            memory_base: 0,
            memory_size: 512 * M,
            dma_needed: 512 * M,
            dma_available: 512 * M,
            mmio_window: 1,
            mmio_size: 64 * M,
            mmio_align: PAGE,
            mmio_natural: false,
            msi_window: 0,
            msi_base: 0xfee0_0000,
            msi_size: M,
            msi_offset: 0,
        }
    );
}

#[test]
fn the_order_of_windows_does_not_matter() {
    let plan = plan(&windows(&[512 * M, M, 64 * M]), 512 * M, LOW).unwrap();
    assert_eq!(
        (plan.memory_window, plan.msi_window, plan.mmio_window),
        (0, 1, 2)
    );
}

#[test]
fn one_window_for_memory_and_interrupts() {
    // It reaches to 4 GiB; RAM alone would not need it to.
    let plan = plan(&windows(&[64 * M, 4 * G]), 2 * G, LOW).unwrap();
    assert_eq!((plan.memory_window, plan.memory_base), (1, 0));
    assert_eq!(plan.memory_size, MSI_END);
    assert_eq!(
        (
            plan.msi_window,
            plan.msi_base,
            plan.msi_size,
            plan.msi_offset
        ),
        (1, 0, MSI_END, MSI_RANGE.0)
    );
    assert_eq!(plan.mmio_window, 0);
}

#[test]
fn the_memory_window_ends_with_the_ram() {
    let sizes = windows(&[M, 64 * M, 16 * G]);
    for (ram_end, size) in [
        (8 * G, 8 * G),
        (8 * G + 1, 8 * G + 4096),
        (8 * G - 4095, 8 * G),
        (16 * G, 16 * G),
        (16 * G + 1, 16 * G),
        (32 * G, 16 * G),
        // As far as the interrupt range at least.
        (G, MSI_END),
    ] {
        let plan = plan(&sizes, ram_end, LOW).unwrap();
        assert_eq!(plan.memory_size, size, "{ram_end:#x}");
        assert_eq!((plan.dma_needed, plan.dma_available), (ram_end, 16 * G));
    }
}

#[test]
fn interrupts_are_inside_only_if_all_of_them_are() {
    // One byte too small: a window of its own, if there is one.
    let small = plan(&windows(&[M, 64 * M, MSI_END - 1]), 512 * M, LOW).unwrap();
    assert_eq!((small.msi_window, small.mmio_window), (0, 1));
    let large = plan(&windows(&[M, 64 * M, MSI_END]), 512 * M, LOW).unwrap();
    assert_eq!((large.msi_window, large.mmio_window), (2, 1));
}

#[test]
fn ram_that_does_not_fit_is_planned_for_and_told() {
    let plan = plan(&windows(&[M, 64 * M, 512 * M]), 3 * G, LOW).unwrap();
    assert_eq!((plan.memory_base, plan.memory_size), (0, 512 * M));
    assert_eq!((plan.dma_needed, plan.dma_available), (3 * G, 512 * M));
}

#[test]
fn the_memory_window_goes_where_the_control_block_is() {
    let sizes = windows(&[M, 64 * M, 512 * M]);
    let control = (2 * G + 4096, 28672);
    let here = plan(&sizes, 3 * G, control).unwrap();
    assert_eq!(
        (here.memory_base, here.memory_size),
        (2 * G + 4096, 512 * M)
    );
    assert!(here.dma_available < here.dma_needed);

    // At the end of RAM it shows no more than RAM.
    let end = plan(&sizes, 3 * G, (3 * G - 28672, 28672)).unwrap();
    assert_eq!((end.memory_base, end.memory_size), (3 * G - 28672, 28672));

    // Where RAM is not: the window is large enough for RAM, but is elsewhere.
    let remapped = plan(&sizes, 256 * M, (0xffff_0000, 28672)).unwrap();
    assert_eq!(remapped.memory_base, 0xffff_0000);
    assert_eq!((remapped.dma_needed, remapped.dma_available), (256 * M, 0));

    // Translations that have to be multiples of the window's size.
    let mut coarse = sizes.clone();
    coarse[2].align = 512 * M;
    let coarse_plan = plan(&coarse, 3 * G, control).unwrap();
    assert_eq!(
        (coarse_plan.memory_base, coarse_plan.memory_size),
        (2 * G, 512 * M)
    );
    let across = (2 * G + 512 * M - 4096, 8192);
    assert_eq!(
        plan(&coarse, 3 * G, across),
        Err(PlanError::Control {
            address: across.0,
            length: across.1,
            available: 512 * M
        })
    );
}

#[test]
fn the_edge_of_the_first_placement() {
    let sizes = windows(&[M, 64 * M, 512 * M]);
    let last = plan(&sizes, G, (512 * M - 8192, 8192)).unwrap();
    assert_eq!(last.memory_base, 0);
    let beyond = plan(&sizes, G, (512 * M - 4096, 8192)).unwrap();
    assert_eq!(beyond.memory_base, 512 * M - 4096);
}

#[test]
fn impossible_control_blocks() {
    let sizes = windows(&[M, 64 * M, 512 * M]);
    for control in [(u64::MAX, 2), (4096, u64::MAX), (G, 512 * M + 1)] {
        assert_eq!(
            plan(&sizes, G, control),
            Err(PlanError::Control {
                address: control.0,
                length: control.1,
                available: 512 * M
            })
        );
    }
}

#[test]
fn too_few_windows() {
    let table: [(&[u64], usize, usize); 7] = [
        (&[], 0, 2),
        (&[0, 0], 0, 2),
        (&[8 * G], 1, 2),
        (&[512 * M], 1, 3),
        (&[512 * M, 64 * M], 2, 3),
        (&[512 * M, 64 * M, 0], 2, 3),
        (&[512 * M, 0, 0, 0], 1, 3),
    ];
    for (sizes, have, need) in table {
        let error = plan(&windows(sizes), 256 * M, LOW).unwrap_err();
        assert_eq!(error, PlanError::TooFewWindows { have, need }, "{sizes:?}");
        assert!(error.to_string().contains(&have.to_string()));
    }
}

#[test]
fn no_window_for_interrupts() {
    let error = plan(&windows(&[M - 1, M / 2, 512 * M]), 256 * M, LOW).unwrap_err();
    assert_eq!(
        error,
        PlanError::NoMsiWindow {
            needed: M,
            available: M - 1
        }
    );
    assert!(error.to_string().contains("1048575 available"));
}

#[test]
fn a_coarse_interrupt_window_starts_lower_and_shows_more() {
    // Its start has to be a multiple of 16 MiB: 0xfe000000.
    let mut sizes = windows(&[16 * M, 64 * M, 512 * M]);
    sizes[0].align = 16 * M;
    sizes[1].align = 64 * M;
    let coarse = plan(&sizes, 512 * M, LOW).unwrap();
    assert_eq!((coarse.msi_window, coarse.mmio_window), (0, 1));
    assert_eq!(
        (coarse.msi_base, coarse.msi_size, coarse.msi_offset),
        (0xfe00_0000, 15 * M, 14 * M)
    );
    // The larger window shows less when its start can be exact.
    sizes[1].align = 0;
    let exact = plan(&sizes, 512 * M, LOW).unwrap();
    assert_eq!((exact.msi_window, exact.mmio_window), (1, 0));
    assert_eq!((exact.msi_offset, exact.mmio_align), (0, 16 * M));
    // It does not fit where its end would have to be higher than its size.
    sizes[0].size = 15 * M - 1;
    sizes[1].size = M - 1;
    assert!(matches!(
        plan(&sizes, 512 * M, LOW),
        Err(PlanError::NoMsiWindow { .. })
    ));
}

#[test]
fn spans() {
    let span = |bars: &[(u64, u64)], size, align| {
        let window = Window {
            size,
            align,
            ..Window::default()
        };
        mmio_span(bars.iter().copied(), &window)
    };
    let ok = |base, size| Ok(Span { base, size });
    let no = |needed, available| Err(NoSpace { needed, available });

    assert_eq!(span(&[], 0, 0), ok(0, 0));
    assert_eq!(span(&[(u64::MAX, 0)], 0, 0), ok(0, 0));
    assert_eq!(
        span(&[(0xfeb0_0000, 0x4000)], M, PAGE),
        ok(0xfeb0_0000, 0x4000)
    );
    // Registers smaller than a page share it.
    assert_eq!(span(&[(0xfeb0_0010, 0x10)], PAGE, 1), ok(0xfeb0_0000, PAGE));
    assert_eq!(
        span(&[(0xfeb0_0010, 0x10)], PAGE - 1, 1),
        no(PAGE, PAGE - 1)
    );
    // From the first to the last, in any order, absent ones aside.
    let bars = [
        (0xfe80_0000, M),
        (0, 0),
        (0xfe00_0000, 0x20),
        (0xfe80_0000, 16),
    ];
    assert_eq!(span(&bars, 9 * M, PAGE), ok(0xfe00_0000, 9 * M));
    assert_eq!(span(&bars, 9 * M - 1, PAGE), no(9 * M, 9 * M - 1));
    // The alignment of the translation counts in.
    assert_eq!(
        span(&[(0xfe80_0000, M)], 64 * M, 64 * M),
        ok(0xfc00_0000, 41 * M)
    );
    assert_eq!(
        span(&[(0xfe80_0000, M)], 32 * M, 64 * M),
        no(41 * M, 32 * M)
    );
    // Too far apart, and beyond all numbers.
    assert_eq!(
        span(&[(0xfe80_0000, M), (0x38_0000_0000, M)], G, PAGE),
        no(0x38_0000_0000 + M - 0xfe80_0000, G)
    );
    assert_eq!(span(&[(u64::MAX, 2)], G, PAGE), no(u64::MAX, G));
    assert_eq!(
        span(&[(0, 16), (u64::MAX - 1, 8)], G, PAGE),
        no(u64::MAX, G)
    );
}

#[test]
fn offsets_in_a_span() {
    let span = Span {
        base: 0x1000,
        size: 0x2000,
    };
    assert_eq!(span.offset_of(0x1000, 0x2000), Some(0));
    assert_eq!(span.offset_of(0x2ff0, 0x10), Some(0x1ff0));
    assert_eq!(span.offset_of(0x2ff0, 0x11), None);
    assert_eq!(span.offset_of(0xfff, 1), None);
    assert_eq!(span.offset_of(0x3000, 0), Some(0x2000));
    assert_eq!(span.offset_of(u64::MAX, u64::MAX), None);
}

fn any_window() -> impl Strategy<Value = Window> {
    let size = prop_oneof![
        (0u32..40, 0u64..3).prop_map(|(shift, less)| (1u64 << shift).saturating_sub(less)),
        any::<u64>()
    ];
    let align = prop_oneof![(0u32..64).prop_map(|shift| 1u64 << shift), Just(0u64)];
    (any::<u8>(), size, align, any::<bool>()).prop_map(|(index, size, align, natural)| Window {
        index,
        size,
        align,
        natural,
    })
}

fn is_natural(base: u64, size: u64) -> bool {
    size.is_power_of_two() && base % size == 0
}

impl Window {
    fn aligned(self) -> Self {
        Self {
            align: alignment(&self),
            ..self
        }
    }
}

/// A Switchtec NTB: only so many low bits of an address come from the offset. A memory window of 4 GiB less 17 MiB would
/// show 0xfee0_0000 at half its size.
#[test]
fn natural_windows_show_natural_ranges() {
    let plan = plan(&natural_windows(&[32 * M, 4 * G]), 512 * M - 4096, LOW).unwrap();
    assert_eq!((plan.memory_base, plan.memory_size), (0, 4 * G));
    assert_eq!((plan.msi_window, plan.msi_offset), (1, 0xfee0_0000));
    assert_eq!(plan.mmio_size, 32 * M);

    let plan = super::plan(&natural_windows(&[M, 3 * M, 5 * G]), 300 * M, LOW).unwrap();
    assert_eq!((plan.memory_base, plan.memory_size), (0, 4 * G), "of 5 GiB");
    assert_eq!((plan.mmio_window, plan.mmio_size), (1, 2 * M), "of 3 MiB");

    // The control block is beyond: the whole window, at a multiple of its size.
    let high = (9 * G + 5 * M, 28672);
    let plan = super::plan(&natural_windows(&[M, 64 * M, G]), 10 * G, high).unwrap();
    assert_eq!((plan.memory_base, plan.memory_size), (9 * G, G));
    assert_eq!((plan.msi_base, plan.msi_size), (0xfee0_0000, M));
}

#[test]
fn natural_spans() {
    let span = |bars: &[(u64, u64)], size| {
        let window = Window {
            size,
            natural: true,
            ..Window::default()
        };
        mmio_span(bars.iter().copied(), &window)
    };
    let ok = |base, size| Ok(Span { base, size });
    assert_eq!(
        span(&[(0xfeb0_0000, 0x4000)], M),
        ok(0xfeb0_0000, 0x4000),
        "one BAR is natural"
    );
    let bars = [(0xfeb0_0000, 0x2_0000), (0xfeb4_0000, 0x4000)];
    assert_eq!(span(&bars, M), ok(0xfeb0_0000, 0x8_0000));
    let across = [(0xfeb0_f000, 0x1000), (0xfeb1_0000, 0x1000)];
    assert_eq!(span(&across, M), ok(0xfeb0_0000, 0x2_0000));
    let no_space = NoSpace {
        needed: 0x2_0000,
        available: 0x1_0000,
    };
    assert_eq!(span(&across, 0x1_0000), Err(no_space));
    assert_eq!(
        no_space.to_string(),
        "131072 bytes of window needed, 65536 available"
    );
}

#[test]
fn a_window_that_lies_elsewhere_is_not_called_too_small() {
    let elsewhere = NoSpace {
        needed: PAGE,
        available: PAGE,
    };
    assert!(elsewhere.to_string().contains("until these are returned"));
}

#[test]
fn a_window_is_widened_by_what_is_near_and_may_be_shown() {
    let window = windows(&[64 * M])[0];
    let span = |base, size| Span { base, size };
    let first = span(G, 4 * PAGE);
    let (near, far, beyond) = ((G + M, PAGE), (G + 40 * M, PAGE), (G + 64 * M, PAGE));
    let below = (G - 30 * M, PAGE);
    let show = |others: &[(u64, u64)], secret: u64| {
        widen(first, others.iter().copied(), &window, |span| {
            span.offset_of(secret, 1).is_none()
        })
    };
    assert_eq!(show(&[], 0), first);
    assert_eq!(show(&[(G, PAGE)], 0), first);
    assert_eq!(show(&[beyond, far, near], 0), span(G, 40 * M + PAGE));
    // The nearest come first, whatever the order.
    assert_eq!(
        show(&[far, below, near], 0),
        span(G - 30 * M, 31 * M + PAGE)
    );
    // What must not be shown lies between.
    assert_eq!(
        show(&[far, below, near], G + 30 * M),
        span(G - 30 * M, 31 * M + PAGE)
    );
    assert_eq!(show(&[far, below, near], G - M), span(G, 40 * M + PAGE));
    assert_eq!(show(&[(u64::MAX, 1)], 0), first);
}

proptest! {
    /// Nothing that could be added is left out, and nothing is shown that must not be.
    #[test]
    fn widening(
        natural in any::<bool>(),
        first in 0..64u64,
        others in prop::collection::vec((0..256u64, 1..8u64), 0..8),
        secret in 0..256u64,
    ) {
        let mut window = windows(&[32 * PAGE])[0];
        window.natural = natural;
        let may_show = |span: &Span| span.offset_of(secret * PAGE, 1).is_none();
        let others: Vec<_> = others.iter().map(|&(at, pages)| (at * PAGE, pages * PAGE)).collect();
        let span = mmio_span([(first * PAGE, PAGE)].into_iter(), &window).unwrap();
        prop_assume!(may_show(&span));
        let wide = widen(span, others.iter().copied(), &window, may_show);
        prop_assert!(wide.size <= window.size && may_show(&wide));
        prop_assert!(wide.offset_of(span.base, span.size).is_some());
        for &(at, length) in &others {
            if wide.offset_of(at, length).is_none() {
                let more = mmio_span([(wide.base, wide.size), (at, length)].into_iter(), &window);
                prop_assert!(more.map_or(true, |more| !may_show(&more)));
            }
        }
    }

    /// Whatever the windows, a plan keeps its word: everything shown is inside its window and where it is said to be.
    #[test]
    fn plans_are_sound(
        windows in prop::collection::vec(any_window(), 0..6),
        ram_end in prop_oneof![any::<u64>(), 0u64..1 << 36],
        control in (prop_oneof![any::<u64>(), 0u64..1 << 36], prop_oneof![any::<u64>(), 0u64..1 << 16]),
    ) {
        let mut windows = windows;
        // Indices are the driver's, so they differ.
        for (index, window) in windows.iter_mut().enumerate() {
            window.index = index as u8;
        }
        let Ok(plan) = plan(&windows, ram_end, control) else { return Ok(()) };
        let window = |index: u8| windows[usize::from(index)];
        let memory = window(plan.memory_window);

        prop_assert!(plan.memory_window != plan.mmio_window && plan.msi_window != plan.mmio_window);
        prop_assert!(plan.memory_size <= memory.size);
        prop_assert!(plan.memory_base % memory.align.max(1) == 0 && plan.memory_base % PAGE == 0);
        prop_assert!(control.0 >= plan.memory_base);
        prop_assert!(control.0 - plan.memory_base + control.1 <= plan.memory_size);
        prop_assert!(plan.msi_size <= window(plan.msi_window).size);
        prop_assert!(plan.msi_base % window(plan.msi_window).align.max(1) == 0);
        prop_assert_eq!(plan.msi_base + plan.msi_offset, MSI_RANGE.0);
        prop_assert!(plan.msi_offset + MSI_RANGE.1 <= plan.msi_size);
        prop_assert_eq!(plan.mmio(), usable(&window(plan.mmio_window)).aligned());
        prop_assert!(windows.iter().all(|window| usable(window).size <= usable(&memory).size));
        if memory.natural {
            prop_assert!(is_natural(plan.memory_base, plan.memory_size));
        }
        if window(plan.msi_window).natural {
            prop_assert!(is_natural(plan.msi_base, plan.msi_size));
        }
        if plan.dma_available >= plan.dma_needed {
            prop_assert!(plan.memory_base == 0 && plan.memory_size >= ram_end);
        }
        if plan.msi_window == plan.memory_window {
            prop_assert_eq!((plan.msi_base, plan.msi_size), (plan.memory_base, plan.memory_size));
        }
    }

    #[test]
    fn spans_are_sound(
        bars in prop::collection::vec((any::<u64>(), prop_oneof![Just(0u64), 1u64..1 << 40, any::<u64>()]), 0..8),
        window_size: u64,
        shift in 0u32..64,
        natural: bool,
    ) {
        let align = 1u64 << shift;
        let window = Window { index: 0, size: window_size, align, natural };
        match mmio_span(bars.iter().copied(), &window) {
            Ok(span) => {
                prop_assert!(span.size <= window_size);
                prop_assert!(!natural || span.size == 0 || is_natural(span.base, span.size));
                prop_assert!(span.base % align == 0 && span.base % PAGE == 0);
                for &(address, length) in bars.iter().filter(|bar| bar.1 > 0) {
                    prop_assert!(span.offset_of(address, length).is_some());
                }
            }
            Err(no_space) => {
                prop_assert!(no_space.needed > no_space.available);
                prop_assert_eq!(no_space.available, window_size);
            }
        }
    }
}
