// SPDX-License-Identifier: GPL-2.0

//! A device or a lender may present any configuration space, and a borrower may use it in any way.

use arbitrary::{Arbitrary, Unstructured};
use devlend_config::{
    check_bars,
    present,
    Bar,
    BarFlags,
    IntxGate,
    Malformed,
    Policy,
    Read,
    Write,
    CONFIG_SIZE,
    EXTENDED_SIZE, //
};

#[derive(Arbitrary, Debug)]
struct Input {
    /// The image comes from a lender, not from `present`.
    hostile: bool,
    extended: bool,
    bars: [(u8, u32, u64); 6],
    accesses: [(u16, u8, u32, u32); 24],
    /// Two parts, so that short inputs reach the extended space as well.
    header: Vec<u8>,
    rest: Vec<u8>,
}

/// The most an access of `size` bytes reads as.
fn limit(size: u8) -> u32 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}

/// Any bytes as an image and accesses to it.
pub fn run(bytes: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    let size = if input.extended {
        EXTENDED_SIZE
    } else {
        CONFIG_SIZE
    };
    let mut raw = vec![0; size];
    for (at, &byte) in input.header.iter().take(CONFIG_SIZE).enumerate() {
        raw[at] = byte;
    }
    for (byte, &value) in raw.iter_mut().skip(CONFIG_SIZE).zip(&input.rest) {
        *byte = value;
    }
    let bars = input.bars.map(|(shift, flags, address)| Bar {
        size: if shift & 0x80 == 0 {
            1u64.checked_shl(u32::from(shift)).unwrap_or(0)
        } else {
            address
        },
        flags: BarFlags::from_bits_truncate(flags),
        address: address & !(1u64.checked_shl(u32::from(shift)).unwrap_or(1) - 1),
    });

    for intx in [false, true] {
        use_it(&input, &raw, &bars, intx);
    }
}

/// Presents the bytes, with INTx relayed or not, and uses the image.
fn use_it(input: &Input, raw: &[u8], bars: &[Bar; 6], intx: bool) {
    let size = raw.len();
    let mut image = raw.to_vec();
    if !input.hostile {
        match present(raw, bars, intx, &mut image) {
            Ok(length) => assert_eq!(length, size),
            Err(Malformed::Bar(_)) => {
                assert!(check_bars(bars).is_err());
                return;
            }
            Err(_) => return,
        }
        let once = image.clone();
        assert_eq!(present(&once, bars, intx, &mut image), Ok(size));
        assert_eq!(image, once);
    }
    let policy = match Policy::of(&image) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(input.hostile, "an image we made: {error}");
            return;
        }
    };

    let mut gate = IntxGate::default();
    let _ = policy.interrupts(&image);
    for (offset, size, value, device) in input.accesses {
        let offset = offset % 0x1080;
        if policy.read(&image, offset, size) == Read::Peer {
            assert!(policy.admit_read(offset, size));
            assert!(policy.filter_read(offset, size, device) <= limit(size));
            assert!(policy.merge_read(&image, offset, size, device) <= limit(size));
        }
        if let Write::Peer { value } = policy.write(&mut image, bars, offset, size, value) {
            assert!(value <= limit(size));
            let admitted = policy.admit_write(offset, size, value, device).unwrap();
            assert!(admitted <= limit(size));
            assert!(gate.write(offset, size, admitted) <= limit(size));
            // As the borrower meant it: a second time changes nothing but what clears.
            let again = policy.admit_write(offset, size, value, admitted).unwrap();
            assert_eq!(again, admitted);
        }
        let _ = policy.admit_write(offset, size, value, device);
    }
    assert_eq!(Policy::of(&image), Ok(policy));
}
