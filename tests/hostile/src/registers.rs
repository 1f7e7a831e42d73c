// SPDX-License-Identifier: GPL-2.0

//! Two hosts that do anything at all to the registers of a bridge of any family, and what must hold whatever they do.

use std::collections::HashMap;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use ntb_emu::model::{Blocked, Effect, Family, Model, Opening, Window, WindowError};
use ntb_emu::side::{PerSide, Side};

use crate::driver;

/// Most steps of one story.
const STEPS: usize = 100;

#[derive(Arbitrary, Clone, Copy, Debug)]
struct By {
    primary: bool,
}

impl By {
    fn side(self) -> Side {
        if self.primary {
            Side::Primary
        } else {
            Side::Secondary
        }
    }
}

/// Where in BAR 0 or configuration space: near a register that does something, or anywhere.
#[derive(Arbitrary, Debug)]
enum Place {
    Near(u16, i8),
    At(u64),
}

#[derive(Arbitrary, Debug)]
enum Step {
    Attach(By),
    Detach(By),
    Reset(By),
    Cable(bool),
    Tick,
    /// As a driver does.
    Show(By, u8, u64, u8),
    Write(By, Place, u8, [u8; 8]),
    WriteMuch(By, Place, u16, u8),
    Read(By, Place, u16),
    Config(By, Place, u8, [u8; 8]),
    ReadConfig(By, Place, u16),
    Translate(By, u8, u64, u32),
}

/// What is known of the bridge besides what it says.
#[derive(Default)]
struct Known {
    here: PerSide<bool>,
    unplugged: bool,
}

/// A story told by any bytes.
pub fn run(bytes: &[u8]) {
    let mut source = Unstructured::new(bytes);
    let Ok((family, sizes)) = source.arbitrary::<(u8, [(u8, bool); 6])>() else {
        return;
    };
    let family = Family::ALL[usize::from(family) % Family::ALL.len()];
    let windows = sizes.map(|(size, direct)| Window {
        size: 1 << (12 + size % 19),
        direct,
    });
    let Some(mut model) = build(family, &windows) else {
        return;
    };
    let mut known = Known::default();
    let mut told = Told(family, windows, Vec::new());
    while told.2.len() < STEPS && !source.is_empty() {
        let Ok(step) = source.arbitrary::<Step>() else {
            break;
        };
        told.2.push(step);
        carry_out(family, model.as_mut(), &mut known, told.2.last().unwrap());
        check(model.as_ref(), &known);
    }
}

/// What has happened so far, for who wants to know how it came to that.
struct Told(Family, [Window; 6], Vec<Step>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {:x?}", self.0, self.1);
            for step in &self.2 {
                eprintln!("    {step:x?}");
            }
        }
    }
}

/// A bridge with as many of the windows as the family has; none if it cannot have such.
pub(crate) fn build(family: Family, windows: &[Window]) -> Option<Box<dyn Model>> {
    let needed = match family.build(&[]) {
        Err(WindowError::Count { needed, .. }) => needed,
        _ => panic!("{family} has no windows"),
    };
    family.build(&windows[..needed]).ok()
}

/// Offsets of registers that can be seen to do something when a driver is there, in any family.
fn lively(family: Family) -> &'static [u64] {
    static FOUND: OnceLock<HashMap<Family, Vec<u64>>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let search = |family| {
            let window = Window {
                size: 1 << 20,
                direct: false,
            };
            let mut model = build(family, &[window; 6]).unwrap();
            let _ = model
                .attach(Side::Primary)
                .and(model.attach(Side::Secondary));
            let offsets = (0..model.layout().registers).step_by(4);
            let lively = offsets.filter(|offset| {
                let (mut before, mut after) = ([0; 4], [0; 4]);
                model.read(Side::Primary, *offset, &mut before);
                let effect = model.write(Side::Primary, *offset, &[0xff; 4]);
                model.read(Side::Primary, *offset, &mut after);
                before != [0; 4]
                    || after != before
                    || effect != Effect::default()
                    || model.rings(Side::Primary, *offset, 4)
            });
            (family, lively.collect())
        };
        Family::ALL.into_iter().map(search).collect()
    });
    &found[&family]
}

