// SPDX-License-Identifier: GPL-2.0

//! What a family's driver writes to let its host be seen: no random writes would get as far.

use ntb_emu::model::amd::peer_offset;
use ntb_emu::model::{Family, Model};
use ntb_emu::side::Side;

/// A write of a host to its function.
pub enum Write {
    /// To BAR 0.
    Register(u64, Vec<u8>),
    /// To configuration space.
    Config(u64, Vec<u8>),
}

fn config(offset: u64, value: impl Into<u64>, size: usize) -> Write {
    Write::Config(offset, value.into().to_le_bytes()[..size].into())
}

fn register(offset: u64, value: impl Into<u64>, size: usize) -> Write {
    Write::Register(offset, value.into().to_le_bytes()[..size].into())
}

/// Where a host has put its window BARs.
fn bar(window: usize) -> u64 {
    (window as u64 + 1) << 41
}

/// All that a host on `side` writes until the peer's window shows the first `size` bytes at `address`.
pub fn show(
    family: Family,
    model: &dyn Model,
    side: Side,
    window: usize,
    address: u64,
    size: u64,
) -> Vec<Write> {
    let mut writes = vec![config(4, 6u64, 2)];
    for (window, bar_at) in model.layout().windows.iter().enumerate() {
        writes.push(config(0x10 + 4 * u64::from(bar_at.index), bar(window), 8));
    }
    match family {
        Family::Amd => {
            // The first window's limit is the only register of 32 bits.
            let (limit, width) = [(0x414, 4), (0x418, 8), (0x420, 8)][window];
            writes.extend([
                register(peer_offset(0x430 + 8 * window as u64), address, 8),
                register(peer_offset(limit), size, width),
                register(0x408, 2u64, 4),
            ]);
        }
        Family::Intel => {
            let offset = 0x10 * window as u64;
            let outer = 0x4518 + 8 * window as u64;
            let mut base = [0; 8];
            model.read(side, outer, &mut base);
            writes.extend([
                register(0x4504, 6u64, 2),
                register(0x48, 0u64, 8),
                register(0x10 + offset, address, 8),
                register(0x18 + offset, bar(window) + size, 8),
                register(
                    0x4018 + offset,
                    (u64::from_le_bytes(base) & !0xf).wrapping_add(size),
                    8,
                ),
                register(0, 0x154u64, 4),
            ]);
        }
        Family::Switchtec => {
            let number = u64::from(side == Side::Secondary);
            let control = |partition: u64, offset: u64| 0x1_4000 + 0x2000 * partition + offset;
            let (own, peer) = (number, 1 - number);
            let operation = |partition, value: u64| register(control(partition, 4), value, 4);
            let entry = 0x40 + 16 * (2 + 2 * window as u64);
            let (lock, cfg) = (1, 2);
            writes.extend([
                operation(own, lock),
                register(control(own, 0x400), 1u64, 4),
                operation(own, cfg),
                operation(peer, lock),
                register(control(peer, entry), 1u64 << 4, 4),
                register(control(peer, entry + 4), size | u64::from(size.ilog2()), 4),
                register(control(peer, entry + 8), own | address, 8),
                operation(peer, cfg),
            ]);
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntb_emu::model::Window;

    #[test]
    fn every_family_gets_as_far_as_a_window_that_shows_something() {
        for family in Family::ALL {
            let window = Window {
                size: 1 << 20,
                direct: false,
            };
            let mut model = crate::registers::build(family, &[window; 6]).unwrap();
            let address = 0x1000_0000;
            for side in Side::BOTH {
                let _ = model.attach(side);
                for window in 0..model.layout().windows.len() {
                    for write in show(family, model.as_ref(), side, window, address, 0x1_0000) {
                        let _ = match write {
                            Write::Register(offset, data) => model.write(side, offset, &data),
                            Write::Config(offset, data) => model.config_write(side, offset, &data),
                        };
                    }
                }
            }
            for _ in 0..100 {
                let _ = model.tick();
            }
            for side in Side::BOTH {
                for window in 0..model.layout().windows.len() {
                    assert!(
                        !model.openings(side, window).is_empty(),
                        "{family} {window}"
                    );
                    let opening = model.openings(side, window)[0];
                    let shown = model.translate(side, window, opening.offset + 8, 8);
                    assert_eq!(shown, Ok(address + 8), "{family} {window}");
                }
            }
        }
    }
}
