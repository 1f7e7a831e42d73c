// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const ADDRESS: Address = Address {
    domain: 0,
    bus: 0,
    device: 4,
    function: 0,
};

#[test]
fn good_lines() {
    let table = [
        ("0000:00:04.0", LendWords::empty()),
        ("0000:00:04.0\n", LendWords::empty()),
        ("  00:04.0 \t\r\n", LendWords::empty()),
        ("0000:00:04.0 unsafe", LendWords::UNSAFE),
        ("0000:00:04.0\tforce\n", LendWords::FORCE),
        ("0000:00:04.0 unsafe force\n", LendWords::all()),
        ("0000:00:04.0  force   unsafe", LendWords::all()),
    ];
    for (line, words) in table {
        let expected = LendCommand {
            address: ADDRESS,
            words,
            audience: Audience::ALL,
        };
        assert_eq!(
            LendCommand::parse(line.as_bytes()),
            Ok(expected),
            "{line:?}"
        );
    }
}

#[test]
fn an_offer_for_some_links() {
    for (line, expected) in [
        ("00:04.0", Ok("all")),
        ("00:04.0 for=0000:00:1b.0\n", Ok("0000:00:1b.0")),
        (
            "00:04.0 for=1b:00.0,00:1c.0 unsafe",
            Ok("0000:1b:00.0,0000:00:1c.0"),
        ),
        (
            "00:04.0 for=",
            Err("\"\" is no PCI address of an NTB: not of the form DDDD:BB:DD.F"),
        ),
        (
            "00:04.0 for=00:1b.0,",
            Err("\"\" is no PCI address of an NTB: not of the form DDDD:BB:DD.F"),
        ),
        (
            "00:04.0 for=east",
            Err("\"east\" is no PCI address of an NTB: not of the form DDDD:BB:DD.F"),
        ),
        (
            "00:04.0 for=00:1b.0,0000:00:1b.0",
            Err("link \"0000:00:1b.0\" named twice"),
        ),
        (
            "00:04.0 for=00:1b.0 for=00:1c.0",
            Err("word \"for=00:1c.0\" given twice"),
        ),
        (
            "00:04.0 for=00:00.0,00:00.1,00:00.2,00:00.3,00:00.4,00:00.5,00:00.6,00:00.7,00:01.0",
            Err("\"for=\" names more than 8 links"),
        ),
        ("00:04.0 for", Err("unknown word \"for\"")),
    ] {
        let parsed = LendCommand::parse(line.as_bytes())
            .map(|command| command.audience.to_string())
            .map_err(|error| error.to_string());
        assert_eq!(
            parsed,
            expected.map(String::from).map_err(String::from),
            "{line:?}"
        );
    }
}

#[test]
fn descriptions_of_keys() {
    let long = "x".repeat(DESCRIPTION_MAX);
    for (line, expected) in [
        ("", Some(None)),
        (" \n", Some(None)),
        ("devlend:lab\n", Some(Some("devlend:lab"))),
        (&long, Some(Some(long.as_str()))),
        (&format!("{long}x"), None),
        ("two words", None),
        ("nul\0", None),
        ("\u{1b}[2J", None),
        ("schl\u{fc}ssel", None),
    ] {
        let parsed = parse_description(line.as_bytes()).ok();
        assert_eq!(
            parsed,
            expected.map(|word| word.map(str::as_bytes)),
            "{line:?}"
        );
    }
}

#[test]
fn bad_lines_name_the_word() {
    let table = [
        ("", "no PCI address given"),
        (" \n", "no PCI address given"),
        (
            "unsafe 0000:00:04.0",
            "\"unsafe\" is no PCI address: not of the form DDDD:BB:DD.F",
        ),
        (
            "0000:00:24.0",
            "\"0000:00:24.0\" is no PCI address: device 0x24 is above 0x1f",
        ),
        ("00:04.0 Unsafe", "unknown word \"Unsafe\""),
        ("00:04.0 unsafe,force", "unknown word \"unsafe,force\""),
        ("00:04.0 force unsafe force", "word \"force\" given twice"),
        ("00:04.0 00:05.0", "unknown word \"00:05.0\""),
        ("00:04.0 a\0b", "unknown word \"a\\x00b\""),
        ("00:04.0 \u{1b}[2J", "unknown word \"\\x1b[2J\""),
    ];
    for (line, message) in table {
        let error = LendCommand::parse(line.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message, "{line:?}");
    }
}

#[test]
fn long_words_are_cut_in_messages_only() {
    let line = format!("00:04.0 {}", "x".repeat(33));
    let error = LendCommand::parse(line.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("unknown word \"{}...\"", "x".repeat(32))
    );
    let line = format!("00:04.0 {}", "x".repeat(32));
    let error = LendCommand::parse(line.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("unknown word \"{}\"", "x".repeat(32))
    );
}