fn offset(family: Family, place: &Place) -> u64 {
    match place {
        Place::At(offset) => *offset,
        Place::Near(index, skew) => {
            let lively = lively(family);
            let at = lively[usize::from(*index) % lively.len()];
            // Mostly the register itself, or one of its neighbours.
            let skew = if skew % 4 == 0 { *skew } else { 0 };
            at.saturating_add_signed(skew.into())
        }
    }
}

fn config_offset(place: &Place) -> u64 {
    match place {
        Place::At(offset) => *offset,
        Place::Near(offset, _) => u64::from(offset % 4200),
    }
}

fn carry_out(family: Family, model: &mut dyn Model, known: &mut Known, step: &Step) {
    match step {
        Step::Attach(by) => {
            known.here[by.side()] = true;
            let effect = model.attach(by.side());
            check_effect(model, effect);
        }
        Step::Detach(by) => {
            known.here[by.side()] = false;
            let effect = model.detach(by.side());
            check_effect(model, effect);
            check_closed(model, by.side());
        }
        Step::Reset(by) => {
            let effect = model.reset(by.side());
            check_effect(model, effect);
            check_closed(model, by.side());
        }
        Step::Cable(connected) => {
            known.unplugged = !connected;
            let effect = model.set_cable(*connected);
            check_effect(model, effect);
        }
        Step::Tick => {
            // Enough for anything that takes its time.
            for _ in 0..20 {
                let effect = model.tick();
                check_effect(model, effect);
            }
        }
        Step::Show(by, window, address, size) => {
            let window = usize::from(*window) % model.layout().windows.len();
            let (address, size) = (address & !0xf_ffff, 1 << (12 + size % 9));
            for write in driver::show(family, model, by.side(), window, address, size) {
                let effect = match write {
                    driver::Write::Register(offset, data) => model.write(by.side(), offset, &data),
                    driver::Write::Config(offset, data) => {
                        model.config_write(by.side(), offset, &data)
                    }
                };
                check_effect(model, effect);
            }
        }
        Step::Write(by, place, length, data) => {
            let data = &data[..usize::from(length % 9)];
            write(model, by.side(), offset(family, place), data);
        }
        Step::WriteMuch(by, place, length, value) => {
            let data = vec![*value; usize::from(length % 4096)];
            write(model, by.side(), offset(family, place), &data);
        }
        Step::Read(by, place, length) => {
            let offset = offset(family, place);
            model.read(by.side(), offset, &mut vec![0; usize::from(length % 4096)]);
        }
        Step::Config(by, offset, length, data) => {
            let data = &data[..usize::from(length % 9)];
            let effect = model.config_write(by.side(), config_offset(offset), data);
            check_effect(model, effect);
        }
        Step::ReadConfig(by, offset, length) => {
            let offset = config_offset(offset);
            let mut data = vec![0x5a; usize::from(length % 5000)];
            model.config_read(by.side(), offset, &mut data);
            let inside = usize::try_from(4096u64.saturating_sub(offset)).unwrap();
            assert!(data.iter().skip(inside).all(|byte| *byte == 0));
        }
        Step::Translate(by, window, offset, length) => {
            let window = usize::from(*window);
            let openings = model.openings(by.side(), window);
            check_translation(
                model,
                by.side(),
                window,
                &openings,
                *offset,
                *length as usize,
            );
        }
    }
}

fn write(model: &mut dyn Model, side: Side, offset: u64, data: &[u8]) {
    // Whether it rings is asked before.
    let _ = model.rings(side, offset, data.len());
    let effect = model.write(side, offset, data);
    check_effect(model, effect);
}

