// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const fn address(domain: u16, bus: u8, device: u8, function: u8) -> Address {
    Address {
        domain,
        bus,
        device,
        function,
    }
}

#[test]
fn good_text() {
    let table = [
        ("0000:00:04.0", address(0, 0, 4, 0)),
        ("00:04.0", address(0, 0, 4, 0)),
        ("ffff:ff:1f.7", address(0xffff, 0xff, 0x1f, 7)),
        ("FfFf:fF:1F.7", address(0xffff, 0xff, 0x1f, 7)),
        ("0001:0a:00.3", address(1, 10, 0, 3)),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse(), Ok(expected), "{text}");
        assert_eq!(Address::parse(text.as_bytes()), Ok(expected));
    }
}

#[test]
fn bad_text() {
    let table = [
        ("", AddressError::Form),
        ("0000", AddressError::Form),
        ("0000:", AddressError::Form),
        ("0000:00:04", AddressError::Form),
        ("0000:00:04.", AddressError::Form),
        ("0000:00:04.0 ", AddressError::Form),
        (" 0000:00:04.0", AddressError::Form),
        ("0000:00:04.00", AddressError::Form),
        ("0000:00:4.0", AddressError::Form),
        ("0:00:04.0", AddressError::Form),
        ("10000:00:04.0", AddressError::Form),
        ("00000:04.0", AddressError::Form),
        ("0000.00:04.0", AddressError::Form),
        ("0000:00.04:0", AddressError::Form),
        ("000g:00:04.0", AddressError::Form),
        ("0000:+1:04.0", AddressError::Form),
        ("0000:0x:04.0", AddressError::Form),
        ("0000:00:04.-", AddressError::Form),
        ("0000:00:04.é", AddressError::Form),
        ("0000:00:20.0", AddressError::Device(0x20)),
        ("0000:00:ff.0", AddressError::Device(0xff)),
        ("0000:00:1f.8", AddressError::Function(8)),
        ("0000:00:00.f", AddressError::Function(0xf)),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<Address>(), Err(expected), "{text:?}");
        assert!(!expected.to_string().is_empty());
    }
}

#[test]
fn the_number_is_pinned() {
    let table = [
        (address(0, 0, 0, 0), 0),
        (address(0, 0, 4, 0), 0x20),
        (address(0, 0, 0, 7), 7),
        (address(0x1234, 0x56, 0x1f, 7), 0x1234_56ff),
    ];
    for (address, number) in table {
        assert_eq!(u32::from(address), number);
        assert_eq!(Address::from(number), address);
    }
}

#[test]
fn bits_that_are_too_high_do_not_spill() {
    assert_eq!(address(0, 0, 0xff, 0xff).devfn(), 0xff);
    assert_eq!(address(0, 0, 0x20, 0x08).devfn(), 0);
    assert_eq!(u32::from(address(0, 1, 0xff, 0xff)), 0x1ff);
}

proptest! {
    #[test]
    fn number_and_text_round_trip(number: u32) {
        let address = Address::from(number);
        prop_assert_eq!(u32::from(address), number);
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        prop_assert_eq!(Address::from_devfn(address.domain, address.bus, address.devfn()), address);
    }

    #[test]
    fn arbitrary_bytes_are_no_trouble(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(address) = Address::parse(&bytes) {
            let text = address.to_string();
            prop_assert!(text.as_bytes().ends_with(&bytes.to_ascii_lowercase()));
        }
    }
}