#[test]
fn borrowing() {
    for (line, expected) in [
        ("00:04.0\n", Ok((false, None))),
        ("00:04.0 auto\n", Ok((true, None))),
        ("00:04.0 dma=linear\n", Ok((false, Some(DmaMode::Linear)))),
        (
            "00:04.0 dma=bounce auto\n",
            Ok((true, Some(DmaMode::Bounce))),
        ),
        ("00:04.0 auto dma=iommu", Ok((true, Some(DmaMode::Iommu)))),
        (
            "00:04.0 dma=linear auto dma=bounce",
            Err("word \"dma=bounce\" given twice"),
        ),
        (
            "00:04.0 dma=",
            Err("\"\" is no DMA mode: linear, bounce or iommu"),
        ),
        (
            "00:04.0 dma=fast",
            Err("\"fast\" is no DMA mode: linear, bounce or iommu"),
        ),
        ("00:04.0 auto auto", Err("word \"auto\" given twice")),
        ("00:04.0 unsafe", Err("unknown word \"unsafe\"")),
        (
            "auto",
            Err("\"auto\" is no PCI address: not of the form DDDD:BB:DD.F"),
        ),
    ] {
        let parsed = BorrowCommand::parse(line.as_bytes())
            .map(|command| {
                assert_eq!(command.address, ADDRESS);
                (command.auto, command.dma)
            })
            .map_err(|error| error.to_string());
        assert_eq!(parsed, expected.map_err(String::from), "{line:?}");
    }
}

#[test]
fn return_takes_an_address_only() {
    assert_eq!(parse_address(b" 0000:00:04.0\n"), Ok(ADDRESS));
    assert_eq!(parse_address(b"\n"), Err(CommandError::Empty));
    assert_eq!(
        parse_address(b"00:04.0 force"),
        Err(CommandError::Unknown(b"force"))
    );
    assert_eq!(
        parse_address(b"04.0"),
        Err(CommandError::Address(b"04.0", AddressError::Form))
    );
}

#[test]
fn reclaiming() {
    for (line, expected) in [
        ("00:04.0", Ok(Some(10))),
        ("00:04.0 force", Ok(None)),
        ("00:04.0 deadline=0\n", Ok(Some(0))),
        ("00:04.0\tdeadline=300", Ok(Some(300))),
        (
            "00:04.0 deadline=301",
            Err("\"deadline=301\": a deadline is 0 to 300 seconds"),
        ),
        (
            "00:04.0 deadline=",
            Err("\"deadline=\": a deadline is 0 to 300 seconds"),
        ),
        (
            "00:04.0 deadline=65546",
            Err("\"deadline=65546\": a deadline is 0 to 300 seconds"),
        ),
        (
            "00:04.0 deadline=-1",
            Err("\"deadline=-1\": a deadline is 0 to 300 seconds"),
        ),
        (
            "00:04.0 deadline=1 deadline=1",
            Err("word \"deadline=1\" given twice"),
        ),
        ("00:04.0 force force", Err("word \"force\" given twice")),
        (
            "00:04.0 deadline=5 force",
            Err("\"force\" is at once and has no deadline"),
        ),
        ("00:04.0 unsafe", Err("unknown word \"unsafe\"")),
        ("", Err("no PCI address given")),
    ] {
        let parsed = ReclaimCommand::parse(line.as_bytes())
            .map(|command| {
                assert_eq!(command.address, ADDRESS);
                command.deadline
            })
            .map_err(|error| error.to_string());
        assert_eq!(parsed, expected.map_err(String::from), "{line:?}");
    }
}

#[test]
fn numbers() {
    for (line, expected) in [
        ("0", Some(0)),
        (" 1000\n", Some(1000)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("", None),
        ("+1", None),
        ("-1", None),
        ("0x10", None),
        ("1 2", None),
        ("1\u{661}", None),
    ] {
        assert_eq!(parse_number(line.as_bytes()).ok(), expected, "{line:?}");
    }
    assert_eq!(
        parse_number(b"ten").unwrap_err().to_string(),
        "\"ten\" is no decimal number"
    );
}

proptest! {
    #[test]
    fn arbitrary_lines_are_no_trouble(line in prop::collection::vec(any::<u8>(), 0..300)) {
        for message in [
            LendCommand::parse(&line).err().map(|error| error.to_string()),
            parse_address(&line).err().map(|error| error.to_string()),
            parse_number(&line).err().map(|error| error.to_string()),
            parse_description(&line).err().map(|error| error.to_string()),
            BorrowCommand::parse(&line).err().map(|error| error.to_string()),
            ReclaimCommand::parse(&line).err().map(|error| error.to_string()),
        ].into_iter().flatten() {
            prop_assert!(message.len() < 4 * SHOWN + 100);
            prop_assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }

    #[test]
    fn lines_of_the_right_words(
        number: u32,
        chosen in prop::sample::subsequence(vec!["unsafe", "force"], 0..=2).prop_shuffle(),
        space in "[ \t\n]{1,4}",
    ) {
        let address = Address::from(number);
        let line = [vec![address.to_string().as_str()], chosen.clone()].concat().join(&space);
        let command = LendCommand::parse(line.as_bytes()).unwrap();
        prop_assert_eq!(command.address, address);
        prop_assert_eq!(command.words.contains(LendWords::UNSAFE), chosen.contains(&"unsafe"));
        prop_assert_eq!(command.words.contains(LendWords::FORCE), chosen.contains(&"force"));
    }
}