fn all_openings(model: &dyn Model, side: Side) -> Vec<Vec<Opening>> {
    let windows = 0..model.layout().windows.len();
    windows.map(|window| model.openings(side, window)).collect()
}

/// Only vectors that there are.
fn check_effect(model: &dyn Model, effect: Effect) {
    let vectors = u32::try_from(model.layout().msix.vectors).unwrap();
    for side in Side::BOTH {
        let beyond = effect.vectors(side).checked_shr(vectors).unwrap_or(0);
        assert_eq!(beyond, 0, "{side} has {vectors} vectors: {effect:?}");
    }
}

/// Nothing of a host is seen any more, and nothing gets in.
fn check_closed(model: &dyn Model, side: Side) {
    assert!(!model.bus_master(side));
    for (window, openings) in all_openings(model, side.peer()).iter().enumerate() {
        assert!(openings.is_empty(), "window {window} shows {openings:x?}");
        check_translation(model, side.peer(), window, &[], 0, 1);
    }
}

/// What holds after each step.
fn check(model: &dyn Model, known: &Known) {
    let both = Side::BOTH.iter().all(|side| known.here[*side]);
    assert_eq!(model.link(), both && !known.unplugged);
    for side in Side::BOTH {
        for (window, openings) in all_openings(model, side).iter().enumerate() {
            let size = model.layout().window(window);
            let mut free = 0;
            for opening in openings {
                assert!(opening.size > 0, "{opening:x?}");
                assert!(
                    opening.offset >= free,
                    "{openings:x?} overlap or are out of order"
                );
                free = opening.offset.checked_add(opening.size).unwrap();
                assert!(free <= size, "{opening:x?} in a window of {size:#x}");
            }
            // Whole ones, bytes at their edges, and what leaves them.
            for opening in openings.iter().take(4) {
                let (offset, size) = (opening.offset, opening.size);
                let whole = usize::try_from(size).unwrap();
                for (offset, length) in [
                    (offset, 1),
                    (offset, 0),
                    (offset, whole),
                    (offset, whole + 1),
                    (offset + size - 1, 1),
                    (offset + size - 1, 2),
                    (offset + size, 1),
                    (offset.wrapping_sub(1), 1),
                    (offset.wrapping_sub(1), 2),
                ] {
                    check_translation(model, side, window, openings, offset, length);
                }
            }
        }
        check_translation(model, side, model.layout().windows.len(), &[], 0, 1);
    }
}

/// An access gets through exactly if an opening shows all of it, and then to where that says.
fn check_translation(
    model: &dyn Model,
    side: Side,
    window: usize,
    openings: &[Opening],
    offset: u64,
    length: usize,
) {
    let shown = offset.checked_add(length as u64).and_then(|end| {
        let mut openings = openings.iter();
        let around = |o: &&Opening| o.offset <= offset && end <= o.offset + o.size;
        let opening = openings.find(around)?;
        Some(opening.address.checked_add(offset - opening.offset))
    });
    let master = model.bus_master(side.peer());
    match model.translate(side, window, offset, length) {
        // Nothing goes anywhere.
        Ok(_) if length == 0 => {}
        Ok(address) => {
            assert_eq!(shown, Some(Some(address)), "{offset:#x}+{length:#x}");
            assert!(model.link() && master);
            assert!(address.checked_add(length as u64).is_some());
        }
        Err(Blocked::Closed) => assert_eq!(shown, None, "{offset:#x}+{length:#x}"),
        Err(Blocked::NotMaster) => assert!(!master),
        Err(Blocked::Address) => {
            let address = shown.expect("of a part that is open");
            let end = address.and_then(|address| address.checked_add(length as u64));
            assert_eq!(end, None);
        }
        // Only the family knows: a driver may have to bring the link up.
        Err(Blocked::NoLink | Blocked::Requester) => {}
    }
}
